"""Computes the Hessian's largest eigenvalues and the training loss along a fitted curve.

    python -m experiments.sharpness --curve=runs/GB --workdir=runs/GB_sharpness

--curve is RUN[@EPOCH] of a curve. The Hessian is that of the mean training loss on clean data,
without the L2 penalty; batch-norm statistics are recomputed at every point and held fixed.
sharpness.npz has t, train_loss, eigenvalues [point, k] and residuals, ||H v - value v||. An
interrupted run resumes with the same command, at the point where it stopped. Other --points or
--eigenvalues evaluate a finished run again; the earlier arrays and figures move to WORKDIR/earlier.
"""

from mcjax.results import Sharpness

from .cli import SharpnessConfig, main, show
from .landscapes import sharpness
from .runs import Run, is_evaluated, load_result
from .training import make_problem


def run(config: SharpnessConfig) -> Run:
    """Evaluates and draws the sharpness.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; finished points are saved.
    """
    folder = sharpness.check_flags(config)
    inputs = None
    if not is_evaluated(folder, config, sharpness.FILE, sharpness.EVALUATION):
        curve = sharpness.resolve(config)
        problem = make_problem(curve.mode, config.precision)
        inputs = sharpness.load(config, curve, problem)
    with folder.locked():
        if inputs is None:
            found = load_result(Sharpness, folder.path / sharpness.FILE)
        else:
            found = sharpness.evaluate(folder, config, inputs)
        show(sharpness.finish(folder, config, found))
    return folder


if __name__ == "__main__":
    main(SharpnessConfig, run, __doc__)
