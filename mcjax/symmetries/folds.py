"""How a layer's units lie in its leaves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend import core

from mcjax.symmetries import axes as trees
from mcjax.symmetries import tracing
from mcjax.symmetries.values import Axes, constant


class Fold(NamedTuple):
    """How a layer's units lie in one of its leaves (in one iteration of a scan).

    Attributes:
      shape: the leaf's axes in factors.
      places: for each factor of the units, its index among the leaf's factors.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]


def axes_within(program: core.Jaxpr, inside: set[core.Var], last: core.Var) -> dict[core.Var, Axes]:
    """Axes of a region's values, traced on their own up to ``last``.

    Axes that are summed over, or dropped otherwise, are frozen: each result depends on all of their
    positions, so rescaling one of them rescales no unit.
    """
    tracer = tracing.Tracer()
    env: dict[core.Var, Axes] = {}
    dropped: list[trees.Leaf] = []

    def axes(atom: Any) -> Axes:
        if isinstance(atom, core.Literal):
            return constant(atom.val)
        return env.setdefault(atom, tuple(trees.Leaf(n) for n in atom.aval.shape))

    for equation in program.eqns:
        if any(v in inside for v in equation.outvars):
            operands = [axes(v) for v in equation.invars]
            results = tracer.equation(equation, operands, None)
            env.update(zip(equation.outvars, results, strict=True))
            kept = {id(leaf) for leaf in _leaves(results)}
            dropped += [leaf for leaf in _leaves(operands) if id(leaf) not in kept]
        if last in equation.outvars:
            break
    for leaf in dropped:
        trees.freeze(leaf, "an axis that is summed over")
    return env


def _leaves(values: Sequence[Axes]) -> list[trees.Leaf]:
    return [leaf for value in values for axis in value for leaf in trees.leaves(axis)]


def of_leaf(axes: Axes, units: Sequence[trees.Leaf]) -> Fold | None:
    """The fold of some units in a leaf; None unless each is among its factors exactly once."""
    there: list[Any] = []
    for axis in map(trees.resolve, axes):
        parts = axis.parts if isinstance(axis, trees.Product) else (axis,)
        moved = any(part is unit for part in parts for unit in units)
        there += parts if moved else [trees.Leaf(trees.size(axis))]
    places = [[i for i, part in enumerate(there) if part is unit] for unit in units]
    if any(unit.frozen for unit in units) or any(len(found) != 1 for found in places):
        return None
    return Fold(tuple(map(trees.size, there)), tuple(i for (i,) in places))
