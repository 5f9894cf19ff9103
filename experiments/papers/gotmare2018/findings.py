"""What a reproduction found, for its report."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...cli import ReproduceConfig
from ...runs import Run
from ..judging import Claim
from . import scales
from .sources import Source


class Findings(NamedTuple):
    """The input of a report.

    Attributes:
      config: the reproduction's flags.
      scale: its scale.
      info: its ``run.json``.
      jobs: by repetition, its planned runs.
      sources: by repetition, where its runs are.
      repetitions: by repetition, the claims.
      drawn: the paper's figures, by number: the file and the repetition it shows.
      picture: the figure of the deciding numbers, if there is one.
    """

    config: ReproduceConfig
    scale: scales.Scale
    info: Mapping[str, Any]
    jobs: Sequence[Sequence[scales.Job]]
    sources: Sequence[Source]
    repetitions: Sequence[Sequence[Claim]]
    drawn: Mapping[int, tuple[Path, int]]
    picture: Path | None

    def runs(self, kind: str) -> Iterator[tuple[str, scales.Job, Run]]:
        """Yields label, job and run folder of each existing run of a kind."""
        for k, (jobs, source) in enumerate(zip(self.jobs, self.sources, strict=True)):
            for job in jobs:
                run = Run(source.workdir / job.name)
                if job.kind == kind and run.info:
                    label = job.name if len(self.sources) == 1 else f"seed {k}: {job.name}"
                    yield label, job, run
