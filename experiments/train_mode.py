"""Trains a mode: one network on one data set (Gotmare et al., 2018, Sections 3 and 5).

    python -m experiments.train_mode --flagfile=experiments/flags/digits/G.cfg --workdir=runs/G

An interrupted run resumes with the same command; of a finished run it prints the result.
"""

from .cli import ModeConfig, main, show
from .runs import Run
from .training import make_problem, modes


def run(config: ModeConfig) -> Run:
    """Trains or resumes the mode, unless it is finished, and prints its metrics.

    Raises:
      UsageError: wrong flags.
      RunFailed: the mode did not train; the run is marked as failed.
      Interrupted: a signal came.
    """
    config = modes.check_flags(config)
    folder = modes.train(config, make_problem(config))
    show(modes.result(folder))
    return folder


if __name__ == "__main__":
    main(ModeConfig, run, __doc__)
