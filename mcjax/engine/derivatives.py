"""Gradients of real losses, where a complex parameter counts as a pair of real numbers.

For a complex ``z = x + iy``, `jax.grad` returns ``dL/dx - i dL/dy``. The loss rises along the
conjugate, ``dL/dx + i dL/dy``, which optimizers and Hessians need here and which `gradient`
returns. Adam and similar optimizers scale a complex number as a whole, by its modulus; to scale
real and imaginary parts separately, wrap them in ``optax.contrib.split_real_and_imaginary``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcjax import curves
from mcjax.typing import Array, PyTree, Shaped


def gradient(
    function: Callable[..., tuple[jax.Array, Any]],
) -> Callable[..., tuple[PyTree, Any]]:
    """Turns ``function(params, *args) -> (loss, aux)`` into one that returns ``(gradient, aux)``.

    >>> complex(gradient(lambda z: (jnp.abs(z - (1 + 2j)) ** 2, None))(0j)[0])
    (-2-4j)
    """
    of_jax = jax.grad(function, has_aux=True)

    def conjugate(params: PyTree, *args: Any) -> tuple[PyTree, Any]:
        found, aux = of_jax(params, *args)
        return jax.tree.map(lambda x: x.conj() if jnp.iscomplexobj(x) else x, found), aux

    return conjugate


def divided(tree: PyTree, count: Shaped[Array, ""]) -> PyTree:
    """Divides every leaf by a real scalar, in float32 or wider; leaf dtypes are kept.

    >>> divided({"w": jnp.array([2.0, 4.0])}, jnp.float32(2))["w"].tolist()
    [1.0, 2.0]
    """

    def divide(x: jax.Array) -> jax.Array:
        wide = curves.wide(x)
        return (wide / count.astype(wide.dtype)).astype(x.dtype)

    return jax.tree.map(divide, tree)


def to_real(tree: PyTree) -> PyTree:
    """Replaces each complex leaf by a pair ``(real, imaginary)``.

    >>> jax.tree.map(float, to_real({"z": jnp.complex64(1 + 2j)}))
    {'z': (1.0, 2.0)}
    """
    return jax.tree.map(lambda x: (x.real, x.imag) if jnp.iscomplexobj(x) else x, tree)


def to_complex(like: PyTree, tree: PyTree) -> PyTree:
    """Inverts `to_real`; the result has the structure and dtypes of ``like``.

    >>> tree = {"z": jnp.complex64(1 + 2j)}
    >>> complex(to_complex(tree, to_real(tree))["z"])
    (1+2j)
    """
    return jax.tree.map(lambda x, y: jax.lax.complex(*y) if jnp.iscomplexobj(x) else y, like, tree)
