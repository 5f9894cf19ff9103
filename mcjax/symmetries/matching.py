"""Aligns the units of two networks by their weights (Ainsworth et al., 2023, Section 3.2).

Over permutations P of a spec's groups, ``sum over all parameters of <A, P(B)>`` is maximised, which
is to minimise ``||A - P(B)||^2``: coordinate ascent over groups in random order, each solved as a
linear assignment with the others held, until none improves.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from mcjax.symmetries import spec as specs

LEAST_GAIN = 1e-7
"""An assignment is taken where it raises the group's share of the objective by more than this."""


class Match(NamedTuple):
    """What `match_weights` found.

    Attributes:
      permutations: for `apply` on the second network, by group.
      inner_product: ``<A, P(B)>`` over all permuted parameters.
      rounds: passes over all groups, of the best restart.
    """

    permutations: dict[str, np.ndarray]
    inner_product: float
    rounds: int


def match_weights(
    spec: specs.Spec,
    target: Any,
    params: Any,
    *,
    seed: int = 0,
    restarts: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Match:
    """Permutations that bring a network's weights as near to another's as they can.

    Args:
      spec: of both networks' function.
      target: parameters that stay.
      params: parameters to permute.
      seed: of the order in which groups are visited.
      restarts: how often to start again with another order; the best result is returned.
      progress: called with the number of restarts done.

    Returns:
      The permutations; ``symmetries.apply(spec, match.permutations, params)`` is the aligned
      network.

    Raises:
      ValueError: the trees do not fit the spec, or hold values that are not finite.
    """
    if restarts < 1:
        raise ValueError(f"restarts={restarts}: use 1 or more")
    a, b = (_named(spec, tree) for tree in (target, params))
    best: Match | None = None
    for restart in range(restarts):
        found = _ascend(spec, a, b, np.random.default_rng((seed, restart)))
        if best is None or found.inner_product > best.inner_product:
            best = found
        progress(restart + 1)
    assert best is not None
    return best


def _named(spec: specs.Spec, tree: Any) -> dict[str, np.ndarray]:
    specs.check_names(spec, tree)
    leaves = {
        specs.leaf_name(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }
    for name, leaf in leaves.items():
        if leaf.dtype.kind in "fc" and not np.isfinite(leaf).all():
            raise ValueError(f"{name} is not finite: such networks cannot be matched")
    return leaves


def _ascend(
    spec: specs.Spec, a: dict[str, np.ndarray], b: dict[str, np.ndarray], rng: np.random.Generator
) -> Match:
    permutations = {name: np.array(x) for name, x in specs.identity(spec).items()}
    places = {name: list(_places(spec, name)) for name in spec.groups}
    rounds, improved = 0, True
    while improved:
        rounds, improved = rounds + 1, False
        for name in rng.permutation(list(spec.groups)):
            gains = _gains(spec, a, b, permutations, name, places[name])
            improved |= _assign(permutations, name, gains)
    total = sum(
        float(np.vdot(a[n], specs.permute_leaf(spec, permutations, n, b[n])).real)
        for n, axes in spec.leaves.items()
        if any(f.group for axis in axes for f in specs.factors(axis))
    )
    return Match(permutations, total, rounds)


def _assign(permutations: dict[str, np.ndarray], name: str, gains: np.ndarray) -> bool:
    """Sets a group's best permutation by ``gains[layer, new, old]``, if it is better."""
    improved = False
    order = permutations[name].reshape(len(gains), -1)
    for layer, matrix in enumerate(gains):
        rows = np.arange(len(matrix))
        new = linear_sum_assignment(matrix, maximize=True)[1]
        before, after = matrix[rows, order[layer]].sum(), matrix[rows, new].sum()
        if after - before > LEAST_GAIN * np.abs(matrix).max() * len(matrix):
            order[layer], improved = new, True
    permutations[name] = order.reshape(permutations[name].shape)
    return improved


class _Place(NamedTuple):
    """An occurrence of a group: a leaf's axis, and where within the axis."""

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
    a: dict[str, np.ndarray],
    b: dict[str, np.ndarray],
    permutations: dict[str, np.ndarray],
    name: str,
    places: list[_Place],
) -> np.ndarray:
    """``[layers or 1, new, old]``: what a unit of B contributes in the place of a unit of A.

    Where a group occurs twice in a leaf (a recurrent matrix), the other occurrence is held.
    """
    group = spec.groups[name]
    total = np.zeros((group.layers or 1, group.size, group.size))
    for place in places:
        axes = spec.leaves[place.leaf]
        held = list(axes)
        held[place.axis] = _without(axes[place.axis], place.path)
        there = spec._replace(leaves={place.leaf: tuple(held)})
        moved = np.asarray(specs.permute_leaf(there, permutations, place.leaf, b[place.leaf]))
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
    x: np.ndarray, place: _Place, axes: tuple[specs.Axis, ...], layers: int | None
) -> np.ndarray:
    """An array with the group's positions on an axis of their own, ``[layers, size, rest]``."""
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
