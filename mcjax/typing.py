"""Shapes and dtypes in annotations, by jaxtyping where it is installed; mcjax runs without it.

``Float[Array, "points k"]`` is a floating-point array of two axes. Type checkers and the tests,
which check every call, have jaxtyping; without it these names are `Any`.

>>> import numpy as np
>>> from mcjax.typing import Float
>>> def lengths(w: Float[np.ndarray, "points k"]) -> Float[np.ndarray, " points"]:
...     return np.linalg.norm(w, axis=1)
>>> lengths(np.array([[3.0, 4.0]]))
array([5.])
"""

from typing import TYPE_CHECKING, Any

import jax

try:
    from jaxtyping import (
        Array,
        ArrayLike,
        Bool,
        Float,
        Inexact,
        Int,
        Integer,
        Key,
        Num,
        PyTree,
        Shaped,
    )
except ImportError:
    if not TYPE_CHECKING:

        class _Any:
            """Takes any shape."""

            def __class_getitem__(cls, shape: Any) -> Any:
                return Any

        Array, ArrayLike = jax.Array, jax.typing.ArrayLike
        Bool = Float = Inexact = Int = Integer = Key = Num = PyTree = Shaped = _Any

__all__ = [
    "Array", "ArrayLike", "Bool", "Float", "Inexact", "Int", "Integer", "Key", "Num", "PyTree",
    "Shaped",
]  # fmt: skip
