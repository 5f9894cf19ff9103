"""Where the runs of a repetition are."""

from pathlib import Path
from typing import NamedTuple

from mcjax.results import Profile, Surface

from ...runs import load_result


class Source(NamedTuple):
    """The runs of one repetition.

    Attributes:
      workdir: the folder of the run folders.
      epochs: by run, the epoch here for each epoch of the paper.
      missing: why a run is missing, by its name.
    """

    workdir: Path
    epochs: dict[str, dict[int, int]]
    missing: dict[str, str]

    def curve(self, name: str, epoch: int | None = None) -> Profile:
        """A curve's profile, at its last epoch or at an epoch of the paper.

        Raises:
          UsageError: the file cannot be read.
        """
        return load_result(Profile, self.file(name, epoch))

    def file(self, name: str, epoch: int | None = None) -> Path:
        """The file of a curve's profile; it need not exist."""
        label = "" if epoch is None else f"@{self.epochs[name][epoch]}"
        return self.workdir / name / f"curve{label}.npz"

    def surface(self, name: str) -> Surface:
        """A surface.

        Raises:
          UsageError: the file cannot be read.
        """
        return load_result(Surface, self.workdir / name / "surface.npz")
