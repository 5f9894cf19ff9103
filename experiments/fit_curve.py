"""Fits a curve between two modes, then evaluates and draws it and the segment (Section 2).

    python -m experiments.fit_curve --flagfile=experiments/flags/quickstart.cfg --workdir=runs/quick

--start and --end are checkpoints (RUN[@EPOCH], or RUN[@EPOCH]~T for a point of a curve) or
flagfiles of modes; a mode that is not trained yet is trained first. An interrupted run resumes with
the same command. A finished run no longer needs its modes: another --style draws it again, other
--eval_epochs evaluate more of its kept epochs, and other --points, --splits, --metrics or
--also_evaluate evaluate everything again; earlier arrays and figures move to WORKDIR/earlier.
"""

from .cli import CurveConfig, main, show
from .landscapes import notes, profiles
from .runs import Run
from .training import fits, fitting, make_problem, measuring


def run(config: CurveConfig) -> Run:
    """Fits, evaluates and draws the curve.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: a mode or the curve did not train.
      Interrupted: a signal came.
    """
    fit = fits.check_flags(config)
    config = fit.config
    profiles.check_flags(fit)
    problem = make_problem(fit.start.mode, config.precision)
    measured = measuring(problem, config.splits, config.metrics, config.also_evaluate)
    fits.check_data(fit, problem)
    profiles.check_data(fit, measured)
    with fit.folder.locked():
        fitting.begin(fit, problem)
        fitting.train(fit, problem)
        text, found = profiles.finish(fit, problem, measured)
        show("\n".join([text, *notes.of_averages((fit.start.name, fit.end.name))]))
        fitting.judge(fit, problem, found)
    return fit.folder


if __name__ == "__main__":
    main(CurveConfig, run, __doc__)
