"""A job: one of the project's commands with its run folder.

A stopped job resumes and a finished one is not run again, wherever it runs.
"""

from typing import Any, NamedTuple

from ..cli import launch, to_argv


class Job(NamedTuple):
    """A command to run.

    Attributes:
      name: the name of its run folder.
      module: ``train_mode``, ``fit_curve`` or ``loss_surface``.
      config: its flags.
      needs: names of the jobs that must be done first.
    """

    name: str
    module: str
    config: Any
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What its run folder holds: ``mode``, ``curve`` or ``surface``."""
        return self.module.rpartition("_")[2]

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return [*launch.argv(self.module), *to_argv(self.config)]
