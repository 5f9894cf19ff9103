"""One program on any number of devices: the mesh and the data-parallel mapping.

A per-device function is written as for ``jax.pmap``: it sees its own share, and sums over devices
with ``lax.psum`` over the axis `DATA_AXIS`. `data_parallel` maps it over a mesh with
``jit(shard_map(...))``. Its arguments and results are whole (replicated) on every device; each
device takes its share of a batch by its index (`share`). So what is computed is a function of the
global batch alone, whatever the number of devices.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh over all devices of all processes (or over those given)."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of every leaf on every device of the mesh, as global arrays.

    The result never shares memory with the argument, so it may be donated.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    copy = jax.jit(lambda x: jax.tree.map(jnp.copy, x), out_shardings=sharding)
    return copy(jax.device_put(tree, sharding))


def data_parallel(
    function: Callable[..., Any], mesh: Mesh, donate_argnums: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Maps a per-device function over the mesh, as ``jax.pmap(function, axis_name=DATA_AXIS)``.

    Arguments are replicated; results must be equal on all devices (sums over `DATA_AXIS`).
    Replication is the function's promise, as under pmap, not checked (``check_vma=False``):
    gradients inside it are those of the device's own share until summed.
    """
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=donate_argnums)


def share(size: int) -> tuple[jax.Array, jax.Array]:
    """This device's share of a batch of ``size`` examples.

    Shares are contiguous and equally long; the last ones are filled up with copies of the last
    example, of weight zero.

    Returns:
      Positions in the batch (int32) and weights (float32, one or zero), both of shape
      ``[ceil(size / devices)]``.
    """
    each = -(-size // jax.lax.axis_size(DATA_AXIS))
    positions = jax.lax.axis_index(DATA_AXIS) * each + jnp.arange(each)
    weights = (positions < size).astype(jnp.float32)
    return jnp.minimum(positions, size - 1), weights


def sum_over_devices(tree: Any) -> Any:
    """``lax.psum`` over `DATA_AXIS`, one all-reduce for the whole pytree."""
    return jax.lax.psum(tree, DATA_AXIS)
