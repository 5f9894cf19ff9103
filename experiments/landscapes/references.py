"""References in flags to checkpoints that are combined: they exist and share one problem."""

import dataclasses
from collections.abc import Sequence

from ..cli import ModeConfig, UsageError
from ..runs import Checkpoint, Run, a_kind, find_checkpoint, parse_name
from ..training import same_problem


def find(flag: str, text: str) -> Checkpoint:
    """Finds the checkpoint of a mode or curve; raises UsageError if it does not exist."""
    run = Run(parse_name(text).run)
    kind = run.info.get("kind")
    if kind not in ("mode", "curve"):
        what = f"holds {a_kind(kind)}" if kind else "is not a run"
        raise UsageError(f"{flag}={text}: {run.path} {what}; give a mode's or curve's run folder")
    return find_checkpoint(text)


def shared_mode(found: Sequence[Checkpoint], data_dir: str | None, words: str) -> ModeConfig:
    """The flags of the first checkpoint's mode, whose problem all others must share.

    Args:
      found: the checkpoints.
      data_dir: the data folder to set in the flags.
      words: what they could do if they did, such as ``share a plane``.

    Raises:
      UsageError: two of them differ in network or data.
    """
    mode = dataclasses.replace(found[0].mode, data_dir=data_dir)
    for one in found:
        differing = same_problem(mode, one.mode)
        if differing:
            raise UsageError(
                f"{found[0].name.run} and {one.name.run} do not {words}: they differ in "
                f"{differing[0]}"
            )
    return mode
