"""Float64 sums over the numbers of pytrees, on the host.

The Gram matrix of long, nearly equal vectors loses their differences to rounding in float32, and
without ``jax_enable_x64`` a device has nothing wider. These sums read one leaf at a time, in
chunks: besides the pytrees they need memory for one leaf of each and one chunk. A complex number
counts as a pair of real ones.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from mcjax.typing import Float, PyTree

CHUNK = 2**14
"""Numbers per chunk of a leaf, few enough for a processor's cache."""

Rows = Callable[[np.ndarray], np.ndarray]
"""A real linear map of K vectors to M, from one chunk of them ``[K, n]`` to one ``[M, n]``."""


def chunks(trees: Sequence[PyTree]) -> Iterator[Float[np.ndarray, "K n"]]:
    """Yields the numbers of K pytrees, one float64 chunk after another.

    Args:
      trees: K pytrees with as many leaves of the same sizes.

    >>> [x.tolist() for x in chunks([{"w": np.ones(2)}, {"w": np.zeros(2)}])]
    [[[1.0, 1.0], [0.0, 0.0]]]
    """
    for leaves in zip(*map(jax.tree.leaves, trees), strict=True):
        yield from _leaf_chunks(leaves)


def gram(trees: Sequence[PyTree], rows: Rows = lambda x: x) -> Float[np.ndarray, "M M"]:
    """Inner products of the M vectors that ``rows`` computes from K pytrees.

    Non-finite values give non-finite products.

    Args:
      trees: K pytrees with as many leaves of the same sizes.
      rows: the vectors, in terms of the K vectors; default: these.

    >>> gram([{"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}], lambda x: x[:1] - x[1:])
    array([[20.]])
    """
    with np.errstate(invalid="ignore", over="ignore"):
        vectors = (rows(x) for x in itertools.chain([_no_numbers(trees)], chunks(trees)))
        return np.asarray(sum(x @ x.T for x in vectors))


def combine(trees: Sequence[PyTree], rows: Rows) -> tuple[PyTree, ...]:
    """The M vectors that ``rows`` computes from K pytrees, as pytrees like the first one.

    Each number is rounded once, to the dtype of its leaf. Leaves are sharded like the first
    pytree's.

    Args:
      trees: K pytrees with as many leaves of the same sizes.
      rows: the vectors, in terms of the K vectors.

    >>> combine([np.float32([1, 2]), np.float32([3, 6])], lambda x: x[1:] - x[:1])
    (Array([2., 4.], dtype=float32),)
    """
    structure, count = jax.tree.structure(trees[0]), len(rows(_no_numbers(trees)))
    made = [_combined(leaves, rows) for leaves in zip(*map(jax.tree.leaves, trees), strict=True)]
    return tuple(structure.unflatten([leaf[i] for leaf in made]) for i in range(count))


def _combined(leaves: Sequence[Any], rows: Rows) -> list[jax.Array]:
    """One leaf of each of the M results."""
    like, dtype = leaves[0], jnp.result_type(leaves[0])
    wide = np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        parts = [
            np.ascontiguousarray(rows(x)).view(wide).astype(dtype) for x in _leaf_chunks(leaves)
        ]
    whole = [vector.reshape(np.shape(like)) for vector in np.concatenate(parts, axis=1)]
    sharding = like.sharding if isinstance(like, jax.Array) and like.committed else None
    return [jax.device_put(x, sharding) for x in whole]


def _no_numbers(trees: Sequence[PyTree]) -> Float[np.ndarray, "K 0"]:
    """An empty chunk, for the result of trees without leaves."""
    return np.zeros((len(trees), 0))


def _leaf_chunks(leaves: Sequence[Any]) -> Iterator[Float[np.ndarray, "K n"]]:
    vectors = [_on_host(leaf).ravel() for leaf in leaves]
    wide = np.complex128 if np.iscomplexobj(vectors[0]) else np.float64
    for first in range(0, max(vectors[0].size, 1), CHUNK):
        yield np.stack([v[first : first + CHUNK].astype(wide) for v in vectors]).view(np.float64)


def _on_host(leaf: Any) -> np.ndarray:
    """The leaf as a numpy array, without the host copy that ``np.asarray`` caches on the leaf."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return multihost_utils.process_allgather(leaf, tiled=True)
    shards = [shard.data for shard in leaf.addressable_shards]
    return np.asarray(jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, shards))
