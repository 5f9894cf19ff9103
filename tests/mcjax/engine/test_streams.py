"""Data streamed from the host give the bits of data on the devices, and stay off the devices."""

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax import api
from mcjax.analysis import hessian
from mcjax.engine import evaluation, parallel, streams, training
from mcjax.flax.objective import cross_entropy
from tests import nets
from tests.comparison import assert_same_bits
from tests.mcjax import small
from tests.mcjax.engine.test_training import SGD, host, make, quadratic, rows_of_x

MESH = small.mesh(2)
SPLITS = {"train": small.data(75, seed=1), "validation": small.data(47, seed=2)}
CHUNKS = {20, 35, 32, 43}
"""Of two batches of 10 or 16, with what is left over in the last."""


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_BYTES", 1)


def test_splits_stay_on_the_devices_while_they_fit():
    splits = {name: {"x": np.zeros((size, 2), np.uint8)} for name, size in zip("abc", (50, 9, 30))}  # noqa: B905
    for limit, streamed in ((178, ""), (177, "a"), (78, "a"), (77, "ac"), (0, "abc")):
        placed = streams.place(splits, MESH, limit)
        assert [*placed] == ["a", "b", "c"]
        assert [name for name in placed if streams.is_streamed(placed[name])] == [*streamed]
    on_devices = streams.place(splits, MESH)["a"]["x"]
    assert len(on_devices.sharding.device_set) == 2
    large = streams.place({"a": {"x": jnp.arange(6)}}, MESH, limit=0)
    np.testing.assert_array_equal(large["a"]["x"], np.arange(6))
    assert streams.is_streamed(large["a"])


@pytest.mark.parametrize(("gib", "limit"), [(None, 4), (6, 3)])
def test_half_of_a_device_is_for_the_data(monkeypatch, gib, limit):
    class Device:
        def memory_stats(self):
            return gib and {"bytes_limit": gib * 2**30}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert streams.device_limit() == limit * 2**30


@pytest.mark.parametrize(
    ("size", "room", "lengths"),
    [(70, 2, [20, 20, 30]), (75, 3, [30, 45]), (75, 9, [75]), (29, 1, [29]), (7, 1, [7])],
)
def test_chunks_are_whole_batches_and_two_at_most_are_on_a_device(monkeypatch, size, room, lengths):
    x = np.random.default_rng(1).normal(size=size).astype(np.float32)
    monkeypatch.setattr(streams, "CHUNK_BYTES", room * 10 * x.itemsize)
    chunks, seen, ends = [], [], []

    def step(total, chunk, is_last):
        assert int(chunk.examples(np.int32(0))) == sum(map(len, seen))
        chunks.append(weakref.ref(chunk.data["x"]))
        assert sum(each() is not None for each in chunks) <= 2
        seen.append(np.array(chunk.data["x"]))
        ends.append(is_last)
        return (0 if total is None else total) + jnp.sum(chunk.data["x"])

    total = streams.fold(step, {"x": x}, MESH, 10)
    np.testing.assert_allclose(total, x.sum(), rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate(seen), x)
    assert [len(each) for each in seen] == lengths
    assert ends == [False] * (len(lengths) - 1) + [True]


def test_data_on_the_devices_are_one_chunk():
    data = parallel.replicate({"x": np.arange(75)}, MESH)
    assert streams.collect(lambda chunk: chunk, data, MESH, 10) == [(data, None)]


@pytest.fixture(scope="module")
def measured():
    """What an evaluator of a network with batch norm gives, and the lengths of data it saw."""
    model = nets.normed(3, parallel.DATA_AXIS)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 1)), False))
    trees = [init(jax.random.key(seed)) for seed in (0, 1)]
    points, state = parallel.replicate(
        (tuple(t["params"] for t in trees), {"batch_stats": trees[0]["batch_stats"]}), MESH
    )

    def of(limit):
        seen = set()

        def fetch(data, *args):
            seen.add(streams.num_examples(data))
            return small.clean(data, *args)

        evaluator = evaluation.Evaluator(
            cross_entropy(model), fetch, streams.place(SPLITS, MESH, limit), MESH,
            batch_size=10, statistics_batch_size=16,
        )  # fmt: skip
        held = evaluator.statistics(points[0], state)
        found = {
            "points": evaluator(points, [[1, 0], [0.3, 0.7], [0, 1]], state),
            "statistics": held,
            "logits": evaluator.logits(points[0], held, "train"),
            "with_state": evaluator.with_state(points[1], held, "train"),
            "gradient_norm": evaluator.gradient_norm(points[1], state),
            "product": hessian.make_product(evaluator)(points[0], held, points[1]),
        }
        return host(found), seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK_BYTES", 1)
        return of(1e9), of(47 * 260)  # there the validation split alone fits


def test_an_evaluator_gives_the_same_bits(measured):
    (expected, _), (found, _) = measured
    assert np.ptp(expected["points"]["train"]["loss"]) > 1e-3
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_an_evaluator_that_streams_never_has_a_whole_split(measured):
    (_, resident), (_, streamed) = measured
    assert resident == {75, 47}
    assert streamed == {47} | CHUNKS


def test_training_gives_the_same_bits_also_after_a_stop_in_mid_epoch():
    trainer, state, data = make(dropout=0.5)
    resident = host(small.train(trainer, state, data))
    _, state, _ = make(dropout=0.5)
    steps = training.chunks(trainer, state, (), small.data(), 2, jax.random.key(7), seconds=1e-9)
    stopped = next(chunk for chunk in steps if chunk.step == 6)  # of 4 an epoch
    again = parallel.replicate(host(stopped.state), small.mesh(1))
    streamed = host(small.train(trainer, again, small.data()))
    jax.tree.map(np.testing.assert_array_equal, streamed, resident)


def test_streamed_training_stays_within_a_chunk(monkeypatch):
    x = np.random.default_rng(1).normal(size=24).astype(np.float32)
    seen, ends = [], []

    def fetch(data, *args):
        seen.append(streams.num_examples(data))
        return rows_of_x(data, *args)

    for size in (2**28, 2 * 4 * x.itemsize):  # two batches of four
        monkeypatch.setattr(streams, "CHUNK_BYTES", size)
        trainer = training.make_trainer(
            quadratic, fetch, SGD, size=24, batch_size=4, mesh=small.mesh(1)
        )
        state = trainer.init({"w": jnp.float32(2)}, (), {}, {"x": x})
        seen.clear()
        ends.append(float(small.train(trainer, state, {"x": x}).params["w"]))
        assert {each * x.itemsize for each in seen} == {min(size, x.nbytes)}
    assert ends[0] == ends[1]


@pytest.mark.parametrize("together", [True, False])
def test_several_runs_stream_each_in_its_own_order(together):
    x = {"x": np.random.default_rng(1).normal(size=24).astype(np.float32)}
    mesh = parallel.with_rows(MESH, 2)
    trainer = training.make_trainer(
        quadratic, rows_of_x, optax.sgd(0.3), size=24, batch_size=5, mesh=mesh, runs=4,
        together=together,
    )  # fmt: skip
    keys, found = jax.random.split(jax.random.key(2), 4), []
    for data in (parallel.replicate(x, mesh), x):
        state = trainer.init({"w": jnp.arange(4.0)}, (), {}, data)
        for chunk in training.chunks(trainer, state, (), data, 2, keys):
            state = chunk.state
        found.append(host(state))
    assert_same_bits(found[0].params, found[1].params)
    assert len(np.unique(found[0].sums["loss"])) == 4


@pytest.mark.slow
def test_the_calls_of_the_library_stream_what_does_not_fit(monkeypatch):
    """A loss that draws: an example's key is that of its number in the data, not in a chunk."""

    def loss(params, batch, key):
        return jnp.mean((params[None] * batch - jax.random.normal(key)) ** 2)

    def call(limit):
        monkeypatch.setattr(streams, "device_limit", lambda: limit)
        points, losses = api.fit_curve(
            loss, jnp.float32([0.1, -1]), jnp.float32([2, 1]), data, optimizer=optax.sgd(0.1),
            epochs=2, batch_size=10, key=jax.random.key(0),
        )  # fmt: skip
        found = api.profile(loss, api.ONE_BEND, points, data, points=3, batch_size=10)
        return losses, found.to_arrays()

    data = np.random.default_rng(3).normal(size=(75, 2)).astype(np.float32)
    streamed, resident = call(0), call(1e9)
    assert_same_bits(streamed, resident)
    assert np.ptp(resident[1]["curve_train_loss"]) > 0.1
