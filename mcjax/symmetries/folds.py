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
    """Axes of a region's values, traced on their own up to ``last``."""
    tracer = tracing.Tracer()
    env: dict[core.Var, Axes] = {}

    def axes(atom: Any) -> Axes:
        if isinstance(atom, core.Literal):
            return constant(atom.val)
        return env.setdefault(atom, tuple(trees.Leaf(n) for n in atom.aval.shape))

    for equation in program.eqns:
        if any(v in inside for v in equation.outvars):
            results = tracer.equation(equation, [axes(v) for v in equation.invars], None)
            env.update(zip(equation.outvars, results, strict=True))
        if last in equation.outvars:
            break
    return env


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
