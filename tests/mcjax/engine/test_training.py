import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.benchmarks.collectives import collectives
from mcjax import curves
from mcjax.engine import objectives, parallel, training
from tests.mcjax import small

SGD = optax.sgd(0.05, momentum=0.9)


def make(devices=1, name="mlp", batch_size=20, dropout=0.0, strata=1, optimizer=SGD, train=None):
    objective, params, state = small.network(name, dropout)
    train = train or objectives.at_point(objectives.with_l2(objective, 1e-3))
    mesh = small.mesh(devices)
    data = parallel.replicate(small.data(), mesh)
    trainer = training.make_trainer(
        train, small.fetch, optimizer,
        size=len(data["labels"]), batch_size=batch_size, mesh=mesh, strata=strata,
    )  # fmt: skip
    return trainer, trainer.init(params, (), state, data), data


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def host(state):
    return jax.tree.map(np.array, state)


def quadratic(params, fixed, state, batch, key, stratum):
    """Mean of 0.5 (w - x)^2: its gradient is w - mean(x)."""
    residual = params["w"] - batch["x"]
    total = 0.5 * jnp.sum(residual**2 * batch["weight"])
    count = jnp.sum(batch["weight"])
    return total / jnp.maximum(count, 1), ({"loss": total, "count": count}, state)


def rows_of_x(data, rows, examples, weight, key):
    return {"x": jnp.asarray(data["x"])[rows], "weight": weight}


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("strata", [1, 2])
def test_steps_by_hand(devices, strata):
    x = np.random.default_rng(1).normal(size=24).astype(np.float32)
    trainer = training.make_trainer(
        quadratic, rows_of_x, optax.sgd(0.3),
        size=24, batch_size=10, mesh=small.mesh(devices), strata=strata,
    )  # fmt: skip
    state = trainer.init({"w": jnp.float32(2.0)}, (), {}, {"x": x})
    state = small.train(trainer, state, {"x": x}, epochs=2)
    order_key, _ = jax.random.split(jax.random.key(7))
    w, losses = 2.0, []
    for epoch in range(2):
        order = training.epoch_order(order_key, epoch, 24)
        assert sorted(order) == list(range(24))
        for step in range(2):
            batch = x[order[step * 10 : step * 10 + 10]]
            losses.append(0.5 * ((w - batch) ** 2).sum())
            w -= 0.3 * (w - batch.mean())
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(state.sums["loss"], losses[2] + losses[3], rtol=1e-5)
    assert int(state.step) == 4
    assert state.sums["count"] == 20


@pytest.mark.parametrize(
    ("name", "batch_size", "dropout", "strata"),
    [
        ("mlp", 20, 0.5, 1),
        pytest.param("mlp", 20, 0.0, 4, marks=pytest.mark.long),
        pytest.param("mlp", 7, 0.0, 1, marks=pytest.mark.long),
        pytest.param("vgg7_bn", 24, 0.0, 1, marks=pytest.mark.long),
    ],
)
def test_numbers_do_not_depend_on_the_devices(name, batch_size, dropout, strata):
    states = []
    for devices in (1, 8):
        trainer, state, data = make(devices, name, batch_size, dropout, strata)
        states.append(host(small.train(trainer, state, data)))
    assert_close(states[0], states[1], rtol=2e-4, atol=2e-5)


def test_literal_pmap_gives_the_same_numbers():
    """The per-device function under jax.pmap, as the user asked for it."""
    trainer, state, _ = make(devices=8)
    data = small.data()
    per_device = trainer.run.__wrapped__.__wrapped__  # jit(shard_map(function))
    rows = training.epoch_order(jax.random.key(0), 0, 90)[:80]
    args = ((), data, rows, rows, jax.random.key(3), 4)
    mapped = jax.pmap(
        per_device, axis_name=parallel.DATA_AXIS, in_axes=(0, *[None] * 6), out_axes=0
    )
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 8), host(state))
    by_pmap = mapped(stacked, *args)[0]
    by_program = trainer.run(state, *args)[0]
    for device in (0, 5):
        one = jax.tree.map(lambda x, d=device: x[d], host(by_pmap))
        assert_close(one, host(by_program), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("on_curve", [False, True])
def test_a_step_communicates_the_gradient_once_and_nothing_else(on_curve):
    objective, params, model_state = small.network("mlp")
    fixed = (params, params) if on_curve else ()
    curve = curves.polygonal_chain(1)
    train = objectives.on_curve(curve, objective) if on_curve else objectives.at_point(objective)
    data = small.data()
    trainer = training.make_trainer(
        train, small.fetch, SGD, size=90, batch_size=20, mesh=small.mesh(8)
    )
    state = trainer.init((params,) if on_curve else params, fixed, model_state, data)
    rows = jnp.zeros(80, jnp.int32)
    args = (state, fixed, data, rows, rows, jax.random.key(0), 1)
    found = collectives(trainer.run.lower(*args).compile())
    gradient = sum(x.nbytes for x in jax.tree.leaves(params))
    assert {name for name, _ in found} == {"all-reduce"}
    # One all-reduce a step; where the compiler splits it, the parts still add up to the gradient
    # and the handful of metric sums.
    moved = sum(size for _, size in found)
    assert gradient <= moved <= gradient + 64


def test_chunks_and_interruptions_change_no_bit():
    trainer, state, data = make(dropout=0.5)
    whole = host(small.train(trainer, state, data, epochs=3))
    _, state, _ = make(dropout=0.5)
    generator = training.chunks(trainer, state, (), data, 3, jax.random.key(7), seconds=1e-9)
    seen = [next(generator) for _ in range(6)]  # single steps; the sixth is in mid-epoch
    assert [c.step for c in seen] == [1, 2, 3, 4, 5, 6]
    saved = host(seen[-1].state)
    resumed = host(small.train(trainer, parallel.replicate(saved, small.mesh(1)), data, epochs=3))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_one_compilation_for_all_chunks():
    trainer, state, data = make()
    small.train(trainer, state, data, epochs=4, seconds=0.01)
    assert trainer.run._cache_size() == 1


def test_first_bad_step_is_kept():
    x = np.ones(24, np.float32)
    trainer = training.make_trainer(
        quadratic, rows_of_x, optax.sgd(1e15), size=24, batch_size=12, mesh=small.mesh(1)
    )
    state = trainer.init({"w": jnp.float32(3.0)}, (), {}, {"x": x})
    state = small.train(trainer, state, {"x": x}, epochs=4)
    # |w| grows by 1e15 a step: 2e15, 2e30, 2e45 overflows; the loss at step 2 squares 2e30.
    assert int(state.bad_step) == 2


@pytest.mark.long
def test_curve_training_moves_the_bends_and_not_the_ends():
    objective, start, _ = small.network("mlp")
    _, end, _ = small.network("mlp", seed=1)
    curve = curves.polygonal_chain(1)
    bends = curves.straight_line(curve, start, end)
    data = small.data()
    kept = {}
    for free in (False, True):
        maker = objectives.on_curve_with_free_ends if free else objectives.on_curve
        trainer = training.make_trainer(
            maker(curve, objective), small.fetch, SGD,
            size=90, batch_size=30, mesh=small.mesh(1),
        )  # fmt: skip
        params, fixed = ((start, *bends, end), ()) if free else (bends, (start, end))
        state = trainer.init(params, fixed, {}, data)
        kept[free] = small.train(trainer, state, data, fixed=fixed, epochs=4).params
    difference = lambda a, b: float(curves.squared_norm(jax.tree.map(jnp.subtract, a, b)))  # noqa: E731
    assert len(kept[False]) == 1
    assert difference(kept[False][0], bends[0]) > 1e-6
    for i, before in enumerate((start, bends[0], end)):
        assert difference(kept[True][i], before) > 1e-6


@pytest.mark.parametrize("free", [False, True])
def test_strata_cover_the_interval_each_step(free):
    maker = objectives.on_curve_with_free_ends if free else objectives.on_curve
    seen = maker(
        curves.segment(),
        objectives.Objective(lambda p, s, b, k: (p, (p, s)), lambda *a: {}),
        strata=4,
    )
    points = ((0.0, 1.0), ()) if free else ((), (0.0, 1.0))
    t = [float(seen(*points, {}, None, jax.random.key(2), i)[0]) for i in range(4)]
    assert [int(4 * x) for x in t] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("batch_size", "strata", "message"),
    [
        (91, 1, "batch_size=91: the training split has 90"),
        (0, 1, "batch_size=0"),
        (20, 3, "t_strata=3"),
    ],
)
def test_wrong_sizes(batch_size, strata, message):
    with pytest.raises(ValueError, match=message):
        make(batch_size=batch_size, strata=strata)


def test_epoch_order_is_a_permutation_of_its_own_for_each_epoch():
    orders = [training.epoch_order(jax.random.key(2), epoch, 50) for epoch in (0, 1, 0)]
    np.testing.assert_array_equal(np.sort(orders[1]), np.arange(50))
    np.testing.assert_array_equal(orders[0], orders[2])
    assert (orders[0] != orders[1]).any()
    assert (orders[0] != np.arange(50)).any()


@pytest.mark.parametrize(
    ("rows", "together"), [pytest.param(1, True, marks=pytest.mark.long), (2, False)]
)
def test_several_runs_at_once_are_the_runs_alone(rows, together):
    objective, params, state = small.network("mlp")
    train = objectives.at_point(objectives.with_l2(objective, 1e-3))
    data, seeds = small.data(), (3, 4, 5, 6)
    options = {"size": 90, "batch_size": 20}
    begin = [jax.tree.map(lambda x, s=s: x * (0.5 + 0.1 * s), params) for s in seeds]
    stack = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    mesh = parallel.with_rows(small.mesh(4), rows)
    many = training.make_trainer(
        train, small.fetch, SGD, mesh=mesh, runs=4, together=together, **options
    )
    keys = jnp.stack([jax.random.key(s) for s in seeds])
    there = many.init(stack(begin), (), state, data)
    placed = parallel.replicate(data, mesh)
    for chunk in training.chunks(many, there, (), placed, 2, keys):
        there = chunk.state
    there = host(there)
    assert there.sums["loss"].shape == (4,)
    alone = training.make_trainer(train, small.fetch, SGD, mesh=small.mesh(1), **options)
    for i, (seed, first) in enumerate(zip(seeds, begin, strict=True)):
        here = small.train(alone, alone.init(first, (), state, data), data, seed=seed)
        assert_close(host(here), jax.tree.map(lambda x, i=i: x[i], there), rtol=2e-3, atol=2e-4)
    assert training.steps_done(chunk.state) == 8


def test_several_runs_wrong():
    objective, _, _ = small.network("mlp")
    mesh = parallel.with_rows(small.mesh(4), 4)
    with pytest.raises(ValueError, match="6 runs cannot be divided over 4 rows"):
        training.make_trainer(
            objectives.at_point(objective), small.fetch, SGD,
            size=90, batch_size=20, mesh=mesh, runs=6,
        )  # fmt: skip
