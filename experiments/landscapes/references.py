"""References in flags to checkpoints that are combined: they exist and share one problem."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ..cli import ModeConfig, UsageError, say
from ..runs import Checkpoint, Run, a_kind, find_checkpoint, parse_name
from ..training import check_joined, data_words, same_problem
from . import notes


def find(flag: str, text: str) -> Checkpoint:
    """Finds the checkpoint of a mode or curve; raises UsageError if it does not exist."""
    run = Run(parse_name(text).run)
    kind = run.info.get("kind")
    if kind not in ("mode", "curve"):
        what = f"holds {a_kind(kind)}" if kind else "is not a run"
        raise UsageError(f"{flag}={text}: {run.path} {what}; give a mode's or curve's run folder")
    return find_checkpoint(text)


class Shared(NamedTuple):
    """The problem that checkpoints share.

    Attributes:
      mode: the flags of the first one's mode, whose data are used.
      different: what the training data of others differ in, a line each.
    """

    mode: ModeConfig
    different: tuple[str, ...]


def shared(
    found: Sequence[Checkpoint],
    data_dir: str | None,
    words: str,
    allowed: Collection[str] | None,
) -> Shared:
    """The problem that checkpoints must share; prints notes on their data and their batch norm.

    Args:
      found: the checkpoints.
      data_dir: the data folder to set in the flags.
      words: what they could do if they did, such as ``share a plane``.
      allowed: --allow_different; None if the command does not have it.

    Raises:
      UsageError: two of them differ in network, or in data other than those of --allow_different.
    """
    mode = dataclasses.replace(found[0].mode, data_dir=data_dir)
    first, different = found[0].name.run, dict[str, None]()
    for one in found:
        here = one.name.run
        check_joined(mode, one.mode, allowed, f"{first} and {here} do not {words}")
        words_of_one = [f"{first} and {here}: {x}" for x in same_problem(mode, one.mode)]
        different |= dict.fromkeys(words_of_one)
    if different:
        say(
            f"note: networks have different training data ({'; '.join(different)}). All are "
            f"measured with the data of {first} ({data_words(mode)}) and its normalization"
        )
    for line in notes.of_averages(one.name for one in found):
        say(line)
    return Shared(mode, tuple(different))
