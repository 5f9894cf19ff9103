"""Reevaluating a run in its own folder, with other flags than before."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcjax.engine import parallel

from ..cli import recorded, say
from .folder import Run
from .status import Status


def changed_flags(folder: Run, config: Any, names: Sequence[str]) -> list[str]:
    """Describes the flags among ``names`` that differ from those of the last evaluation."""
    info = folder.info
    if not info:
        return []
    before, now = recorded(type(config)()) | info["flags"], recorded(config)
    words = lambda value: "not given" if value in (None, "", (), []) else value  # noqa: E731
    changed = (n for n in names if before[n] != now[n])
    return [f"--{n}: {words(before[n])} before, {words(now[n])} now" for n in changed]


def is_evaluated(folder: Run, config: Any, file: str, names: Sequence[str]) -> bool:
    """Whether the arrays of ``file`` exist and were evaluated with the flags ``names``."""
    return (folder.path / file).exists() and not changed_flags(folder, config, names)


def begin_evaluation(
    folder: Run, config: Any, names: Sequence[str], patterns: Sequence[str]
) -> None:
    """If flags have changed, moves the files of the last evaluation to ``earlier/N``.

    A done run is unfinished from then on, until its command marks it done again: a curve is
    ``fitted``, any other run ``running``. An interruption thus never leaves a done run without
    arrays.

    Args:
      folder: opened and locked.
      config: the new flags, which are recorded.
      names: the flags that the files depend on.
      patterns: glob patterns of the files to move, relative to the run folder.
    """
    different = changed_flags(folder, config, names)
    if not different:
        return
    if folder.status == Status.DONE:
        folder.move_to(Status.FITTED if folder.info["kind"] == "curve" else Status.RUNNING)
    if parallel.is_first():
        files = sorted(file for pattern in patterns for file in folder.path.glob(pattern))
        backup = _unused(folder)
        for file in files:
            backup.mkdir(parents=True, exist_ok=True)
            file.rename(backup / file.name)
        kept = f"; the previous files are in {backup}" if files else ""
        say(f"reevaluating {folder.path} ({'; '.join(different)}){kept}")
    folder.update(flags=folder.info["flags"] | {name: recorded(config)[name] for name in names})


def _unused(folder: Run) -> Path:
    """The first ``earlier/N`` that does not exist."""
    places = (folder.path / "earlier" / str(number) for number in itertools.count(1))
    return next(place for place in places if not place.exists())
