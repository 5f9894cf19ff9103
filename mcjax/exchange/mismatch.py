"""The error for a checkpoint of someone else's and a network that do not fit."""

from collections.abc import Sequence

from mcjax import spelling

SHOWN = 6
"""So many names of a kind are in a `Mismatch`'s message."""


class Mismatch(ValueError):
    """A checkpoint and a network that do not fit.

    Attributes:
      unplaced: names of the checkpoint's arrays that have no place in the network.
      missing: the network's arrays that have no value, each with the name looked for.
      misshapen: arrays of another shape, each with both shapes.
    """

    def __init__(self, unplaced: Sequence[str], missing: Sequence[str], misshapen: Sequence[str]):
        self.unplaced, self.missing, self.misshapen = unplaced, missing, misshapen
        said = []
        for words, names in (
            ("no place for", unplaced),
            ("no value for", missing),
            ("another shape in", misshapen),
        ):
            if names:
                said.append(f"{words} {spelling.listed(names, SHOWN)}")
        super().__init__(f"checkpoint and network do not fit: {'; '.join(said)}")
