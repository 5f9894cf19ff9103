"""Data on the devices, or streamed from the host in chunks of examples.

Arrays on the devices (`jax.Array`) stay there. Arrays on the host (numpy) are copied in chunks:
the next chunk is copied while the current one is computed, so a device holds at most two. `place`
decides by size. Chunks consist of whole batches, and sums on the device are carried from chunk to
chunk, so streamed and resident data give bit-identical results.

With several processes, each holds the whole data set.

A ``fetch`` for a dict of arrays:

>>> def fetch(data, rows, examples, weight, key):
...     return {name: x[rows] for name, x in data.items()} | {"weight": weight}
>>> fetch({"x": np.arange(10)}, [3, 7], [3, 7], np.ones(2), None)
{'x': array([3, 7]), 'weight': array([1., 1.])}
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mcjax.engine import parallel
from mcjax.typing import Array, ArrayLike, Float, Int, Key, PyTree

CHUNK_BYTES = 2**28
"""Approximate maximum size of a chunk on a device; a chunk has at least two batches."""

_Carry = TypeVar("_Carry")
_Out = TypeVar("_Out")


@runtime_checkable
class Fetch(Protocol):
    """Gathers a batch from the data, on a device; the place for augmentation.

    ``data`` is the whole split or a chunk of it. ``rows`` are positions in ``data``, and
    ``examples`` the same examples' positions in the whole split. ``weight`` is one, or zero for
    padding; a batch passes it on to the objective. ``key`` is for augmentation, to be folded with
    ``examples`` so that it does not depend on the devices.
    """

    def __call__(
        self,
        data: PyTree,
        rows: Int[Array, " batch"],
        examples: Int[Array, " batch"],
        weight: Float[Array, " batch"],
        key: Key[Array, ""],
        /,
    ) -> Any:
        """Returns the batch that the objective is called with."""
        ...


def first_batch(fetch: Fetch, data: PyTree, size: int) -> Any:
    """A batch of the first examples of a split, at most ``size``, without randomness."""
    part = jax.tree.map(lambda x: x[:size], data)
    rows = jnp.arange(len(jax.tree.leaves(part)[0]))
    return fetch(part, rows, rows, jnp.ones(rows.shape), jax.random.key(0))


class Chunk(NamedTuple):
    """Consecutive examples of a split, on the devices.

    Attributes:
      data: a pytree of arrays with a leading axis of examples.
      first: position of the first example in the split, an int scalar; None for a whole split.
    """

    data: PyTree
    first: Int[ArrayLike, ""] | None = None

    def examples(self, rows: Int[Any, "*rows"]) -> Int[Any, "*rows"]:
        """Converts rows of ``data`` to positions in the split."""
        return rows if self.first is None else rows + self.first


def device_limit() -> float:
    """Bytes of data that may stay on a device: half of its memory, or 4 GiB if unknown.

    >>> device_limit() > 0
    True
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 2**33) / 2


def place(
    splits: Mapping[str, PyTree], mesh: Mesh, limit: float | None = None
) -> dict[str, PyTree]:
    """Copies splits to all devices, smallest first, while they fit; the rest will be streamed.

    Args:
      splits: pytrees of arrays by name, each with a leading axis of examples.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      limit: bytes that may stay on a device; default `device_limit`.

    Returns:
      The splits in the same order, as global arrays on the mesh or numpy arrays on the host.

    >>> splits = {"train": np.zeros((1000, 8)), "validation": np.zeros((10, 8))}
    >>> placed = place(splits, parallel.make_mesh(), limit=1000.0)
    >>> {name: is_streamed(data) for name, data in placed.items()}
    {'train': True, 'validation': False}
    """
    left = device_limit() if limit is None else limit
    placed: dict[str, Any] = {}
    for name in sorted(splits, key=lambda name: num_bytes(splits[name])):
        fits = not parallel.max_over_processes(num_bytes(splits[name]) > left)
        left -= num_bytes(splits[name])
        host = lambda tree: jax.tree.map(np.asarray, tree)  # noqa: E731
        placed[name] = parallel.replicate(splits[name], mesh) if fits else host(splits[name])
    return {name: placed[name] for name in splits}


def sample(
    splits: Mapping[str, PyTree], count: int, mesh: Mesh, seed: int = 0
) -> dict[str, PyTree]:
    """Draws the same examples each time, in random order, from splits that have more.

    Args:
      splits: from `place`; those with at most ``count`` examples are returned as they are.
      count: examples to draw without replacement.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      seed: chooses them.

    >>> splits = {"train": np.arange(1000), "validation": np.arange(10)}
    >>> drawn = sample(splits, 100, parallel.make_mesh())
    >>> {name: num_examples(data) for name, data in drawn.items()}
    {'train': 100, 'validation': 10}
    """

    def draw(data: PyTree) -> PyTree:
        rows = np.random.default_rng(seed).permutation(num_examples(data))[:count]
        return jax.tree.map(lambda x: x[rows], data)

    resident = sum(num_bytes(data) for data in splits.values() if not is_streamed(data))
    drawn = {name: draw(data) for name, data in splits.items() if num_examples(data) > count}
    return {**splits, **place(drawn, mesh, device_limit() - resident)}


def num_bytes(data: PyTree) -> int:
    """Total size of the arrays of a pytree."""
    return sum(x.nbytes for x in jax.tree.leaves(data))


def num_examples(data: PyTree) -> int:
    """Length of the leading axis."""
    return len(jax.tree.leaves(data)[0])


def is_streamed(data: PyTree) -> bool:
    """Whether any array of a pytree is on the host.

    >>> is_streamed({"x": np.zeros(3)}), is_streamed({"x": jnp.zeros(3)})
    (True, False)
    """
    return not all(isinstance(x, jax.Array) for x in jax.tree.leaves(data))


def batches_per_chunk(data: PyTree, batch_size: int, copies: int = 1) -> int:
    """Maximum number of batches in a chunk, at least one.

    Args:
      data: the whole data set.
      batch_size: examples per batch.
      copies: batches per step, such as one for each of several runs.
    """
    one = -(-num_bytes(data) // num_examples(data))  # bytes of an example
    return max(1, CHUNK_BYTES // (one * batch_size * copies))


def fold(
    step: Callable[[_Carry | None, Chunk, bool], _Carry], data: PyTree, mesh: Mesh, batch_size: int
) -> _Carry:
    """Loops over the chunks of a data set and returns the last carry.

    Data on the devices are one chunk. Any other chunk has at least two batches if the data do, so
    that no chunk's loop is unrolled to straight-line code, which could round differently.

    Args:
      step: ``(carry, chunk, is_last) -> carry``; the first carry is None.
      data: on the devices or on the host.
      mesh: the devices.
      batch_size: chunks start at its multiples.
    """
    alone = lambda carry, chunk, is_last: (step(carry, chunk, is_last), None)  # noqa: E731
    return _scan(alone, data, mesh, batch_size)[0]


def collect(
    function: Callable[[Chunk], PyTree], data: PyTree, mesh: Mesh, batch_size: int
) -> list[PyTree]:
    """Applies a function to each chunk of a data set, with chunks as in `fold`.

    The last result is on the devices and may still be computing; the others are on the host.
    """
    return _scan(lambda _, chunk, is_last: (None, function(chunk)), data, mesh, batch_size)[1]


def _scan(
    step: Callable[[Any, Chunk, bool], tuple[_Carry, _Out]],
    data: PyTree,
    mesh: Mesh,
    batch_size: int,
) -> tuple[_Carry, list[_Out]]:
    """As `jax.lax.scan` over chunks: the last carry, and each step's output."""
    if not is_streamed(data):
        carry, out = step(None, Chunk(data), True)
        return carry, [out]
    bounds = _bounds(data, batch_size)
    carry: Any = None
    outs: list[Any] = []
    for first, end in itertools.pairwise(bounds):
        part = jax.tree.map(lambda x: np.asarray(x)[first:end], data)  # noqa: B023
        chunk = Chunk(_put(part, mesh), np.int32(first))
        before = carry
        carry, out = step(carry, chunk, end == bounds[-1])
        # Wait until the previous step has freed its chunk: at most two are on a device.
        jax.block_until_ready(before)
        outs[-1:] = jax.tree.map(np.asarray, outs[-1:])
        outs.append(out)
    return carry, outs


def _bounds(data: PyTree, batch_size: int) -> list[int]:
    """Where chunks start, and the end; the last chunk absorbs a single batch and the remainder."""
    size = num_examples(data)
    each = max(2, batches_per_chunk(data, batch_size))
    starts = range(0, max(size // batch_size - 1, 1), each)
    return [*(start * batch_size for start in starts), size]


def _put(data: PyTree, mesh: Mesh) -> PyTree:
    """Copies numpy arrays to all devices of the mesh without communicating or waiting."""
    sharding = NamedSharding(mesh, PartitionSpec())
    put = lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])  # noqa: E731
    return jax.tree.map(put, data)
