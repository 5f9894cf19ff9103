"""Specs: which permutation groups act on which axes of a function's parameters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax.typing import PyTree


class Group(NamedTuple):
    """Positions that may be permuted together wherever they occur.

    Attributes:
      size: number of positions.
      layers: length of the scan whose iterations each have their own permutation, or None.

    >>> Group(64), Group(64, layers=12)  # one permutation, or one for each of 12 layers
    (Group(size=64, layers=None), Group(size=64, layers=12))
    """

    size: int
    layers: int | None = None


class Factor(NamedTuple):
    """Part of an axis that one group permutes, or that is frozen.

    Attributes:
      size: number of positions.
      group: the group's name, or None.
      frozen: why it is frozen, or None.

    >>> by_hand({"w": np.zeros((2, 3))}, {"w": ["P0", None]}).leaves["w"]
    (Factor(size=2, group='P0', frozen=None), Factor(size=3, group=None, frozen='by hand'))
    """

    size: int
    group: str | None = None
    frozen: str | None = None


class Product(NamedTuple):
    """An axis that is a row-major product.

    Attributes:
      parts: the factors, the slowest first.

    >>> by_hand({"w": np.zeros(6)}, {"w": [(("heads", 2), (None, 3))]}).leaves["w"][0].parts
    (Factor(size=2, group='heads', frozen=None), Factor(size=3, group=None, frozen='by hand'))
    """

    parts: tuple["Axis", ...]


class Sum(NamedTuple):
    """An axis that is a concatenation.

    Attributes:
      parts: what is concatenated, in order.

    >>> extent(Sum((Factor(3, "P0"), Factor(2, "P1"))))  # two layers' units side by side
    5
    """

    parts: tuple["Axis", ...]


Axis = Factor | Product | Sum


class Spec(NamedTuple):
    """The permutations of a function's parameters that leave the function unchanged.

    Attributes:
      groups: by name: ``P0``, ``P1``, ...
      leaves: by the parameter's path, the structure of each of its axes.
      unknown: primitives without a rule in `find`; the axes that they touch are frozen.

    >>> spec = by_hand({"in": np.zeros((3, 4)), "out": np.zeros((4, 2))}, {"in": [None, "P0"]})
    >>> print(spec)
    group   size  occurs in
    P0         4  in[1]
    frozen        in[0], out[0], out[1]: by hand
    """

    groups: dict[str, Group]
    leaves: dict[str, tuple[Axis, ...]]
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _table(self)


def by_hand(params: PyTree, leaves: Mapping[str, Sequence[Any]]) -> Spec:
    """Writes a spec by hand, for a function that `find` cannot analyse.

    Args:
      params: the parameters.
      leaves: by path, one entry per axis: a group's name, None if frozen, or a tuple of
        ``(name, size)`` pairs for a row-major product. Leaves that are missing are frozen.

    Raises:
      ValueError: a path is unknown, or a size does not fit.

    >>> params = {"in": np.zeros((3, 4)), "bias": np.zeros(4), "out": np.zeros((4, 2))}
    >>> hidden = {"in": [None, "P0"], "bias": ["P0"], "out": ["P0", None]}
    >>> by_hand(params, hidden).groups
    {'P0': Group(size=4, layers=None)}
    >>> by_hand(params, {"out": ["P0", None], "in": ["P0", None]})
    Traceback (most recent call last):
    ValueError: group P0 has 3 positions and 4
    """
    shapes = {
        leaf_name(path): np.shape(x) for path, x in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    unknown = sorted(set(leaves) - set(shapes))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a parameter; there are {', '.join(shapes)}")
    groups: dict[str, Group] = {}

    def factor(name: str | None, size: int) -> Factor:
        if name is None:
            return Factor(size, frozen="by hand")
        if groups.setdefault(name, Group(size)).size != size:
            raise ValueError(f"group {name} has {groups[name].size} positions and {size}")
        return Factor(size, name)

    def described(path: str, how: Any, size: int) -> Axis:
        if not isinstance(how, tuple):
            return factor(how, size)
        if np.prod([n for _, n in how]) != size:
            raise ValueError(f"{path}: {how} is not an axis of {size}")
        return Product(tuple(factor(name, n) for name, n in how))

    spec = {}
    for path, shape in shapes.items():
        given = leaves.get(path, (None,) * len(shape))
        if len(given) != len(shape):
            raise ValueError(f"{path} has {len(shape)} axes, but {len(given)} are given")
        spec[path] = tuple(described(path, how, n) for how, n in zip(given, shape, strict=True))
    return Spec(groups, spec)


def moved_share(spec: Spec, params: PyTree) -> float:
    """The share of the parameters that some group moves, from 0 to 1.

    >>> params = {"in": np.zeros((3, 4)), "out": np.zeros((4, 2)), "scale": np.zeros(5)}
    >>> moved_share(by_hand(params, {"in": [None, "P0"], "out": ["P0", None]}), params)
    0.8
    """
    sizes = {leaf_name(p): np.size(x) for p, x in jax.tree_util.tree_flatten_with_path(params)[0]}
    moved = sum(
        n
        for leaf, n in sizes.items()
        if any(f.group for a in spec.leaves[leaf] for f in factors(a))
    )
    return moved / max(1, sum(sizes.values()))


def factors(axis: Axis) -> Iterator[Factor]:
    """The factors of an axis, from left to right."""
    if isinstance(axis, Factor):
        yield axis
    else:
        for part in axis.parts:
            yield from factors(part)


def extent(axis: Axis) -> int:
    """Positions along an axis."""
    match axis:
        case Product(parts):
            return int(np.prod([extent(p) for p in parts], dtype=np.int64))
        case Sum(parts):
            return sum(map(extent, parts))
    return axis.size


def leaf_name(path: Any) -> str:
    """A parameter's path as a spec's key, such as ``params/Dense_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check_names(spec: Spec, params: PyTree) -> None:
    """Raises ValueError if parameters have other names or shapes than a spec's."""
    found = {
        leaf_name(p): tuple(np.shape(x)) for p, x in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    there = {name: tuple(map(extent, axes)) for name, axes in spec.leaves.items()}
    differing = sorted(n for n in {*found, *there} if found.get(n) != there.get(n))
    if differing:
        name = differing[0]
        raise ValueError(
            f"the spec is of other parameters: {name or 'the leaf'} has shape {found.get(name)} "
            f"here and {there.get(name)} in the spec"
        )


def _table(spec: Spec) -> str:
    """One row per group, reason for freezing and unknown primitive."""
    places: dict[str, list[str]] = {name: [] for name in spec.groups}
    frozen: dict[str, list[str]] = {}
    for path, axes in spec.leaves.items():
        for i, axis in enumerate(axes):
            for factor in dict.fromkeys(factors(axis)):
                where = f"{path}[{i}]"
                if factor.group:
                    places[factor.group].append(where)
                elif factor.size > 1:
                    frozen.setdefault(factor.frozen or "", []).append(where)
    rows = [("group", "size", "occurs in")]
    for name, group in spec.groups.items():
        count = f"{group.layers} x {group.size}" if group.layers else str(group.size)
        rows.append((name, count, ", ".join(places[name])))
    rows += [("frozen", "", f"{', '.join(where)}: {why}") for why, where in frozen.items()]
    rows += [("unknown", "", f"{name}: no rule") for name in spec.unknown]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in rows)
