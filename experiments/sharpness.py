"""The Hessian's largest eigenvalues along a fitted curve, and the training loss beside them.

    python -m experiments.sharpness --curve=runs/GB --workdir=runs/GB_sharpness

--curve is RUN[@EPOCH] of a curve. The Hessian is that of the mean training loss, on clean data,
without the L2 penalty; batch-norm statistics are recomputed at every point and held. sharpness.npz
has t, train_loss, eigenvalues [point, k] and residuals, ||H v - value v||. The same command again
resumes at the point where it was stopped. With other --points or --eigenvalues a done run is
evaluated again, and the earlier arrays and figures are kept in WORKDIR/earlier.
"""

from .cli import SharpnessConfig, main, show
from .landscapes import sharpness
from .runs import Run, load_arrays
from .training import make_problem


def run(config: SharpnessConfig) -> Run:
    """Evaluates and draws.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; the points that are done are saved.
    """
    folder = sharpness.check_flags(config)
    inputs = None
    if not sharpness.is_evaluated(folder, config):
        found = sharpness.resolve(config)
        problem = make_problem(found.mode, config.precision)
        inputs = sharpness.load(config, found, problem)
    with folder.locked():
        if inputs is None:
            arrays = load_arrays(folder.path / sharpness.FILE)
        else:
            arrays = sharpness.evaluate(folder, config, inputs)
        show(sharpness.finish(folder, config, arrays))
    return folder


if __name__ == "__main__":
    main(SharpnessConfig, run, __doc__)
