"""What a compiled program sends between devices."""

import re
from typing import Any

import numpy as np

_ALONE = re.compile(r"replica_groups=(\{\{\d+\}|\[\d+,1\]<=)")
_COLLECTIVE = re.compile(r"= (.*?) (all-\w+|reduce-scatter|collective-\w+)(-start)?\(")


def collectives(compiled: Any) -> list[tuple[str, int]]:
    """The name, and the bytes of float32 in the result, of each collective of several devices.

    Those in a loop count once.

    Args:
      compiled: from ``jax.jit(f).lower(...).compile()``.
    """
    found = []
    for line in compiled.as_text().split("\n"):
        match = _COLLECTIVE.search(line)
        if match and not _ALONE.search(line):
            sizes = re.findall(r"f32\[([\d,]*)\]", match[1])
            numbers = [np.prod([int(n) for n in s.split(",") if n], dtype=int) for s in sizes]
            found.append((match[2], 4 * int(sum(numbers))))
    return found
