"""Reproduces a paper: its runs, its figures and a verdict on each claim, at one of four scales.

    python -m experiments.reproduce --scale=digits --workdir=runs/reproduce

Only what is missing is run: the command can be stopped at any time, and the same command resumes.
It writes WORKDIR/report.html (and report.md), WORKDIR/figures and WORKDIR/claims.json.
--launcher=slurm submits the runs as jobs, and a last one that judges them; then --status, with the
same flags, tells what became of them.

    python -m experiments.reproduce --workdir=runs/reproduce --kept=results

copies the small files of the finished runs (arrays and metrics, no checkpoints) to a folder, even
if other runs are not finished, then judges and draws what the folder holds. Later the folder
suffices: --kept=results judges and draws again.
"""

from .cli import ReproduceConfig, main
from .jobs import launching
from .papers.gotmare2018 import reproduction as gotmare2018
from .papers.judging import Claim
from .runs import Run

PAPERS = {"gotmare2018": gotmare2018}
"""By ``--paper``, the module with its ``check_flags``, ``jobs``, ``build`` and ``from_kept``."""


def run(config: ReproduceConfig) -> list[list[Claim]]:
    """Runs what is missing, draws the figures, judges the claims and writes the report.

    Returns:
      The claims of each repetition; none with --status and --launcher=slurm.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came.
    """
    paper = PAPERS[config.paper]
    if config.kept:
        return paper.from_kept(config)
    folder, options = Run(config.workdir), launching.check_flags(config)
    plans = paper.check_flags(config, folder)
    if config.status:
        launching.show_table(paper.jobs(folder, config, plans), folder.path / "logs")
        return []
    with folder.locked():
        if config.launcher == "slurm":
            launching.submit(paper.jobs(folder, config, plans), folder.path / "logs", options)
            return []
        return paper.build(folder, config, plans)


if __name__ == "__main__":
    main(ReproduceConfig, run, __doc__)
