"""Float64 sums over the numbers of pytrees, on the host.

A float32 Gram matrix of long vectors that lie close together keeps none of the digits in which they
differ, and without ``jax_enable_x64`` a device has nothing wider. These sums read one leaf after
another, a chunk at a time: beside the pytrees they need memory for a leaf of each and a chunk.
Complex numbers count as pairs of real ones.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

CHUNK = 2**14
"""Numbers of a leaf in a chunk, few enough for a processor's cache."""

Rows = Callable[[np.ndarray], np.ndarray]
"""A real linear map of K vectors to M, applied to a chunk of them: ``[K, n]`` to ``[M, n]``."""


def chunks(trees: Sequence[Any]) -> Iterator[np.ndarray]:
    """The numbers of K pytrees, a chunk at a time: float64 arrays of shape ``[K, n]``."""
    for leaves in zip(*map(jax.tree.leaves, trees), strict=True):
        yield from _leaf_chunks(leaves)


def gram(trees: Sequence[Any], rows: Rows = lambda x: x) -> np.ndarray:
    """Inner products ``[M, M]`` of the vectors that ``rows`` makes of K pytrees.

    Values that are not finite give products that are not finite.

    >>> gram([{"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}], lambda x: x[:1] - x[1:])
    array([[20.]])
    """
    with np.errstate(invalid="ignore", over="ignore"):
        made = (rows(x) for x in itertools.chain([_nothing(trees)], chunks(trees)))
        return np.asarray(sum(x @ x.T for x in made))


def combine(trees: Sequence[Any], rows: Rows) -> tuple[Any, ...]:
    """The vectors that ``rows`` makes of K pytrees, as M pytrees like the first.

    Each number is rounded once, to the dtype of its leaf, and laid out as the first pytree's is.
    """
    structure, count = jax.tree.structure(trees[0]), len(rows(_nothing(trees)))
    made = [_combined(leaves, rows) for leaves in zip(*map(jax.tree.leaves, trees), strict=True)]
    return tuple(structure.unflatten([leaf[i] for leaf in made]) for i in range(count))


def _combined(leaves, rows):
    like, dtype = leaves[0], jnp.result_type(leaves[0])
    wide = np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        parts = [
            np.ascontiguousarray(rows(x)).view(wide).astype(dtype) for x in _leaf_chunks(leaves)
        ]
    whole = [vector.reshape(np.shape(like)) for vector in np.concatenate(parts, axis=1)]
    sharding = like.sharding if isinstance(like, jax.Array) and like.committed else None
    return [jax.device_put(x, sharding) for x in whole]


def _nothing(trees):
    return np.zeros((len(trees), 0))


def _leaf_chunks(leaves):
    vectors = [_on_host(leaf).ravel() for leaf in leaves]
    wide = np.complex128 if np.iscomplexobj(vectors[0]) else np.float64
    for first in range(0, max(vectors[0].size, 1), CHUNK):
        yield np.stack([v[first : first + CHUNK].astype(wide) for v in vectors]).view(np.float64)


def _on_host(leaf):
    """The leaf as a numpy array, without the copy that ``np.asarray`` would leave with it."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        return multihost_utils.process_allgather(leaf, tiled=True)
    shards = [shard.data for shard in leaf.addressable_shards]
    return np.asarray(jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, shards))
