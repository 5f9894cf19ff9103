"""Damages every file of a run folder in turn: truncated, emptied, a bit flipped, removed.

Good ends: the right result (from an older checkpoint, if need be), or a clear error. Bad ones: a
wrong result, or any other exception.
"""

import contextlib
import io
import random
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from experiments import fit_curve, loss_surface, train_mode
from experiments.cli import errors
from experiments.cli.configs import CurveConfig, ModeConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.runs import load_point
from experiments.runs.names import parse_name
from tests.campaign import commands


class Trial(NamedTuple):
    """A damage and what came of it: ``right``, ``error``, or words of what went wrong."""

    kind: str
    file: str
    use: str
    outcome: str


def damages(file: Path, rng: random.Random) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What is done to a file."""
    size = file.stat().st_size
    yield "removed", lambda f: f.unlink()
    if size:
        yield "emptied", lambda f: f.write_bytes(b"")
        yield "truncated", lambda f: f.write_bytes(f.read_bytes()[: size // 2])
        for _ in range(2):
            place = rng.randrange(8 * size)
            yield "bit flipped", lambda f, place=place: _flip(f, place)


def _flip(file, place):
    content = bytearray(file.read_bytes())
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(bytes(content))


def load_mode(run: Path) -> object:
    """The mode as an end of a curve."""
    return [commands.digest(x) for x in jax.tree.leaves(load_point(parse_name(str(run))).params)]


def load_curve(run: Path) -> object:
    """A point of the curve."""
    point = load_point(parse_name(f"{run}~0.3"))
    return [commands.digest(x) for x in jax.tree.leaves(point.params)]


def again(run: Path) -> object:
    """The command that made the run, given again."""
    kinds = {
        "mode": (ModeConfig, train_mode),
        "curve": (CurveConfig, fit_curve),
        "surface": (SurfaceConfig, loss_surface),
    }
    config, module = kinds[run.name]
    chosen = parse_flagfile(config, run.parent / "flags.cfg")
    module.run(chosen)
    return commands.result(run)


USES = {
    "mode": {"load": load_mode, "again": again, "interrupted": again},
    "curve": {"load": load_curve, "again": again, "interrupted": again},
    "surface": {"again": again},
}
ALL = {(kind, use) for kind, uses in USES.items() for use in uses}


def run(whole: Path, interrupted: Path, folder: Path, seed: int, share: float,
        report: Callable[[Trial], None], chosen: Container[tuple[str, str]] = ALL,
        ) -> list[Trial]:  # fmt: skip
    """Damages copies of finished and of interrupted runs.

    Args:
      whole: a folder with the finished runs ``mode``, ``curve`` and ``surface``.
      interrupted: likewise ``mode`` and ``curve``, stopped half-way.
      folder: where the copies live; the runs' flags must say so.
      seed: of the flipped bits and of the choice.
      share: of all damages, that are tried.
      report: is told of each trial.
      chosen: which runs, and what is done with them.
    """
    rng, trials = random.Random(seed), []
    for kind, uses in USES.items():
        for use, function in uses.items():
            if (kind, use) not in chosen:
                continue
            source = (interrupted if use == "interrupted" else whole) / kind
            right = _outcome(function, source, folder / kind, None, None)
            for file in sorted(f for f in source.rglob("*") if f.is_file()):
                for what, damage in damages(file, rng):
                    if rng.random() > share:
                        continue
                    name = file.relative_to(source)
                    found = _outcome(function, source, folder / kind, name, damage)
                    outcome = "right" if found == right else found
                    if not isinstance(outcome, str):
                        outcome = "WRONG RESULT in silence"
                    trials.append(Trial(what, f"{kind}/{name}", use, outcome))
                    report(trials[-1])
    return trials


def _outcome(function, source, place, name, damage):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    (place.parent / "flags.cfg").write_text(
        (source / "flags.cfg").read_text().replace(str(source), str(place))
    )
    if damage:
        damage(place / name)
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with quiet[0], quiet[1]:
            return function(place)
    except (UsageError, errors.RunFailed) as error:
        return "error" if str(place) in str(error) else f"error without the file's name: {error}"
    except Exception as error:
        return f"TRACEBACK: {type(error).__name__}: {str(error)[:200]}"


def is_good(trial: Trial) -> bool:
    """Whether nobody was misled."""
    return trial.outcome in ("right", "error")
