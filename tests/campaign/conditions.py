"""A full disk, a clock that jumps, a read-only folder: said in one line, and the command goes on.

A run that meets such a thing ends in the same bits as any other, at once or when it is given again.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

from tests.campaign import commands
from tests.campaign.kills import Ground, Trial


class Condition(NamedTuple):
    """What a command meets.

    Attributes:
      kind: for the table.
      sabotage: see `sabotage`.
      read_only: whether its folder cannot be written.
      statuses: with which it may end.
    """

    kind: str
    sabotage: str
    read_only: bool
    statuses: tuple[int, ...]


ALL = (
    # bytes beyond which no file can grow, as if there were no space left
    *(Condition("disk full", f"disk:{n}", False, (0, 1, 2)) for n in (10, 200, 1000, 3000, 10000,
                                                                      40000)),
    # orbax measures by the clock how long it waits, and may give up
    *(Condition("clock jumps", f"clock:{hours}", False, (0, 1)) for hours in (1, 24 * 365)),
    Condition("folder read-only", "", True, (1, 2)),
)  # fmt: skip


def run(
    ground: Ground, folder: Path, kinds: Container[str], report: Callable[[str, Trial], None]
) -> None:
    """Every command of the three in the conditions of these kinds; ``report`` is told of each."""
    folder.mkdir(exist_ok=True)
    for condition in (c for c in ALL if c.kind in kinds):
        if condition.read_only and not can_mount():
            print("folder read-only: not tried, mounting is not allowed here", flush=True)
            continue
        for command in ("mode", "curve", "surface"):
            if command in ground.ends:
                report(condition.kind, trial(ground, folder, command, condition))


def can_mount() -> bool:
    """Whether this process may have mounts of its own."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def trial(ground: Ground, folder: Path, command: str, condition: Condition) -> Trial:
    """One command; read-only folders hold half of a run."""
    here = Path(tempfile.mkdtemp(dir=folder))
    module, flags = commands.commands(here, ground.modes)[command]
    if condition.read_only:
        commands.finish(module, flags, ground.cache, "rename:3")
    status, error = commands.finish(
        module, flags, ground.cache, condition.sabotage, read_only=here if condition.read_only
        else None,
    )  # fmt: skip
    why = ""
    if status not in condition.statuses or "Traceback" in error:
        why = f"status {status}: {error[-300:]}"
    elif condition.read_only and str(here) not in error:
        why = f"does not name the folder: {error[-300:]}"
    status, error = commands.finish(module, flags, ground.cache)
    if status:
        why = why or f"did not go on: {error[-300:]}"
    elif commands.result(here / command) != ground.ends[command]:
        why = why or "went on to another end"
    if not why:
        shutil.rmtree(here)
    return Trial(command, condition.sabotage, 0, f"{here}: {why}" if why else "")
