"""The axes of a program's values, and what operations do to all axes of a value."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mcjax.symmetries.axes import Axis, Leaf, freeze, size, unify

Axes = tuple[Axis, ...]
"""An axis tree for each axis of a value."""


def constant(value: Any) -> Axes:
    """A constant's axes: frozen, except those along which it is uniform."""
    if not np.ndim(value):
        return ()
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return tuple(Leaf(n, "a constant") for n in np.shape(value))
    array = np.asarray(value)
    same = [bool((array == array.take([0], i)).all()) for i in range(array.ndim)]
    sizes = zip(array.shape, same, strict=True)
    return tuple(Leaf(n, None if uniform else "a constant") for n, uniform in sizes)


def result_shapes(equation: Any) -> list[tuple[int, ...]]:
    """Shapes of an equation's results."""
    return [v.aval.shape for v in equation.outvars]


def frozen(shape: Sequence[int], why: str) -> Axes:
    """Frozen axes of a shape."""
    return tuple(Leaf(n, why) for n in shape)


def freeze_all(values: Sequence[Axes], why: str) -> None:
    """Freezes every axis of some values."""
    for value in values:
        for axis in value:
            freeze(axis, why)


def unify_axes(a: Axes, b: Axes, why: str) -> None:
    """Unifies the axes of two values."""
    for one, two in zip(a, b, strict=True):
        unify(one, two, why)


def unify_values(a: Sequence[Axes], b: Sequence[Axes], why: str) -> None:
    """Unifies the axes of two lists of values."""
    for one, two in zip(a, b, strict=True):
        unify_axes(one, two, why)


def partly(axes: Axes, sizes: Sequence[int], why: str) -> Axes:
    """Keeps axes whose size is unchanged; freezes the others."""
    result = []
    for axis, n in zip(axes, sizes, strict=True):
        if size(axis) == n:
            result.append(axis)
        else:
            freeze(axis, why)
            result.append(Leaf(n, why))
    return tuple(result)


def opaque(equation: Any, operands: list[Axes]) -> list[Axes]:
    """The rule for a primitive without one: everything is frozen."""
    why = f"{equation.primitive.name}, which has no rule"
    freeze_all(operands, why)
    return [frozen(shape, why) for shape in result_shapes(equation)]
