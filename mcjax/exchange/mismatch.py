"""The error for a checkpoint that does not fit the network."""

from collections.abc import Sequence

from mcjax import spelling

SHOWN = 6
"""How many names of each kind a `Mismatch` lists in its message."""


class Mismatch(ValueError):
    """The checkpoint does not fit the network.

    Attributes:
      unplaced: arrays in the checkpoint that have no place in the network.
      missing: arrays of the network that have no value, each with the name that was looked up.
      misshapen: arrays of the wrong shape, each with both shapes.

    >>> found = Mismatch(unplaced=["head.bias"], missing=[], misshapen=[])
    >>> print(found)
    checkpoint and network do not fit: no place for head.bias
    """

    def __init__(
        self, unplaced: Sequence[str], missing: Sequence[str], misshapen: Sequence[str]
    ) -> None:
        self.unplaced, self.missing, self.misshapen = unplaced, missing, misshapen
        kinds = (
            ("no place for", unplaced),
            ("no value for", missing),
            ("another shape in", misshapen),
        )
        parts = [f"{kind} {spelling.listed(names, SHOWN)}" for kind, names in kinds if names]
        super().__init__(f"checkpoint and network do not fit: {'; '.join(parts)}")
