"""Many curves at once: their pairs of modes, run folders, shards and jobs."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence

from ..cli import CurveConfig, CurvesConfig, UsageError, find_flagfile, split
from ..jobs import Job, last_job
from ..runs import UNTRAINED, at, label
from .ends import refusal
from .fits import Fit
from .problem import same_problem

NOT_RUN = "not run"
"""Why a curve is missing that can still be trained."""


def plan(config: CurvesConfig) -> list[CurveConfig]:
    """The curves of this shard, each with its flags for `fit_curve`.

    Raises:
      UsageError: there are no pairs, or a flag is wrong.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing")
    if config.seeds < 1:
        raise UsageError(f"--seeds={config.seeds}: use 1 or more")
    if config.shard and (config.launcher == "slurm" or config.status):
        raise UsageError("--launcher=slurm divides the curves itself: use --jobs, not --shard")
    if config.jobs < 0 or (config.jobs and config.launcher != "slurm"):
        raise UsageError(f"--jobs={config.jobs}: use 1 or more, with --launcher=slurm")
    pairs = [*itertools.combinations(config.modes, 2), *map(_pair, config.pairs)]
    if not pairs:
        raise UsageError("--modes or --pairs is missing: two modes or more, or START:END")
    found: dict[str, CurveConfig] = {}
    for curve in _curves(config, pairs):
        if curve.workdir in found:
            raise UsageError(
                f"two pairs have the same folder {at(curve.workdir)}: {curve.start}, {curve.end}"
            )
        found[curve.workdir] = curve
    return list(found.values())[_shard(config.shard)]


def _curves(config: CurvesConfig, pairs: Sequence[tuple[str, str]]) -> Iterator[CurveConfig]:
    """The curves of each pair, one per seed."""
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(CurveConfig)
        if field.name not in ("workdir", "start", "end", "seed", "modes_dir")
    }
    folder = at(config.workdir)
    modes_dir = config.modes_dir or str(folder / "modes")
    for start, end in pairs:
        for seed in range(config.seed, config.seed + config.seeds):
            name = re.sub("[@~]", "-", f"{label(start)}_{label(end)}")
            name += f"_seed{seed}" if config.seeds > 1 else ""
            own = {"workdir": str(folder / name), "start": start, "end": end, "seed": seed}
            yield CurveConfig(**shared, **own, modes_dir=modes_dir)


def _pair(text: str) -> tuple[str, str]:
    """Parses ``START:END``."""
    text = re.sub(r"(?<!\\)://", r"\\://", text)  # the colon of a URL is one in a name
    match split(text, ":"):
        case [start, end] if start and end:
            return start, end
    raise UsageError(f"--pairs={text}: write START:END, and a colon in a name as \\:")


def _shard(text: str) -> slice:
    """Parses ``I/N`` to a slice of the curves."""
    if not text:
        return slice(None)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard={text}: write I/N with I from 1 to N")
    return slice(int(match[1]) - 1, None, int(match[2]))


def check_alike(fits: Sequence[Fit], sharded: bool) -> None:
    """Checks that all curves have one problem and, for shards, that all modes are trained.

    Raises:
      UsageError: two curves have different problems, or a mode of a shard is not trained.
    """
    for fit in fits:
        differing = same_problem(fits[0].start.mode, fit.start.mode)
        if differing:
            raise UsageError(f"{fits[0].start.name.run} and {fit.start.name.run} cannot be "
                             f"fitted together: they differ in {differing[0]}")  # fmt: skip
        for end in (fit.start, fit.end):
            if end.untrained and sharded:
                raise UsageError(f"{end.name.run} is not trained: train all modes before --shard")


def not_run(fits: Sequence[Fit]) -> dict[str, str]:
    """Why curves are not trained, by name, of those that are not: `NOT_RUN` or a mode's failure."""
    found: dict[str, str] = {}
    for fit in (fit for fit in fits if fit.folder.status in UNTRAINED):
        allowed = fit.config.allow_failed
        reasons = (refusal(end, allowed) for end in (fit.start, fit.end))
        found[fit.folder.path.name] = next(filter(None, reasons), NOT_RUN)
    return found


def jobs(config: CurvesConfig, fits: Sequence[Fit]) -> list[Job]:
    """The jobs of all curves: modes given as flagfiles, shards, and a last one for the table.

    A shard of a single curve is named after it; it is not run if one of its modes fails.

    Args:
      config: the flags, without --shard.
      fits: all curves.
    """
    own = dataclasses.replace(config, jobs=0)
    modes: dict[str, Job] = {}
    shards: list[Job] = []
    count = min(config.jobs or len(fits), len(fits))
    for i in range(count):
        here = fits[i::count]
        needed = {job.name: job for fit in here for job in _modes(fit)}
        modes |= needed
        name = here[0].folder.path.name if len(here) == 1 else f"shards/{i + 1}_of_{count}"
        folders = tuple(str(fit.folder.path) for fit in here)
        shard = dataclasses.replace(own, shard=f"{i + 1}/{count}")
        tolerant = config.allow_failed or len(here) > 1
        shards.append(Job(name, "fit_curves", shard, (*needed,), folders, tolerant=tolerant))
    found = [*modes.values(), *shards]
    return [*found, last_job("table", "fit_curves", own, tuple(job.name for job in found))]


def _modes(fit: Fit) -> Iterator[Job]:
    """The jobs of those modes of a curve that are given as flagfiles."""
    for text, end in ((fit.config.start, fit.start), (fit.config.end, fit.end)):
        if end.mode.workdir and find_flagfile(text):  # otherwise the curve's copy is used
            yield Job(f"modes/{end.name.run.name}", "train_mode", end.mode)
