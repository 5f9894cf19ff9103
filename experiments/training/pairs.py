"""Many curves at once: their pairs of modes, run folders and shards."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence

from ..cli import CurveConfig, CurvesConfig, UsageError, split
from ..runs import at, label
from .fits import Fit
from .problem import same_problem


def plan(config: CurvesConfig) -> list[CurveConfig]:
    """The curves of this shard, each with its flags for `fit_curve`.

    Raises:
      UsageError: there are no pairs, or a flag is wrong.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing")
    if config.seeds < 1:
        raise UsageError(f"--seeds={config.seeds}: use 1 or more")
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
