"""What each device gets of a batch, of curves and of a mesh; and what processes agree on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mcjax.engine import parallel
from tests.mcjax import small

SQUARE = parallel.with_rows(small.mesh(4), 2)


def on_each(mesh, function):
    """What a per-device function returns on each device, ``[curve, data, ...]``."""
    one = lambda: jax.tree.map(lambda x: x[None, None], function())  # noqa: E731
    out = P(*parallel.ALL_AXES)
    mapped = jax.shard_map(one, mesh=mesh, in_specs=(), out_specs=out, check_vma=False)
    return jax.tree.map(np.asarray, jax.jit(mapped)())


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (parallel.ALL_AXES, [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 9, 9]]]),
        (parallel.DATA_AXIS, [[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]] * 2),
    ],
)
def test_shares_are_contiguous_and_what_is_too_much_has_no_weight(axes, expected):
    positions, weights = on_each(SQUARE, lambda: parallel.share(10, axes))
    np.testing.assert_array_equal(positions, expected)
    per_copy = 1 if axes == parallel.ALL_AXES else 2
    assert weights.sum() == 10 * per_copy
    if per_copy == 1:
        np.testing.assert_array_equal(weights[1, 1], [1, 0, 0])


def test_sums_over_a_row_and_over_all():
    def sums():
        row, place = (jax.lax.axis_index(axis) for axis in parallel.ALL_AXES)
        mine = (10 * row + place + 1).astype(jnp.float32)
        return parallel.sum_over_devices(mine), parallel.sum_over_devices(mine, parallel.ALL_AXES)

    row, every = on_each(SQUARE, sums)
    np.testing.assert_array_equal(row, [[3, 3], [23, 23]])
    np.testing.assert_array_equal(every, np.full((2, 2), 26))


def test_rows_of_a_mesh_keep_the_devices_order():
    mesh = parallel.with_rows(small.mesh(6), 2)
    assert dict(mesh.shape) == {parallel.CURVE_AXIS: 2, parallel.DATA_AXIS: 3}
    assert mesh.devices.ravel().tolist() == jax.devices()[:6]
    for rows in (0, 4):
        with pytest.raises(ValueError, match=f"6 devices cannot be laid out in {rows} rows"):
            parallel.with_rows(mesh, rows)


@pytest.mark.parametrize("gather", [False, True])
def test_each_row_has_its_part_of_what_is_divided(gather):
    a, b = np.array([1.0, -2.0, 3.0, 0.5], np.float32), np.array([4.0, 0.5, -1.5], np.float32)
    scaled = lambda a, b: a * (jnp.sum(b) + len(a))  # noqa: E731
    mapped = parallel.curve_parallel(scaled, SQUARE, (True, False), gather=gather)
    found = mapped(a, b)
    np.testing.assert_allclose(found, a * (3 + 2), rtol=1e-6)
    assert found.sharding.is_fully_replicated == gather


def test_split_lays_the_leading_axis_along_the_rows():
    x = np.arange(6.0).reshape(2, 3)
    found = parallel.split({"x": x}, SQUARE)["x"]
    row = {device: i for i, devices in enumerate(SQUARE.devices) for device in devices}
    for shard in found.addressable_shards:
        np.testing.assert_array_equal(shard.data, x[[row[shard.device]]])


def test_a_replica_may_be_donated():
    x = parallel.replicate(jnp.arange(5.0), SQUARE)
    again = parallel.replicate(x, SQUARE)
    jax.jit(lambda y: y + 1, donate_argnums=0)(again)
    assert again.is_deleted()
    np.testing.assert_array_equal(x, np.arange(5.0))


def test_several_processes_agree(monkeypatch):
    assert [parallel.broadcast_from_first(4), parallel.max_over_processes(4)] == [4, 4]
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    values = np.array([2, 7, 5])
    monkeypatch.setattr(parallel.multihost_utils, "process_allgather", lambda _: values)
    monkeypatch.setattr(parallel.multihost_utils, "broadcast_one_to_all", lambda _: values[0])
    assert [parallel.broadcast_from_first(5), parallel.max_over_processes(5)] == [2, 7]
    for index, first in ((0, True), (2, False)):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        assert parallel.is_first() == first
