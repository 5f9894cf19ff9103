"""Trains a mode: one network on one data set (Gotmare et al., 2018, Sections 3 and 5).

    python -m experiments.train_mode --flagfile=experiments/flags/digits/G.cfg --workdir=runs/G

The same command again resumes where it was stopped, and prints the result of a run that is done.
"""

from .cli import ModeConfig, main, show
from .runs import Run
from .training import make_problem, modes


def run(config: ModeConfig) -> Run:
    """Trains the mode, or resumes it, or finds it done, and prints its metrics.

    Raises:
      UsageError: wrong flags.
      RunFailed: it did not train; the run is marked so.
      Interrupted: a signal came.
    """
    modes.check_flags(config)
    folder = modes.train(config, make_problem(config))
    show(modes.result(folder))
    return folder


if __name__ == "__main__":
    main(ModeConfig, run, __doc__)
