"""One program on any number of devices: the mesh, and how functions are mapped over it.

Write a per-device function as for ``jax.pmap``: it sees its own share, and sums over devices with
``lax.psum`` over a named axis. `data_parallel` and `curve_parallel` map it over a mesh with
``jit(shard_map(...))``. The mesh has two axes:

* `DATA_AXIS`: devices that share a batch. Each takes its part by its index (`share`), so results
  are a function of the global batch alone, whatever the number of devices;
* `CURVE_AXIS`: devices that do different work, such as curves to fit or points to evaluate. Only
  results are communicated along it.

With several processes (``jax.distributed``) every process runs the same program. What each decides
from its own clock or signals must be agreed on first (`broadcast_from_first`,
`max_over_processes`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mcjax.typing import Array, Float, Int, PyTree, Shaped

DATA_AXIS = "data"
"""Name of the axis of devices that share a batch."""
CURVE_AXIS = "curve"
"""Name of the axis of devices that do different work."""
ALL_AXES = (CURVE_AXIS, DATA_AXIS)
"""Both axes, for sums over all devices."""
Axes = str | tuple[str, ...]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with all ``devices`` (default: those of all processes) along the data axis.

    The axes are Auto: inside ``jit`` the compiler chooses shardings.

    >>> dict(make_mesh(jax.devices()[:1]).shape)
    {'curve': 1, 'data': 1}
    """
    devices = jax.devices() if devices is None else devices
    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), (DATA_AXIS,), axis_types=auto, devices=devices)
    return _mesh(mesh.devices, 1)


def with_rows(mesh: Mesh, rows: int) -> Mesh:
    """The same devices in the same order, with ``rows`` rows along the curve axis.

    Raises:
      ValueError: ``rows`` does not divide the number of devices.

    >>> with_rows(make_mesh(jax.devices()[:1]), 2)
    Traceback (most recent call last):
    ValueError: 1 devices cannot be laid out in 2 rows
    """
    if rows < 1 or mesh.size % rows:
        raise ValueError(f"{mesh.size} devices cannot be laid out in {rows} rows")
    return _mesh(mesh.devices, rows)


def _mesh(devices: np.ndarray, rows: int) -> Mesh:
    return Mesh(devices.reshape(rows, -1), ALL_AXES, axis_types=(AxisType.Auto,) * 2)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies every leaf to every device of the mesh, as global arrays.

    The result never shares memory with the argument, so it may be donated.

    >>> placed = replicate({"w": np.ones(3)}, make_mesh())
    >>> placed["w"].shape, placed["w"].sharding.is_fully_replicated
    ((3,), True)
    """
    return _place(tree, NamedSharding(mesh, PartitionSpec()))


def spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """As `replicate`, without copies of leaves that are on all devices already; not to be donated.

    >>> mesh = make_mesh(jax.devices()[:1])
    >>> x = jnp.ones(3)
    >>> spread(x, mesh).unsafe_buffer_pointer() == x.unsafe_buffer_pointer()
    True
    """
    sharding, (leaves, structure) = NamedSharding(mesh, PartitionSpec()), jax.tree.flatten(tree)

    def is_there(x: Any) -> bool:
        whole = isinstance(x, jax.Array) and x.is_fully_replicated
        return whole and x.sharding.device_set == sharding.device_set

    others = iter(_place([x for x in leaves if not is_there(x)], sharding))
    spread = [jax.device_put(x, sharding) if is_there(x) else next(others) for x in leaves]
    return structure.unflatten(spread)


def split(tree: PyTree, mesh: Mesh) -> PyTree:
    """Divides the leading axis of every leaf along the curve axis, as global arrays.

    Raises:
      ValueError: the rows of the mesh do not divide the leading axis.

    >>> mesh = with_rows(make_mesh(), len(jax.devices()))  # every device is a row
    >>> placed = split(np.zeros((mesh.size, 2)), mesh)
    >>> placed.addressable_shards[0].data.shape
    (1, 2)
    """
    return _place(tree, NamedSharding(mesh, PartitionSpec(CURVE_AXIS)))


def _place(tree: PyTree, sharding: NamedSharding) -> PyTree:
    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x  # already global: the copy below reshards it
        if jax.process_count() > 1:
            x = np.asarray(x)  # every process has it, and cannot copy to other processes' devices
        return jax.device_put(x, sharding)

    return _copier(sharding)(jax.tree.map(put, tree))


@functools.lru_cache
def _copier(sharding: NamedSharding) -> Callable[[PyTree], PyTree]:
    """A jitted copy into a sharding, cached so that repeated calls do not recompile."""
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=sharding)


def data_parallel(
    function: Callable[_Args, _Result],
    mesh: Mesh,
    donate_argnums: tuple[int, ...] = (),
    *,
    over: Sequence[bool] | None = None,
) -> Callable[_Args, _Result]:
    """Maps a per-device function over the mesh, as ``jax.pmap(function, axis_name=DATA_AXIS)``.

    Arguments are replicated, except those that ``over`` divides over the rows of the mesh, as in
    `curve_parallel`. Results must be equal on all devices (sums over `DATA_AXIS`). As under pmap,
    the function promises this and nothing checks it (``check_vma=False``): gradients inside it are
    those of the device's own share until summed.

    >>> def mean(x):
    ...     rows, weight = share(len(x))
    ...     return sum_over_devices(jnp.sum(x[rows] * weight)) / len(x)
    >>> data_parallel(mean, make_mesh())(np.float32([1, 2, 3]))
    Array(2., dtype=float32)
    """
    specs = PartitionSpec() if over is None else _specs(over)
    return _mapped(function, mesh, specs, PartitionSpec(), donate_argnums)


def curve_parallel(
    function: Callable[_Args, _Result],
    mesh: Mesh,
    over: Sequence[bool],
    *,
    gather: bool = False,
    donate_argnums: tuple[int, ...] = (),
) -> Callable[_Args, _Result]:
    """As `data_parallel`, but each row of the mesh gets its own part of some arguments.

    Args:
      function: per device; every result has the leading axis of the divided arguments.
      mesh: from `make_mesh` or `with_rows`.
      over: for each argument, whether the leading axis of its leaves is divided over the rows.
      gather: gathers the results on every device, so that the host of any process can read them;
        by default they stay divided.
      donate_argnums: as in ``jax.jit``.

    >>> mesh = make_mesh(jax.devices()[:1])
    >>> half = curve_parallel(lambda x, scale: x * scale, mesh, over=(True, False))
    >>> half(np.float32([1, 2]), np.float32(0.5)).tolist()
    [0.5, 1.0]
    """
    specs = _specs(over)
    if not gather:
        return _mapped(function, mesh, specs, PartitionSpec(CURVE_AXIS), donate_argnums)

    def gathered(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        return jax.lax.all_gather(function(*args, **kwargs), CURVE_AXIS, tiled=True)

    return _mapped(gathered, mesh, specs, PartitionSpec(), donate_argnums)


def _specs(over: Sequence[bool]) -> tuple[PartitionSpec, ...]:
    divided = PartitionSpec(CURVE_AXIS)
    return tuple(divided if part else PartitionSpec() for part in over)


def _mapped(
    function: Callable[_Args, _Result],
    mesh: Mesh,
    in_specs: PartitionSpec | tuple[PartitionSpec, ...],
    out_specs: PartitionSpec,
    donate_argnums: tuple[int, ...],
) -> Callable[_Args, _Result]:
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=donate_argnums)


def share(size: int, axes: Axes = DATA_AXIS) -> tuple[Int[Array, " share"], Float[Array, " share"]]:
    """This device's share of a batch of ``size`` examples.

    Shares are contiguous and equally long, ``ceil(size / devices)``; the last ones are padded with
    copies of the last example, of weight zero.

    Args:
      size: examples in the batch.
      axes: mesh axes over which the batch is shared.

    Returns:
      Positions in the batch (int32) and weights (float32, one or zero).

    >>> positions, weights = jax.vmap(lambda device: share(3), axis_name=DATA_AXIS)(jnp.arange(2))
    >>> positions.tolist(), weights.tolist()  # of two devices
    ([[0, 1], [2, 2]], [[1.0, 1.0], [1.0, 0.0]])
    """
    each = -(-size // jax.lax.axis_size(axes))
    positions = jax.lax.axis_index(axes) * each + jnp.arange(each)
    weights = (positions < size).astype(jnp.float32)
    return jnp.minimum(positions, size - 1), weights


def sum_over_devices(tree: PyTree[Shaped[Array, "..."]], axes: Axes = DATA_AXIS) -> PyTree:
    """``lax.psum`` over the data axis (or ``axes``), one all-reduce for the whole pytree.

    >>> jax.vmap(sum_over_devices, axis_name=DATA_AXIS)(np.float32([1, 2])).tolist()
    [3.0, 3.0]
    """
    return jax.lax.psum(tree, axes)


def is_first() -> bool:
    """Whether this is process 0, which writes files and prints.

    >>> is_first()  # the only process
    True
    """
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every process has reached this call; returns at once if there is only one.

    Args:
      name: of the place in the program; the same in every process.

    >>> wait_for_all("before reading")
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def broadcast_from_first(value: int) -> int:
    """Process 0's value, on every process.

    >>> broadcast_from_first(3)
    3
    """
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def max_over_processes(value: int) -> int:
    """The largest of the processes' values, on every process.

    >>> max_over_processes(3)
    3
    """
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())
