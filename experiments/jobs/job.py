"""A job: one of the project's commands with the run folders that it completes.

A stopped job resumes and a finished one is not run again, wherever it runs.
"""

from typing import Any, NamedTuple

from ..cli import launch, to_argv
from ..runs import Run


class Job(NamedTuple):
    """A command to run.

    Attributes:
      name: of the job and of its log; that of its run folder, if it has one.
      module: the command, such as ``train_mode``, ``fit_curve`` or ``loss_surface``.
      config: its flags.
      needs: names of the jobs that must be done first.
      folders: the run folders that it completes, by default --workdir. A job without any collects
        the results of those that it needs, however they ended.
      words: further words of its command line.
      tolerant: whether it starts even if a job that it needs failed.
    """

    name: str
    module: str
    config: Any
    needs: tuple[str, ...] = ()
    folders: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()
    tolerant: bool = False

    @property
    def kind(self) -> str:
        """What its run folder holds: ``mode``, ``curve`` or ``surface``."""
        return self.module.rpartition("_")[2]

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return [*launch.argv(self.module), *to_argv(self.config), *self.words]

    @property
    def runs(self) -> list[Run]:
        """The runs that it completes."""
        folders = (self.config.workdir,) if self.folders is None else self.folders
        return [Run(folder) for folder in folders]


def last_job(name: str, module: str, config: Any, needs: tuple[str, ...]) -> Job:
    """The job that collects the results of those that it needs, however they ended."""
    return Job(name, module, config, needs, (), ("--launcher=none",), True)
