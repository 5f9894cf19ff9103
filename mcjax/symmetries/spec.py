"""Permutation groups of a function's parameters: found, drawn at random, applied, proved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.symmetries import axes as trees
from mcjax.symmetries import programs, tracing

Permutations = Mapping[str, np.ndarray]
"""By group: the old position of each new one, ``[size]``, or ``[layers, size]``."""


class Group(NamedTuple):
    """Positions that may be permuted together wherever they occur.

    Attributes:
      size: how many.
      layers: length of the scan that has a permutation of its own for each iteration, or None.
    """

    size: int
    layers: int | None = None


class Factor(NamedTuple):
    """Part of an axis that one group permutes, or nothing does.

    Attributes:
      size: positions.
      group: the group's name, or None.
      frozen: why nothing permutes it, or None.
    """

    size: int
    group: str | None = None
    frozen: str | None = None


class Product(NamedTuple):
    """An axis that is a row-major product."""

    parts: tuple["Axis", ...]


class Sum(NamedTuple):
    """An axis that is a concatenation."""

    parts: tuple["Axis", ...]


Axis = Factor | Product | Sum


class Spec(NamedTuple):
    """The permutations of the parameters that leave a function as it is.

    Attributes:
      groups: by name, ``P0``, ``P1`` and so on.
      leaves: by the parameter's path, what each of its axes is made of.
      unknown: primitives that `find` has no rule for; what they touch is frozen.
    """

    groups: dict[str, Group]
    leaves: dict[str, tuple[Axis, ...]]
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _table(self)


def find(function: Callable[..., Any], params: Any, *inputs: Any) -> Spec:
    """The permutation groups of ``function(params, *inputs)``, read from its jaxpr.

    Every axis of a parameter starts as a group of its own; each operation unites what it ties
    together and freezes what depends on positions (`mcjax.symmetries.tracing`). Inputs and outputs
    are frozen. Nothing is computed: shapes serve as ``inputs``.

    Args:
      function: from parameters and inputs to any pytree. Of a network with dropout or batch norm
        take the one for evaluation, with its state among ``params``, so that it is permuted too.
      params: a pytree of arrays.
      *inputs: whatever else the function takes; the spec does not depend on their values.

    Returns:
      The groups. A group that the program hides (sorted, or sliced through) is frozen, so the spec
      may miss symmetries; `check` proves those it has.

    Raises:
      ValueError: there are no parameters, or the function does not take these arguments.
    """
    programs.check_call(function, params, inputs)
    named = {
        leaf_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    own = [tuple(trees.Leaf(n) for n in np.shape(x)) for x in named.values()]
    tracer = walk(jax.make_jaxpr(function)(params, *inputs), own)
    layers = {leaf: tracer.lengths[scan] for leaf, scan in tracing.groups_inside(tracer).items()}
    groups: dict[str, Group] = {}
    names: dict[int, str] = {}

    def named_group(leaf: trees.Leaf) -> str:
        if id(leaf) not in names:
            names[id(leaf)] = f"P{len(names)}"
            groups[names[id(leaf)]] = Group(leaf.size, layers.get(id(leaf)))
        return names[id(leaf)]

    leaves = {
        name: tuple(describe(axis, named_group) for axis in axes)
        for name, axes in zip(named, own, strict=True)
    }
    return Spec(groups, leaves, tuple(sorted(tracer.unknown)))


def describe(axis: trees.Axis, name: Callable[[trees.Leaf], str | None]) -> Axis:
    """An axis as specs have it, its groups named."""
    axis = trees.resolve(axis)
    if isinstance(axis, trees.Product | trees.Sum):
        kind = Product if isinstance(axis, trees.Product) else Sum
        return kind(tuple(describe(part, name) for part in axis.parts))
    if axis.frozen:
        return Factor(axis.size, frozen=axis.frozen)
    return Factor(axis.size, name(axis))


def seeds(spec: Spec) -> tuple[dict[str, trees.Leaf], list[tracing.Axes]]:
    """Axes for `walk` that are a spec's already, and the groups among them."""
    groups = {name: trees.Leaf(group.size) for name, group in spec.groups.items()}

    def tree(axis: Axis) -> trees.Axis:
        if isinstance(axis, Factor):
            return groups[axis.group] if axis.group else trees.Leaf(axis.size, axis.frozen)
        kind = trees.Product if isinstance(axis, Product) else trees.Sum
        return kind(tuple(map(tree, axis.parts)))

    return groups, [tuple(map(tree, axes)) for axes in spec.leaves.values()]


def walk(program: Any, own: Sequence[tracing.Axes]) -> tracing.Tracer:
    """Carries the axes of parameters through a program, its first arguments, to the last result."""
    others = [
        tuple(trees.Leaf(n, f"axis {i} of an input") for i, n in enumerate(v.aval.shape))
        for v in program.jaxpr.invars[len(own) :]
    ]
    tracer = tracing.Tracer()
    for value in tracer.call(program, [*own, *others], None):
        for i, axis in enumerate(value):
            trees.freeze(axis, f"axis {i} of an output")
    return tracer


def random(spec: Spec, key: jax.Array) -> dict[str, np.ndarray]:
    """A uniformly random permutation of every group."""

    def draw(key: jax.Array, group: Group) -> np.ndarray:
        if group.layers is None:
            return np.asarray(jax.random.permutation(key, group.size))
        keys = jax.random.split(key, group.layers)
        return np.stack([np.asarray(jax.random.permutation(k, group.size)) for k in keys])

    keys = jax.random.split(key, max(1, len(spec.groups)))
    return {n: draw(k, g) for k, (n, g) in zip(keys, spec.groups.items(), strict=False)}


def identity(spec: Spec) -> dict[str, np.ndarray]:
    """The permutations that change nothing."""
    return {
        name: np.broadcast_to(np.arange(g.size), (g.layers, g.size) if g.layers else (g.size,))
        for name, g in spec.groups.items()
    }


def apply(spec: Spec, permutations: Permutations, params: Any) -> Any:
    """Permuted parameters: the same function, if the spec is right.

    Args:
      spec: from `find`, or written by hand.
      permutations: of some groups; the others stay as they are.
      params: the pytree that the spec is of.

    Raises:
      ValueError: a group is unknown, a permutation is none of that group, or the parameters have
        other names or shapes than the spec's.
    """
    _check_permutations(spec, permutations)

    def of(path: Any, leaf: Any) -> Any:
        return permute_leaf(spec, permutations, leaf_name(path), leaf)

    check_names(spec, params)
    return jax.tree_util.tree_map_with_path(of, params)


def permute_leaf(
    spec: Spec, permutations: Permutations, name: str, leaf: Any, xp: Any = jnp
) -> Any:
    """One parameter of `apply`, by jax.numpy or numpy."""
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
    spec: Spec, function: Callable[..., Any], params: Any, *inputs: Any, tolerance: float = 1e-4
) -> float:
    """Proves a spec by running the function under random permutations.

    Args:
      spec: of ``function(params, *inputs)``.
      function: as in `find`.
      params: parameters, best not those of a fresh network whose biases are equal.
      *inputs: values that show a difference.
      tolerance: largest change of an output, relative to the largest output.

    Returns:
      The largest relative change under permutations of all groups at once.

    Raises:
      ValueError: the outputs changed; the message names the groups that change them alone.
    """
    before = jax.tree.leaves(function(params, *inputs))
    if not all(np.isfinite(np.asarray(x)).all() for x in before):
        raise ValueError("the function's outputs are not finite: nothing can be proved by them")
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
            f"{', '.join(guilty) or 'no group alone does'}; see print(spec) for where they occur"
        )
    return largest


def by_hand(params: Any, leaves: Mapping[str, Sequence[Any]]) -> Spec:
    """A spec written by hand, for a function that `find` cannot read.

    Args:
      params: the parameters.
      leaves: by path, for each axis a group's name, None for a frozen axis, or a tuple of
        ``(name, size)`` pairs for a row-major product. What is not named is frozen.

    Raises:
      ValueError: a path or a size does not fit.
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
            raise ValueError(f"{path} has {len(shape)} axes, and {len(given)} are given")
        spec[path] = tuple(described(path, how, n) for how, n in zip(given, shape, strict=True))
    return Spec(groups, spec)


def moved_share(spec: Spec, params: Any) -> float:
    """The share of the parameters that some group moves, from 0 to 1."""
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


def _order(axis: Axis, permutations: Permutations) -> np.ndarray:
    """The old position of each new one along an axis, ``[n]`` or ``[layers, n]``."""
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


def leaf_name(path: Any) -> str:
    """A parameter's path as specs have it: ``params/Dense_0/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check_names(spec: Spec, params: Any) -> None:
    """Raises ValueError where parameters have other names or shapes than a spec's."""
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


def _check_permutations(spec: Spec, permutations: Permutations) -> None:
    for name, order in permutations.items():
        if name not in spec.groups:
            raise ValueError(f"{name!r} is not a group: the spec has {', '.join(spec.groups)}")
        group = spec.groups[name]
        shape = (group.layers, group.size) if group.layers else (group.size,)
        if np.shape(order) != shape or not (np.sort(order, -1) == np.arange(group.size)).all():
            raise ValueError(f"the permutation of {name} is not one of shape {shape}")


def _table(spec: Spec) -> str:
    """A row for each group and each frozen axis."""
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
