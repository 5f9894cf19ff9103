"""Rebuilds the paper: every figure and every claim, at one of four scales.

    python -m experiments.reproduce --scale=digits --workdir=runs/reproduce

Only what is missing is built: it can be stopped at any time, and the same command resumes. The end
is WORKDIR/report.html (and report.md), WORKDIR/figures and WORKDIR/claims.json.

    python -m experiments.reproduce --workdir=runs/reproduce --kept=results

copies what is small of the finished runs to a folder (arrays and metrics, no checkpoints), whether
the others are finished or not, and judges and draws there what it holds. Later the folder alone is
enough: --kept=results judges and draws again.
"""

from .cli import ReproduceConfig, main
from .papers.gotmare2018 import reproduction
from .papers.judging import Claim
from .runs import Run


def run(config: ReproduceConfig) -> list[list[Claim]]:
    """Builds what is missing, draws the figures, judges the claims and writes the report.

    Returns:
      The claims of each repetition.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came.
    """
    if config.kept:
        return reproduction.from_kept(config)
    folder = Run(config.workdir)
    plans = reproduction.check_flags(config, folder)
    with folder.locked():
        return reproduction.build(folder, config, plans)


if __name__ == "__main__":
    main(ReproduceConfig, run, __doc__)
