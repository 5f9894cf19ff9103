"""Gradients of real losses; complex parameters count as the pairs of real numbers that they are.

For a complex ``z = x + iy``, `jax.grad` gives ``dL/dx - i dL/dy``. The direction in which the loss
rises is the conjugate ``dL/dx + i dL/dy``: it is what optimizers and Hessians need here, and what
`gradient` gives. Adam and its kin scale a complex number as one, by its modulus; for those of the
real parameters wrap them in ``optax.contrib.split_real_and_imaginary``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcjax import curves


def gradient(function: Callable[..., tuple[jax.Array, Any]]) -> Callable[..., tuple[Any, Any]]:
    """``(params, *args) -> (gradient, aux)`` of ``function(params, *args) -> (loss, aux)``.

    >>> complex(gradient(lambda z: (jnp.abs(z - (1 + 2j)) ** 2, None))(0j)[0])
    (-2-4j)
    """
    of_jax = jax.grad(function, has_aux=True)

    def conjugate(params, *args):
        found, aux = of_jax(params, *args)
        return jax.tree.map(lambda x: x.conj() if jnp.iscomplexobj(x) else x, found), aux

    return conjugate


def divided(tree: Any, count: jax.Array) -> Any:
    """Every leaf divided by a real scalar, in float32 at least; leaf dtypes are kept."""

    def divide(x):
        wide = curves.wide(x)
        return (wide / count.astype(wide.dtype)).astype(x.dtype)

    return jax.tree.map(divide, tree)


def to_real(tree: Any) -> Any:
    """The same with a pair ``(real, imaginary)`` for each complex leaf."""
    return jax.tree.map(lambda x: (x.real, x.imag) if jnp.iscomplexobj(x) else x, tree)


def to_complex(like: Any, tree: Any) -> Any:
    """What `to_real` makes ``tree`` of, where ``like`` has its structure and dtypes."""
    return jax.tree.map(lambda x, y: jax.lax.complex(*y) if jnp.iscomplexobj(x) else y, like, tree)
