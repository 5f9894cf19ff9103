"""Fills the disk at several points of a command; freed, the same command goes on."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.campaign import commands
from tests.campaign.kills import Ground, Trial

SIZES = (10, 200, 1000, 3000, 10000, 40000)
"""Bytes beyond which no file can grow, as if there were no space left."""


def run(ground: Ground, folder: Path, report: Callable[[Trial], None]) -> list[Trial]:
    """Every command with every size."""
    folder.mkdir(exist_ok=True)
    trials = []
    for command in ground.ends:
        for size in SIZES:
            trials.append(_trial(ground, folder, command, size))
            report(trials[-1])
    return trials


def _trial(ground, folder, command, size):
    here = Path(tempfile.mkdtemp(dir=folder))
    module, flags = commands.commands(here, ground.modes)[command]
    status, error = commands.finish(module, flags, ground.cache, f"disk:{size}")
    why = ""
    if status not in (0, 1, 2):
        why = f"status {status}: {error[-300:]}"
    elif "Traceback" in error:
        why = f"a traceback: {error[-300:]}"
    status, error = commands.finish(module, flags, ground.cache)
    if status:
        why = why or f"did not go on: {error[-300:]}"
    elif commands.result(here / command) != ground.ends[command]:
        why = why or "went on to another end"
    if not why:
        shutil.rmtree(here)
    return Trial(command, f"{size} bytes", 0, f"{here}: {why}" if why else "")
