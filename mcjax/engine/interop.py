"""Support for users' JAX code and settings: legacy keys, strict promotion.

mcjax works under ``jax_numpy_dtype_promotion=strict`` and ``jax_numpy_rank_promotion=raise``. Not
all of optax does, so its optimizers and schedules are called within `standard_promotion`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.typing import Array, Key


def typed_key(key: Any, ndim: int | None = 0) -> Key[Array, "..."]:
    """Converts a key of either kind to a typed key, as from `jax.random.key`.

    Args:
      key: typed, or legacy as from ``jax.random.PRNGKey``: uint32 with one more axis, which gives
        the same random numbers.
      ndim: expected number of axes: 0 for one key, None for any.

    Raises:
      ValueError: ``key`` is neither, or has another number of axes.

    >>> bool(typed_key(jax.random.PRNGKey(3)) == jax.random.key(3))
    True
    """
    if not isinstance(key, jax.Array | np.ndarray):
        raise ValueError(f"key={key!r} is not a key: use jax.random.key({key!r})")
    found = jnp.asarray(key)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        width = jax.random.key_data(jax.random.key(0)).shape
        if key.dtype != np.uint32 or key.shape[-1:] != width:
            raise ValueError(f"key is {key.dtype}{list(key.shape)}: use jax.random.key(SEED)")
        found = jax.random.wrap_key_data(found)
    if ndim is not None and found.ndim != ndim:
        expected = "one key" if ndim == 0 else f"an array of {ndim} axes"
        raise ValueError(f"keys of shape {list(found.shape)}: expected {expected}")
    return found


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """JAX's default promotion regardless of the user's settings, for calls to other libraries.

    >>> with standard_promotion():
    ...     float(jnp.int32(1) + jnp.float32(0.5))
    1.5
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
