"""Aligns two networks' units by their weights (Ainsworth et al., 2023, Section 3.2).

Permutations P of a spec's groups maximise ``<A, P(B)>`` over all parameters, that is, minimise
``||A - P(B)||^2``, by coordinate ascent: groups are visited in random order, each is solved as a
linear assignment while the others are held, until none improves.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy

from mcjax.symmetries import permuting
from mcjax.symmetries import spec as specs
from mcjax.typing import Int, Num, PyTree, Shaped

_Leaves = dict[str, Num[np.ndarray, "..."]]
LEAST_GAIN = 1e-7
"""An assignment is accepted if it raises its leaves' inner product by more than this share."""
EXACT = 1e-10
"""An inner product within this share of its upper bound cannot be improved."""


class Match(NamedTuple):
    """What `match_weights` or `match_activations` found.

    Attributes:
      permutations: by group, for `apply` to the second network.
      inner_product: ``<A, P(B)>`` over all permuted parameters.
      rounds: passes over all groups in the best restart.
      history: the inner product at the start and after each accepted assignment.

    >>> from mcjax.symmetries import by_hand
    >>> a, b = {"w": np.array([1.0, 2.0])}, {"w": np.array([2.0, 1.0])}
    >>> found = match_weights(by_hand(a, {"w": ["P0"]}), a, b)
    >>> found.inner_product, found.history  # <a, P(b)>, after and before
    (5.0, (4.0, 5.0))
    """

    permutations: dict[str, permuting.Order]
    inner_product: float
    rounds: int
    history: tuple[float, ...]


def match_weights(
    spec: specs.Spec,
    target: PyTree,
    params: PyTree,
    *,
    seed: int = 0,
    restarts: int = 1,
    counts: Callable[[str], bool] = lambda name: True,
    progress: Callable[[int], None] = lambda done: None,
) -> Match:
    """Finds permutations that bring one network's weights closest to another's.

    They maximise ``<A, P(B)>`` by coordinate ascent, a linear assignment per group (Ainsworth et
    al., 2023, Section 3.2).

    Args:
      spec: of both networks' function.
      target: parameters that stay fixed.
      params: parameters to permute.
      seed: for the order in which groups are visited.
      restarts: number of orders to try; the best result is returned.
      counts: whether the objective counts a leaf, by its path. Batch norm's running averages are
        not weights and can be left out, ``lambda name: name.startswith("params/")``; they are
        permuted all the same.
      progress: called with the number of groups visited, over all rounds and restarts.

    Returns:
      The permutations; ``symmetries.apply(spec, match.permutations, params)`` is the aligned
      network.

    Raises:
      ValueError: the trees do not fit the spec, or hold non-finite values; or there are no
        restarts.

    >>> from mcjax.symmetries import apply, by_hand
    >>> a, b = {"w": np.array([1.0, 2, 3])}, {"w": np.array([3.0, 1, 2])}
    >>> spec = by_hand(a, {"w": ["P0"]})
    >>> found = match_weights(spec, a, b)
    >>> apply(spec, found.permutations, b)["w"].tolist()
    [1.0, 2.0, 3.0]
    """
    check_restarts(restarts)
    a, b = (named(spec, tree) for tree in (target, params))
    counted = spec._replace(leaves={n: axes for n, axes in spec.leaves.items() if counts(n)})
    return best_of(counted, a, b, seed, restarts, progress)


def check_restarts(restarts: int) -> None:
    """Raises ValueError if there are none."""
    if restarts < 1:
        raise ValueError(f"restarts={restarts}: use 1 or more")


def best_of(
    spec: specs.Spec,
    a: _Leaves,
    b: _Leaves,
    seed: int,
    restarts: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Match:
    """The best of several ascents of ``<A, P(B)>`` over a spec's leaves.

    The first one that reaches the bound ``sum of ||A|| ||B|| over leaves`` is the last.
    """
    bound = sum(
        math.sqrt(_inner(a[name], a[name]) * _inner(b[name], b[name])) for name in _permuted(spec)
    )
    best: Match | None = None
    visits = itertools.count(1)
    for restart in range(restarts):
        rng = np.random.default_rng((seed, restart))
        found = _ascend(spec, a, b, rng, lambda: progress(next(visits)))
        if best is None or found.inner_product > best.inner_product:
            best = found
        if best.inner_product >= (1 - EXACT) * bound:
            break
    assert best is not None
    return best


def named(spec: specs.Spec, tree: PyTree) -> _Leaves:
    """Leaves by name; raises ValueError unless they are the spec's and finite."""
    specs.check_names(spec, tree)
    leaves = {specs.leaf_name(p): _wide(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"{name} is not finite: such networks cannot be matched")
    return leaves


def _wide(x: Any) -> Num[np.ndarray, "..."]:
    """An array on the host, with at least 32 bits per number."""
    x = np.asarray(x)
    return x.astype(np.result_type(x.dtype, np.float32) if x.dtype.kind in "fciub" else np.float32)


def _ascend(
    spec: specs.Spec, a: _Leaves, b: _Leaves, rng: np.random.Generator, visited: Callable[[], None]
) -> Match:
    permutations = {name: np.array(x) for name, x in permuting.identity(spec).items()}
    places = {name: list(_places(spec, name)) for name in spec.groups}
    leaves = {name: {place.leaf for place in places[name]} for name in spec.groups}
    every = _permuted(spec)
    history = [_product(spec, a, b, permutations, every)]
    rounds, improved = 0, True
    while improved:
        rounds, improved = rounds + 1, False
        for name in rng.permutation(list(spec.groups)):
            gains = _gains(spec, a, b, permutations, name, places[name])
            moved = permutations | {name: _assigned(gains).reshape(permutations[name].shape)}
            # Gains hold the other occurrence of a group that a leaf contains twice: check again.
            before, after = (_product(spec, a, b, p, leaves[name]) for p in (permutations, moved))
            if after - before > LEAST_GAIN * max(abs(before), abs(after)):
                permutations, improved = moved, True
                history.append(history[-1] + after - before)
            visited()
    return Match(permutations, _product(spec, a, b, permutations, every), rounds, tuple(history))


def _product(
    spec: specs.Spec,
    a: _Leaves,
    b: _Leaves,
    permutations: dict[str, permuting.Order],
    leaves: set[str],
) -> float:
    """``<A, P(B)>`` over some leaves, in float64."""
    total = 0.0
    for name in sorted(leaves):
        moved = permuting.permute_leaf(spec, permutations, name, b[name], np)
        total += _inner(a[name], moved)
    return total


def _permuted(spec: specs.Spec) -> set[str]:
    """Names of the leaves that groups permute."""
    return {
        n for n, axes in spec.leaves.items() if any(f.group for x in axes for f in specs.factors(x))
    }


def _inner(a: Num[np.ndarray, "*shape"], b: Num[np.ndarray, "*shape"]) -> float:
    return float(np.sum((a * b.conj()).real, dtype=np.float64))


def _assigned(gains: Num[np.ndarray, "layers new old"]) -> Int[np.ndarray, "layers new"]:
    """Each layer's best permutation."""
    return np.stack(
        [scipy.optimize.linear_sum_assignment(matrix, maximize=True)[1] for matrix in gains]
    )


class _Place(NamedTuple):
    """An occurrence of a group: a leaf, its axis, and the path of parts within the axis."""

    leaf: str
    axis: int
    path: tuple[int, ...]


def _places(spec: specs.Spec, name: str) -> Iterator[_Place]:
    def within(axis: specs.Axis, path: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if isinstance(axis, specs.Factor):
            if axis.group == name:
                yield path
        else:
            for i, part in enumerate(axis.parts):
                yield from within(part, (*path, i))

    for leaf, axes in spec.leaves.items():
        for i, axis in enumerate(axes):
            for path in within(axis, ()):
                yield _Place(leaf, i, path)


def _gains(
    spec: specs.Spec,
    a: _Leaves,
    b: _Leaves,
    permutations: dict[str, permuting.Order],
    name: str,
    places: list[_Place],
) -> Num[np.ndarray, "layers new old"]:
    """The gain of putting a unit of B in the place of a unit of A.

    If a group occurs twice in a leaf (a recurrent matrix), the other occurrence is held.
    """
    group = spec.groups[name]
    total = np.zeros((group.layers or 1, group.size, group.size))
    for place in places:
        axes = spec.leaves[place.leaf]
        held = list(axes)
        held[place.axis] = _without(axes[place.axis], place.path)
        there = spec._replace(leaves={place.leaf: tuple(held)})
        moved = permuting.permute_leaf(there, permutations, place.leaf, b[place.leaf], np)
        one, two = (_isolated(x, place, axes, group.layers) for x in (a[place.leaf], moved))
        total += np.einsum("lir,ljr->lij", one, two.conj(), optimize=True).real
    return total


def _without(axis: specs.Axis, path: tuple[int, ...]) -> specs.Axis:
    """The axis with one of its factors held in place."""
    if isinstance(axis, specs.Factor):
        return specs.Factor(axis.size, frozen="held")
    parts = list(axis.parts)
    parts[path[0]] = _without(parts[path[0]], path[1:])
    return type(axis)(tuple(parts))


def _isolated(
    x: Shaped[np.ndarray, "..."], place: _Place, axes: tuple[specs.Axis, ...], layers: int | None
) -> Shaped[np.ndarray, "layers size rest"]:
    """An array with the group's positions on an axis of their own."""
    x = np.moveaxis(x, place.axis, 0)
    axis = axes[place.axis]
    for i in place.path:
        sizes = [specs.extent(part) for part in axis.parts]  # pyrefly: ignore
        if isinstance(axis, specs.Sum):
            start = sum(sizes[:i])
            x = x[start : start + sizes[i]]
        else:
            x = np.moveaxis(x.reshape(*sizes, *x.shape[1:]), i, 0)
        axis = axis.parts[i]  # pyrefly: ignore
    if layers is None:
        return x.reshape(1, len(x), -1)
    scan = x.ndim - len(axes) + 1  # the leaf's first axis, behind the factors of this one
    return np.moveaxis(x, scan, 0).reshape(layers, x.shape[0], -1)
