"""Tests a function's symmetries: are permuted copies of its parameters matched back?"""

import time
from typing import NamedTuple

import jax
import numpy as np

from mcjax.symmetries import finding, matching, permuting, programs
from mcjax.symmetries import spec as specs
from mcjax.typing import PyTree


class Recovery(NamedTuple):
    """What `recovery` measured.

    Attributes:
      groups: number of groups in the spec.
      moved: the share of the parameters that they move.
      change: the largest change of an output under a random permutation of all groups, relative to
        the largest output.
      exact: number of permuted copies whose every parameter was restored exactly.
      copies: number of copies tried.
      seconds: median time of a match by weights.

    >>> Recovery(groups=3, moved=0.98, change=1e-6, exact=10, copies=10, seconds=0.2).exact
    10
    """

    groups: int
    moved: float
    change: float
    exact: int
    copies: int
    seconds: float


def recovery(
    function: programs.Function,
    params: PyTree,
    *inputs: PyTree,
    copies: int = 10,
    restarts: int = 4,
) -> Recovery:
    """Permutes parameters at random and matches them back by weights, ``copies`` times.

    Args:
      function: as in `mcjax.symmetries.find`.
      params: parameters; not a new network's, whose biases are all equal.
      *inputs: values for which the outputs differ.
      copies: number of random permutations to try.
      restarts: as in `mcjax.symmetries.match_weights`.

    Raises:
      ValueError: as `mcjax.symmetries.find` and `mcjax.symmetries.check`.

    >>> network = lambda params, x: jax.numpy.tanh(x @ params["in"]) @ params["out"]
    >>> params = {"in": np.float32([[1, 2, 3]]), "out": np.float32([[1], [-2], [4]])}
    >>> found = recovery(network, params, np.ones((2, 1), np.float32), copies=2)
    >>> found.groups, found.moved, found.exact
    (1, 1.0, 2)
    """
    spec = finding.find(function, params, *inputs)
    change = permuting.check(spec, jax.jit(function), params, *inputs)
    seconds: list[float] = []
    exact = 0
    for seed in range(copies):
        permuted = permuting.apply(spec, permuting.random(spec, jax.random.key(seed)), params)
        began = time.perf_counter()
        match = matching.match_weights(spec, params, permuted, seed=seed, restarts=restarts)
        seconds.append(time.perf_counter() - began)
        back = permuting.apply(spec, match.permutations, permuted)
        pairs = zip(*map(jax.tree.leaves, (params, back)), strict=True)
        exact += all(np.array_equal(a, b) for a, b in pairs)
    moved = specs.moved_share(spec, params)
    median = float(np.median(seconds)) if seconds else float("nan")
    return Recovery(len(spec.groups), moved, change, exact, copies, median)
