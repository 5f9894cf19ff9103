"""Evaluating a run again in its own folder, with other flags than before."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcjax.engine import parallel

from ..cli import recorded, say
from .folder import Run
from .status import Status


def changed_flags(folder: Run, config: Any, names: Sequence[str]) -> list[str]:
    """The flags among ``names`` that differ from those of the last evaluation, in words."""
    info = folder.info
    if not info:
        return []
    before, now = recorded(type(config)()) | info["flags"], recorded(config)
    return [f"--{n}: {before[n]} before, {now[n]} now" for n in names if before[n] != now[n]]


def begin_evaluation(
    folder: Run, config: Any, names: Sequence[str], patterns: Sequence[str]
) -> None:
    """Where flags differ, moves what was evaluated before to ``earlier/N`` in the run folder.

    A done run is then unfinished until its command marks it done again: a curve is ``fitted``,
    anything else ``running``. An interrupted command thus leaves no done run without arrays.

    Args:
      folder: opened and locked.
      config: the flags now, which are then recorded.
      names: the flags that the files depend on.
      patterns: what to move, as patterns in the run folder.
    """
    different = changed_flags(folder, config, names)
    if not different:
        return
    if folder.status == Status.DONE:
        folder.move_to(Status.FITTED if folder.info["kind"] == "curve" else Status.RUNNING)
    if parallel.is_first():
        files = sorted(file for pattern in patterns for file in folder.path.glob(pattern))
        aside = _free(folder)
        for file in files:
            aside.mkdir(parents=True, exist_ok=True)
            file.rename(aside / file.name)
        kept = f"; what was there is kept in {aside}" if files else ""
        say(f"{folder.path} is evaluated again ({'; '.join(different)}){kept}")
    folder.update(flags=folder.info["flags"] | {name: recorded(config)[name] for name in names})


def _free(folder: Run) -> Path:
    places = (folder.path / "earlier" / str(number) for number in itertools.count(1))
    return next(place for place in places if not place.exists())
