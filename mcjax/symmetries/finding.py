"""Finds the permutation groups of a function's parameters, from its jaxpr."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mcjax.symmetries import axes as trees
from mcjax.symmetries import programs, tracing
from mcjax.symmetries import spec as specs
from mcjax.symmetries.values import Axes
from mcjax.typing import PyTree


def find(function: programs.Function, params: PyTree, *inputs: PyTree) -> specs.Spec:
    """The permutation groups of ``function(params, *inputs)``, read from its jaxpr.

    Every axis of a parameter starts as a group of its own; each operation unifies the axes that it
    ties together and freezes those whose positions matter (`mcjax.symmetries.tracing`). Inputs and
    outputs are frozen. Nothing is computed, so ``inputs`` may be shapes.

    Args:
      function: from parameters and inputs to any pytree. For a network with dropout or batch norm
        use the one for evaluation, with its state among ``params`` so that it is permuted too.
      params: a pytree of arrays.
      *inputs: the function's other arguments; the spec does not depend on their values.

    Returns:
      The groups. A group that the program hides (sorted, or sliced through) is frozen, so the spec
      may miss symmetries; `check` verifies those that it has.

    Raises:
      ValueError: there are no parameters, or the function does not take these arguments.

    >>> network = lambda params, x: jax.nn.relu(x @ params["in"]) @ params["out"]
    >>> shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, np.float32)
    >>> params = {"in": shape(3, 4), "out": shape(4, 2)}
    >>> print(find(network, params, shape(5, 3)))
    group   size  occurs in
    P0         4  in[1], out[0]
    frozen        in[0]: axis 1 of an input
    frozen        out[1]: axis 1 of an output
    """
    programs.check_call(function, params, inputs)
    named = {
        specs.leaf_name(path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    own = [tuple(trees.Leaf(n) for n in np.shape(x)) for x in named.values()]
    tracer = walk(jax.make_jaxpr(function)(params, *inputs), own)
    layers = {leaf: tracer.lengths[scan] for leaf, scan in tracing.groups_inside(tracer).items()}
    groups: dict[str, specs.Group] = {}
    names: dict[int, str] = {}

    def named_group(leaf: trees.Leaf) -> str:
        if id(leaf) not in names:
            names[id(leaf)] = f"P{len(names)}"
            groups[names[id(leaf)]] = specs.Group(leaf.size, layers.get(id(leaf)))
        return names[id(leaf)]

    leaves = {
        name: tuple(describe(axis, named_group) for axis in axes)
        for name, axes in zip(named, own, strict=True)
    }
    return specs.Spec(groups, leaves, tuple(sorted(tracer.unknown)))


def describe(axis: trees.Axis, name: Callable[[trees.Leaf], str | None]) -> specs.Axis:
    """An axis in the form that specs use, with named groups."""
    axis = trees.resolve(axis)
    if isinstance(axis, trees.Product | trees.Sum):
        kind = specs.Product if isinstance(axis, trees.Product) else specs.Sum
        return kind(tuple(describe(part, name) for part in axis.parts))
    if axis.frozen:
        return specs.Factor(axis.size, frozen=axis.frozen)
    return specs.Factor(axis.size, name(axis))


def seeds(spec: specs.Spec) -> tuple[dict[str, trees.Leaf], list[Axes]]:
    """A spec's groups, and the axes made of them to start `walk` with."""
    groups = {name: trees.Leaf(group.size) for name, group in spec.groups.items()}

    def tree(axis: specs.Axis) -> trees.Axis:
        if isinstance(axis, specs.Factor):
            return groups[axis.group] if axis.group else trees.Leaf(axis.size, axis.frozen)
        kind = trees.Product if isinstance(axis, specs.Product) else trees.Sum
        return kind(tuple(map(tree, axis.parts)))

    return groups, [tuple(map(tree, axes)) for axes in spec.leaves.values()]


def walk(program: Any, own: Sequence[Axes]) -> tracing.Tracer:
    """Traces the axes of parameters, a program's first arguments, through all its equations."""
    others = [
        tuple(trees.Leaf(n, f"axis {i} of an input") for i, n in enumerate(v.aval.shape))
        for v in program.jaxpr.invars[len(own) :]
    ]
    tracer = tracing.Tracer()
    for value in tracer.call(program, [*own, *others], None):
        for i, axis in enumerate(value):
            trees.freeze(axis, f"axis {i} of an output")
    return tracer
