"""Checks of users' arguments; each raises ValueError before any long work."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.engine.objectives import Loss
from mcjax.typing import PyTree


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Converts ``value`` to an int of at least ``least``.

    Raises:
      ValueError: ``value`` is not a whole number, or too small; the message gives its ``name``.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={value!r}: use a whole number, {least} or more") from None
    if whole < least:
        raise ValueError(f"{name}={whole}: use {least} or more")
    return whole


def control_points(curve: curves.Curve, points: Sequence[PyTree]) -> None:
    """Raises ValueError unless there are as many control points as the curve has."""
    curves.check_curve(curve)
    if len(points) != curve.num_bends + 2:
        raise ValueError(
            f"{len(points)} control points: this curve has {curve.num_bends + 2}, "
            "(start, *bends, end)"
        )


def parameters(number: int, params: PyTree) -> None:
    """Raises ValueError for a leaf that cannot be mixed, before jax fails on it."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
        if not (is_array and jnp.issubdtype(leaf.dtype, jnp.inexact)):
            name = jax.tree_util.keystr(path) or "(the whole tree)"
            what = f"of dtype {leaf.dtype}" if is_array else f"of type {_type(leaf)}"
            raise ValueError(
                f"leaf {name} of control point {number} is {what}: keep floating-point arrays in "
                "the parameters and the rest in the loss (Equinox: eqx.partition(model, "
                "eqx.is_inexact_array); NNX: nnx.split(model, nnx.Param, ...))"
            )


def finite(what: str, params: PyTree) -> None:
    """Raises ValueError, ``what`` and the leaf, if a parameter is not finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.isfinite(leaf).all():
            where = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(f"{what}: {where or 'a parameter'} is not finite")


def num_examples(data: PyTree) -> int:
    """The number of examples; raises ValueError if the leaves differ in it or are not arrays."""
    is_iterator = lambda x: hasattr(x, "__next__")  # noqa: E731
    leaves = jax.tree_util.tree_flatten_with_path(data, is_leaf=is_iterator)[0]
    if not leaves:
        raise ValueError("the data contain no array")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "(the whole tree)"
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(
                f"leaf {name} of the data is of type {_type(leaf)}: expected numpy or jax arrays "
                "with a leading axis of examples; convert other tensors with numpy.asarray(tensor)"
            )
        if leaf.dtype.kind in "OSUT":
            raise ValueError(f"leaf {name} of the data has dtype {leaf.dtype}: expected numbers")
        if leaf.ndim == 0 or len(leaf) != np.shape(leaves[0][1])[0] or not len(leaf):
            raise ValueError(
                f"leaf {name} of the data has shape {leaf.shape}: every leaf needs the same "
                f"leading axis of examples{_if_batches(data)}"
            )
    return len(leaves[0][1])


def _type(value: Any) -> str:
    """The name of a value's type, preceded by its library unless it is a builtin."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def _if_batches(data: PyTree) -> str:
    """What to do with a list of batches, if the data look like one."""
    first = data[0] if isinstance(data, (list, tuple)) and data else None
    if not isinstance(first, (Mapping, list, tuple)):
        return ""
    return (
        "; if this is a list of batches, pass one pytree of all examples: "
        "jax.tree.map(lambda *x: numpy.concatenate(x), *batches)"
    )


def mean_loss(mean: Loss, params: PyTree, data: PyTree) -> None:
    """Raises ValueError if the loss of a batch of one example is not a real number.

    Args:
      mean: ``loss(params, batch, key)``.
      params: the point at which to call it.
      data: examples.
    """
    batch = jax.tree.map(lambda x: jnp.asarray(x[:1]), data)
    try:
        value = jax.eval_shape(mean, params, batch, jax.random.key(0))
    except Exception as error:  # whatever the user's loss raises
        reason = str(error).partition("\n")[0]
        shapes = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", batch)
        raise ValueError(
            f"loss failed on a batch of one example, {shapes}: {type(error).__name__}: {reason}"
            f"{_if_batches(data)}"
        ) from error
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        what = getattr(value, "shape", None)
        what = type(value).__name__ if what is None else f"{value.dtype}{list(what)}"
        raise ValueError(f"loss returned {what}: expected a real scalar, the mean over the batch")
