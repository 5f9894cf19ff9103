"""What a reproduction found: what its report is made of."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...cli import ReproduceConfig
from ...runs import Run
from ..judging import Claim
from . import figures, scales


class Findings(NamedTuple):
    """All that a report is made of.

    Attributes:
      config: of the reproduction.
      scale: its scale.
      info: its ``run.json``.
      jobs: by repetition, its planned runs.
      sources: by repetition, where its runs are.
      repetitions: by repetition, the claims.
      drawn: the paper's figures, by number: the file and the repetition it shows.
      picture: the picture of the deciding numbers, if there is one.
    """

    config: ReproduceConfig
    scale: scales.Scale
    info: Mapping[str, Any]
    jobs: Sequence[Sequence[scales.Job]]
    sources: Sequence[figures.Source]
    repetitions: Sequence[Sequence[Claim]]
    drawn: Mapping[int, tuple[Path, int]]
    picture: Path | None

    def runs(self, kind: str) -> Iterator[tuple[str, scales.Job, Run]]:
        """Label, job and run folder of each run of a kind that is there."""
        for k, (jobs, source) in enumerate(zip(self.jobs, self.sources, strict=True)):
            for job in jobs:
                run = Run(source.workdir / job.name)
                if job.kind == kind and run.info:
                    label = job.name if len(self.sources) == 1 else f"seed {k}: {job.name}"
                    yield label, job, run
