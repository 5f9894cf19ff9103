"""One program on any number of devices: the mesh and the mappings over it.

A per-device function is written as for ``jax.pmap``: it sees its own share, and sums over devices
with ``lax.psum`` over a named axis. `data_parallel` and `curve_parallel` map it over a mesh with
``jit(shard_map(...))``. The mesh has two axes:

* `DATA_AXIS`: devices that share a batch. Each takes its part by its index (`share`), so what is
  computed is a function of the global batch alone, whatever the number of devices;
* `CURVE_AXIS`: devices that do different things: curves to fit, points to evaluate. Nothing is
  communicated along it but results.

With several processes (``jax.distributed``) every process runs the same program; what each decides
by its own clock or signals must be agreed on first (`first_says`, `any_says`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
CURVE_AXIS = "curve"
ALL_AXES = (CURVE_AXIS, DATA_AXIS)
Axes = str | tuple[str, ...]


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices of all processes (or those given), all of them along the data axis.

    The axes are Auto: shardings inside ``jit`` are the compiler's to choose.
    """
    devices = jax.devices() if devices is None else devices
    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), (DATA_AXIS,), axis_types=auto, devices=devices)
    return _mesh(mesh.devices, 1)


def with_rows(mesh: Mesh, rows: int) -> Mesh:
    """The same devices in the same order, ``rows`` of them along the curve axis.

    Raises:
      ValueError: ``rows`` does not divide their number.
    """
    if rows < 1 or mesh.size % rows:
        raise ValueError(f"{mesh.size} devices cannot be laid out in {rows} rows")
    return _mesh(mesh.devices, rows)


def _mesh(devices: np.ndarray, rows: int) -> Mesh:
    return Mesh(devices.reshape(rows, -1), ALL_AXES, axis_types=(AxisType.Auto,) * 2)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of every leaf on every device of the mesh, as global arrays.

    The result never shares memory with the argument, so it may be donated.
    """
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def split(tree: Any, mesh: Mesh) -> Any:
    """The leading axis of every leaf laid out along the curve axis, as global arrays."""
    return _place(tree, NamedSharding(mesh, PartitionSpec(CURVE_AXIS)))


def _place(tree, sharding):
    def put(x):
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x  # global already: the copy below lays it out anew
        if jax.process_count() > 1:
            x = np.asarray(x)  # every process has it; devices of others cannot be copied to
        return jax.device_put(x, sharding)

    return _copier(sharding)(jax.tree.map(put, tree))


@functools.lru_cache
def _copier(sharding):
    """A jitted copy into a sharding, one for all calls, so that none compiles anew."""
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=sharding)


def data_parallel(
    function: Callable[..., Any],
    mesh: Mesh,
    donate_argnums: tuple[int, ...] = (),
    *,
    over: Sequence[bool] | None = None,
) -> Callable[..., Any]:
    """Maps a per-device function over the mesh, as ``jax.pmap(function, axis_name=DATA_AXIS)``.

    Arguments are replicated, but for those that are ``over`` the rows of the mesh, as in
    `curve_parallel`; results must be equal on all devices (sums over `DATA_AXIS`).
    Replication is the function's promise, as under pmap, not checked (``check_vma=False``):
    gradients inside it are those of the device's own share until summed.
    """
    specs = PartitionSpec() if over is None else _specs(over)
    return _mapped(function, mesh, specs, PartitionSpec(), donate_argnums)


def curve_parallel(
    function: Callable[..., Any],
    mesh: Mesh,
    over: Sequence[bool],
    *,
    gather: bool = False,
    donate_argnums: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """As `data_parallel`, but each row of the mesh has its own part of some arguments.

    Args:
      function: per device; every result has the leading axis of what is divided.
      mesh: from `make_mesh` or `with_rows`.
      over: for each argument, whether the leading axis of its leaves is divided over the rows.
      gather: results are put together on every device, to be read on the host of any process;
        without it they stay divided.
      donate_argnums: as ``jax.jit``'s.
    """
    specs = _specs(over)
    if not gather:
        return _mapped(function, mesh, specs, PartitionSpec(CURVE_AXIS), donate_argnums)

    def gathered(*args):
        return jax.lax.all_gather(function(*args), CURVE_AXIS, tiled=True)

    return _mapped(gathered, mesh, specs, PartitionSpec(), donate_argnums)


def _specs(over: Sequence[bool]) -> tuple[PartitionSpec, ...]:
    divided = PartitionSpec(CURVE_AXIS)
    return tuple(divided if part else PartitionSpec() for part in over)


def _mapped(function, mesh, in_specs, out_specs, donate_argnums):
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=donate_argnums)


def share(size: int, axes: Axes = DATA_AXIS) -> tuple[jax.Array, jax.Array]:
    """This device's share of a batch of ``size`` examples.

    Shares are contiguous and equally long; the last ones are filled up with copies of the last
    example, of weight zero.

    Args:
      size: of the batch.
      axes: over which it is shared.

    Returns:
      Positions in the batch (int32) and weights (float32, one or zero), both of shape
      ``[ceil(size / devices)]``.
    """
    each = -(-size // jax.lax.axis_size(axes))
    positions = jax.lax.axis_index(axes) * each + jnp.arange(each)
    weights = (positions < size).astype(jnp.float32)
    return jnp.minimum(positions, size - 1), weights


def sum_over_devices(tree: Any, axes: Axes = DATA_AXIS) -> Any:
    """``lax.psum`` over the data axis (or ``axes``), one all-reduce for the whole pytree."""
    return jax.lax.psum(tree, axes)


def is_first() -> bool:
    """Whether this is the process that writes files and speaks: the first of all."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process has come here; at once where there is only one."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def first_says(value: int) -> int:
    """The first process's value, on every process."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_says(value: int) -> int:
    """The largest of the processes' values, on every process."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())
