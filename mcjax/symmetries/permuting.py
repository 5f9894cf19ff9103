"""Permutations of a spec's groups: drawn at random, applied, and checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.symmetries import programs
from mcjax.symmetries.spec import (
    Axis,
    Factor,
    Group,
    Spec,
    Sum,
    check_names,
    extent,
    factors,
    leaf_name,
)
from mcjax.typing import Array, ArrayLike, Integer, Key, PyTree

Order = Integer[np.ndarray, "*_layers _size"]
"""The old index of each new position: ``[size]``, or ``[layers, size]`` in a scan."""
Permutations = Mapping[str, Order | Integer[Array, "*_layers _size"] | Sequence[Any]]
"""By group."""


def random(
    spec: Spec, key: Key[Array, ""] | Integer[Array | np.ndarray, " words"]
) -> dict[str, Order]:
    """Draws a uniformly random permutation of every group.

    Args:
      spec: from `find`, or written by hand.
      key: a typed or legacy key of `jax.random`.

    Returns:
      By group, for `apply`.

    >>> from mcjax.symmetries import by_hand
    >>> spec = by_hand({"w": np.zeros(4)}, {"w": ["P0"]})
    >>> sorted(random(spec, jax.random.key(0))["P0"].tolist())
    [0, 1, 2, 3]
    """

    def draw(key: jax.Array, group: Group) -> Order:
        if group.layers is None:
            return np.asarray(jax.random.permutation(key, group.size))
        keys = jax.random.split(key, group.layers)
        return np.stack([np.asarray(jax.random.permutation(k, group.size)) for k in keys])

    keys = jax.random.split(key, max(1, len(spec.groups)))
    return {n: draw(k, g) for k, (n, g) in zip(keys, spec.groups.items(), strict=False)}


def identity(spec: Spec) -> dict[str, Order]:
    """The permutations that change nothing.

    >>> from mcjax.symmetries import by_hand
    >>> identity(by_hand({"w": np.zeros(4)}, {"w": ["P0"]}))
    {'P0': array([0, 1, 2, 3])}
    """
    return {
        name: np.broadcast_to(np.arange(g.size), (g.layers, g.size) if g.layers else (g.size,))
        for name, g in spec.groups.items()
    }


def apply(spec: Spec, permutations: Permutations, params: PyTree) -> PyTree:
    """Permutes parameters; the function stays the same if the spec is right.

    Args:
      spec: from `find`, or written by hand.
      permutations: of some or all groups.
      params: a pytree with the spec's names and shapes.

    Raises:
      ValueError: a group is unknown, a permutation does not fit its group, or the parameters have
        other names or shapes than the spec's.

    >>> from mcjax.symmetries import by_hand
    >>> params = {"in": np.array([[1, 2, 3]]), "out": np.array([[10], [20], [30]])}
    >>> spec = by_hand(params, {"in": [None, "P0"], "out": ["P0", None]})
    >>> moved = apply(spec, {"P0": [2, 0, 1]}, params)
    >>> moved["in"].tolist(), moved["out"].tolist()
    ([[3, 1, 2]], [[30], [10], [20]])
    >>> apply(spec, {"P0": [0, 0, 1]}, params)
    Traceback (most recent call last):
    ValueError: the permutation of P0 has to be one of shape (3,)
    """
    _check_permutations(spec, permutations)

    def of(path: Any, leaf: Any) -> Any:
        return permute_leaf(spec, permutations, leaf_name(path), leaf)

    check_names(spec, params)
    return jax.tree_util.tree_map_with_path(of, params)


def permute_leaf(
    spec: Spec, permutations: Permutations, name: str, leaf: ArrayLike, xp: Any = jnp
) -> Any:
    """Permutes one parameter, with jax.numpy or numpy."""
    for i, axis in enumerate(spec.leaves[name]):
        if not any(f.group in permutations for f in factors(axis)):
            continue
        order = _order(axis, permutations)
        if order.ndim == 1:
            leaf = xp.take(leaf, order, axis=i)
        else:  # a permutation for each iteration of a scan, the leaf's first axis
            shape = [1] * np.ndim(leaf)
            shape[0], shape[i] = order.shape
            leaf = xp.take_along_axis(leaf, order.reshape(shape), axis=i)
    return leaf


def check(
    spec: Spec,
    function: programs.Function,
    params: PyTree,
    *inputs: PyTree,
    tolerance: float = 1e-4,
) -> float:
    """Verifies a spec by running the function under random permutations.

    Args:
      spec: of ``function(params, *inputs)``.
      function: as in `find`.
      params: parameters; not a new network's, whose biases are all equal.
      *inputs: values for which the outputs differ.
      tolerance: largest allowed change of an output, relative to the largest output.

    Returns:
      The largest relative change under permutations of all groups at once.

    Raises:
      ValueError: the outputs changed, and the message names the groups that change them on their
        own; they are not finite; or the parameters have other names or shapes than the spec's.

    >>> from mcjax.symmetries import by_hand
    >>> network = lambda params, x: np.tanh(x @ params["in"]) @ params["out"]
    >>> params = {"in": np.array([[1.0, 2, 3]]), "out": np.array([[1.0], [-2], [4]])}
    >>> spec = by_hand(params, {"in": [None, "P0"], "out": ["P0", None]})
    >>> check(spec, network, params, np.ones((1, 1))) < 1e-6
    True
    """
    before = jax.tree.leaves(function(params, *inputs))
    if not all(np.isfinite(np.asarray(x)).all() for x in before):
        raise ValueError("the function's outputs are not finite: they verify nothing")
    permutations = random(spec, jax.random.key(0))

    def change(some: Permutations) -> float:
        after = jax.tree.leaves(function(apply(spec, some, params), *inputs))
        return max((_relative(a, b) for a, b in zip(before, after, strict=True)), default=0.0)

    largest = change(permutations)
    if not largest <= tolerance:
        alone = {name: change({name: order}) for name, order in permutations.items()}
        guilty = [f"{name} by {x:.2g}" for name, x in alone.items() if not x <= tolerance]
        raise ValueError(
            f"permutations change the outputs by {largest:.2g} of the largest one: "
            f"{', '.join(guilty) or 'no group does so alone'}; see print(spec) for where they occur"
        )
    return largest


def _order(axis: Axis, permutations: Permutations) -> Order:
    """The old index of each new position along an axis."""
    if isinstance(axis, Factor):
        return np.asarray(permutations.get(axis.group or "", np.arange(axis.size)))
    orders = [_order(part, permutations) for part in axis.parts]
    sizes = [extent(part) for part in axis.parts]
    if isinstance(axis, Sum):
        starts = np.cumsum([0, *sizes[:-1]])
        lead = np.broadcast_shapes(*(o.shape[:-1] for o in orders))
        shifted = [
            np.broadcast_to(o, (*lead, o.shape[-1])) + s
            for o, s in zip(orders, starts, strict=True)
        ]
        return np.concatenate(shifted, axis=-1)
    whole = np.zeros(1, int)
    for order, n in zip(orders, sizes, strict=True):
        combined = whole[..., :, None] * n + order[..., None, :]
        whole = combined.reshape(*combined.shape[:-2], -1)
    return whole


def _relative(before: Any, after: Any) -> float:
    before, after = (np.asarray(x, np.float64) for x in (before, after))
    scale = np.abs(before).max(initial=0.0)
    return float(np.abs(after - before).max(initial=0.0) / (scale or 1.0))


def _check_permutations(spec: Spec, permutations: Permutations) -> None:
    for name, order in permutations.items():
        if name not in spec.groups:
            raise ValueError(f"{name!r} is not a group: the spec has {', '.join(spec.groups)}")
        group = spec.groups[name]
        shape = (group.layers, group.size) if group.layers else (group.size,)
        if np.shape(order) != shape or not (np.sort(order, -1) == np.arange(group.size)).all():
            raise ValueError(f"the permutation of {name} has to be one of shape {shape}")
