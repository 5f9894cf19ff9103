"""Instability analysis: from which step of a training on does the order of the data not matter?

    python -m experiments.instability --flagfile=experiments/flags/digits/instability.cfg

It trains a mode, WORKDIR/parent, then for each point of --forks the --children, WORKDIR/fork_K_J:
they start from the parent's parameters, optimizer state and schedule at that point and see the data
in another order, with other augmentation and dropout, to the end. The barriers on the segments
between the children are how far the error rises above the mean of the ends (Frankle et al., 2020);
below two points the training was stable at that point. All networks are ordinary runs. The children
of a fork are trained side by side. An interrupted run resumes with the same command; a finished one
is drawn again, and other --num_points, --splits, --metrics or --also_evaluate evaluate it again.
"""

from mcjax.results import Instability

from .cli import InstabilityConfig, identity, main, show
from .landscapes import instability, instability_report
from .runs import Run, is_evaluated, load_result
from .training import forking, make_problem, measuring


def run(config: InstabilityConfig) -> Run:
    """Trains the networks, evaluates the segments and draws the barriers.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: a network did not train.
      Interrupted: a signal came; finished networks and segments are saved.
    """
    config, folder, sweep = instability.check_flags(config)
    if is_evaluated(folder, config, instability.FILE, instability.EVALUATION):
        with folder.locked():
            found = load_result(Instability, folder.path / instability.FILE)
            show(instability_report.finish(folder, config, found))
        return folder
    problem = make_problem(sweep.parent)
    measured = measuring(problem, config.splits, config.metrics, config.also_evaluate)
    per_epoch = forking.check_data(sweep, problem)
    with folder.locked():
        folder.open("instability", config, mode=identity(sweep.parent))
        forking.train(sweep, problem)
        found = instability.evaluate(folder, config, sweep, measured, per_epoch)
        show(instability_report.finish(folder, config, found))
    return folder


if __name__ == "__main__":
    main(InstabilityConfig, run, __doc__)
