"""Measures a function's symmetries: are permuted copies of its parameters matched back?"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax.symmetries import matching
from mcjax.symmetries import spec as specs


class Recovery(NamedTuple):
    """What `recovery` measured.

    Attributes:
      groups: of the spec.
      moved: the share of the parameters that they move.
      change: the largest change of an output under a random permutation of all groups, relative to
        the largest output.
      exact: permuted copies that were matched back to the number.
      copies: how many were tried.
      seconds: of a match by weights, the median.
    """

    groups: int
    moved: float
    change: float
    exact: int
    copies: int
    seconds: float


def recovery(
    function: Callable[..., Any], params: Any, *inputs: Any, copies: int = 10, restarts: int = 4
) -> Recovery:
    """Permutes parameters at random and matches them back by weights, ``copies`` times.

    Args:
      function: as in `mcjax.symmetries.find`.
      params: parameters, best not those of a fresh network whose biases are equal.
      *inputs: values that show a difference.
      copies: random permutations to try.
      restarts: of each match.

    Raises:
      ValueError: as `mcjax.symmetries.find` and `mcjax.symmetries.check`.
    """
    spec = specs.find(function, params, *inputs)
    change = specs.check(spec, jax.jit(function), params, *inputs)
    seconds, exact = [], 0
    for seed in range(copies):
        permuted = specs.apply(spec, specs.random(spec, jax.random.key(seed)), params)
        began = time.perf_counter()
        match = matching.match_weights(spec, params, permuted, seed=seed, restarts=restarts)
        seconds.append(time.perf_counter() - began)
        back = specs.apply(spec, match.permutations, permuted)
        pairs = zip(*map(jax.tree.leaves, (params, back)), strict=True)
        exact += all(np.array_equal(a, b) for a, b in pairs)
    moved = specs.moved_share(spec, params)
    median = float(np.median(seconds)) if seconds else float("nan")
    return Recovery(len(spec.groups), moved, change, exact, copies, median)
