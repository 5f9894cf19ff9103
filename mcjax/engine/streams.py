"""Data on the devices, or streamed from the host in chunks of examples.

Where the arrays of a data set lie decides: those on the devices (`jax.Array`) stay there; those on
the host (numpy) are copied in chunks, the next one while one is computed, so that at most two are
on a device. `place` decides by size. Chunks are whole batches, and what is summed on a device is
carried from chunk to chunk: results are the same bits either way.

With several processes each holds the whole data set.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mcjax.engine import parallel

CHUNK_BYTES = 2**28
"""About the most that a chunk takes on a device; it has two batches at least."""


class Chunk(NamedTuple):
    """Some examples of a split, one after another, on the devices.

    Attributes:
      data: a pytree of arrays with a leading axis of examples.
      first: the position in the split of the first one; None where they are all.
    """

    data: Any
    first: Any = None

    def examples(self, rows: jax.Array) -> jax.Array:
        """The positions in the split of rows of ``data``."""
        return rows if self.first is None else rows + self.first


def device_limit() -> float:
    """Bytes of data that may stay on a device: half of its memory, or 4 GiB where unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 2**33) / 2


def place(splits: Mapping[str, Any], mesh: Mesh, limit: float | None = None) -> dict[str, Any]:
    """Copies splits to all devices, the smallest first, while they fit; the others will stream.

    Args:
      splits: pytrees of arrays by name, each with a leading axis of examples.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      limit: bytes that may stay on a device; by default `device_limit`.

    Returns:
      By name, in the same order: global arrays on the mesh, or numpy arrays on the host.
    """
    left = device_limit() if limit is None else limit
    placed: dict[str, Any] = {}
    for name in sorted(splits, key=lambda name: num_bytes(splits[name])):
        fits = not parallel.any_says(num_bytes(splits[name]) > left)
        left -= num_bytes(splits[name])
        host = lambda tree: jax.tree.map(np.asarray, tree)  # noqa: E731
        placed[name] = parallel.replicate(splits[name], mesh) if fits else host(splits[name])
    return {name: placed[name] for name in splits}


def num_bytes(data: Any) -> int:
    """What the arrays of a pytree take."""
    return sum(x.nbytes for x in jax.tree.leaves(data))


def num_examples(data: Any) -> int:
    """The length of the leading axis."""
    return len(jax.tree.leaves(data)[0])


def is_streamed(data: Any) -> bool:
    """Whether an array of a pytree lies on the host."""
    return not all(isinstance(x, jax.Array) for x in jax.tree.leaves(data))


def batches_per_chunk(data: Any, batch_size: int, copies: int = 1) -> int:
    """How many batches of so many examples a chunk may have, at least one.

    Args:
      data: the whole data set.
      batch_size: examples of a batch.
      copies: batches that a step takes, such as one for each of several runs.
    """
    one = -(-num_bytes(data) // num_examples(data))  # bytes of an example
    return max(1, CHUNK_BYTES // (one * batch_size * copies))


def fold(step: Callable[[Any, Chunk, bool], Any], data: Any, mesh: Mesh, batch_size: int) -> Any:
    """The last carry of a loop over the chunks of a data set.

    Data on the devices are one chunk. All others have at least two batches, as far as there are
    two, so that no chunk's loop is compiled to straight code, which could round differently.

    Args:
      step: ``(carry, chunk, is_last) -> carry``, with ``None`` as the first carry.
      data: on the devices or on the host.
      mesh: the devices.
      batch_size: chunks begin at its multiples.
    """
    alone = lambda carry, chunk, is_last: (step(carry, chunk, is_last), None)  # noqa: E731
    return _scan(alone, data, mesh, batch_size)[0]


def collect(function: Callable[[Chunk], Any], data: Any, mesh: Mesh, batch_size: int) -> list[Any]:
    """The function of each chunk of a data set, with chunks as in `fold`.

    What it gives of the last chunk may still be being computed, on the devices; the rest is on the
    host.
    """
    return _scan(lambda _, chunk, is_last: (None, function(chunk)), data, mesh, batch_size)[1]


def _scan(
    step: Callable[[Any, Chunk, bool], tuple[Any, Any]], data: Any, mesh: Mesh, batch_size: int
) -> tuple[Any, list[Any]]:
    """As `jax.lax.scan` over chunks: the last carry, and what each step gave."""
    if not is_streamed(data):
        carry, out = step(None, Chunk(data), True)
        return carry, [out]
    bounds, carry, outs = _bounds(data, batch_size), None, []
    for first, end in itertools.pairwise(bounds):
        part = jax.tree.map(lambda x: np.asarray(x)[first:end], data)  # noqa: B023
        chunk = Chunk(_put(part, mesh), np.int32(first))
        before = carry
        carry, out = step(carry, chunk, end == bounds[-1])
        # The step before has to end, and to free its chunk, before there is another.
        jax.block_until_ready(before)
        outs[-1:] = jax.tree.map(np.asarray, outs[-1:])
        outs.append(out)
    return carry, outs


def _bounds(data: Any, batch_size: int) -> list[int]:
    """Where chunks begin, and the end: a single batch and the rest belong to the chunk before."""
    size = num_examples(data)
    each = max(2, batches_per_chunk(data, batch_size))
    starts = range(0, max(size // batch_size - 1, 1), each)
    return [*(start * batch_size for start in starts), size]


def _put(data: Any, mesh: Mesh) -> Any:
    """Numpy arrays on all devices of the mesh, without communication and without waiting."""
    sharding = NamedSharding(mesh, PartitionSpec())
    put = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])  # noqa: E731
    return jax.tree.map(put, data)
