import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.engine import evaluation, objectives, parallel
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy
from tests import nets
from tests.mcjax import small

POINTS = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [-0.4, 0.9, 0.5], [0.0, 0.0, 1.0]])


def linear():
    """A network small enough to compile at once."""
    return models.create("mlp", num_classes=3, width=0.06)


def control_points(model, count=3):
    """Parameters and states of ``count`` networks; biases away from zero."""
    trees = []
    for seed in range(count):
        variables = dict(model.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)), False))
        params = jax.tree.map(lambda x, s=seed: x + 0.05 * (s + 1), variables.pop("params"))
        trees.append((params, variables))
    return tuple(p for p, _ in trees), trees[0][1]


def combined(points, row):
    return jax.tree.map(lambda *xs: sum(c * np.asarray(x) for c, x in zip(row, xs)), *points)  # noqa: B905


def make(objective, splits, devices=1, **options):
    mesh = small.mesh(devices)
    placed = {name: parallel.replicate(data, mesh) for name, data in splits.items()}
    return evaluation.Evaluator(objective, small.clean, placed, mesh, **options)


def direct(logits, labels):
    """Mean loss and accuracy in float64."""
    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))
    losses = np.log(np.exp(logits).sum(1)) - logits[rows, labels]
    return losses.mean(), (logits.argmax(1) == labels).mean()


SPLITS = {"train": small.data(45, seed=1), "validation": small.data(19, seed=2)}


@pytest.fixture(scope="module")
def plain():
    """One device, one point a call, ragged batches."""
    return make(cross_entropy(linear()), SPLITS, batch_size=16, points_per_call=1)


def test_metrics_of_points_by_hand(plain):
    model = linear()
    points, _ = control_points(model)
    metrics = plain(points, POINTS, {})
    for split, data in SPLITS.items():
        for i, row in enumerate(POINTS):
            params = combined(points, row)
            logits = model.apply({"params": params}, data["images"], False)
            loss, accuracy = direct(logits, data["labels"])
            np.testing.assert_allclose(metrics[split]["loss"][i], loss, rtol=2e-5)
            np.testing.assert_allclose(metrics[split]["accuracy"][i], accuracy, rtol=1e-12)
    l2 = [sum((x**2).sum() for x in jax.tree.leaves(combined(points, row))) for row in POINTS]
    np.testing.assert_allclose(metrics["params"]["l2"], l2, rtol=1e-5)
    assert "count" not in metrics["train"]


@pytest.mark.parametrize(
    ("devices", "batch_size", "points_per_call", "together"),
    [(1, 500, 3, 3), (2, 20, 1, 2), (3, 16, 1, 3)],
)
def test_devices_batches_and_vmap_change_nothing(
    plain, devices, batch_size, points_per_call, together
):
    points, _ = control_points(linear())
    expected = plain(points, POINTS, {})
    other = make(
        cross_entropy(linear()), SPLITS, devices,
        batch_size=batch_size, points_per_call=points_per_call,
    )  # fmt: skip
    found = other(points, POINTS, {})
    assert found.keys() == expected.keys()
    for split in expected:
        for name, values in expected[split].items():
            assert found[split][name].shape == (4,)
            np.testing.assert_allclose(found[split][name], values, rtol=3e-6)
    firsts = [first for first, _ in other.blocks(points, POINTS, {})]
    assert firsts == list(range(0, 4, together))


def test_one_compilation_for_many_calls(plain):
    points, _ = control_points(linear())
    before = plain._block._cache_size()
    for rows in (POINTS, POINTS[:1], POINTS[[2, 1, 3]]):
        plain(points[::-1], rows, {})
    assert plain._block._cache_size() == max(before, 1)


def test_a_prefix_moves_some_leaves_alone(plain):
    points, _ = control_points(linear())
    first, *others = points[0]
    rows = dict.fromkeys(points[0], POINTS) | {first: POINTS[::-1]}
    found = plain(points, rows, {})
    still = [combined(points, row) for row in POINTS]
    by_hand = [a | {first: b[first]} for a, b in zip(still, still[::-1], strict=True)]
    expected = plain(by_hand, np.eye(len(POINTS)), {})
    for split in SPLITS:
        np.testing.assert_allclose(found[split]["loss"], expected[split]["loss"], rtol=1e-5)
    assert others
    assert plain._block._cache_size() == 1
    listed = plain(points, [np.float32(row) for row in POINTS], {})  # rows, not a prefix
    same = plain(points, POINTS, {})
    np.testing.assert_array_equal(listed["train"]["loss"], same["train"]["loss"])
    for wrong, message in ((POINTS[:2], "[2, 3]"), (POINTS[0], "[3]")):
        with pytest.raises(ValueError, match=re.escape(f"have shape {message}: expected arrays")):
            plain(points, {**rows, others[0]: wrong}, {})


def test_an_end_has_its_own_network_s_metrics(plain):
    points, _ = control_points(linear())
    on_curve = plain(points, POINTS, {})
    for index, mine in ((0, points[0]), (3, points[2])):
        own = plain((mine,), [[1.0]], {})
        for split in SPLITS:
            for name in ("loss", "accuracy"):
                np.testing.assert_allclose(
                    own[split][name][0], on_curve[split][name][index], rtol=1e-6
                )
    np.testing.assert_array_equal(
        plain((points[0],), [[1.0]], {})["params"]["l2"][0], on_curve["params"]["l2"][0]
    )


def test_what_is_not_finite_stays_at_its_point(plain):
    points, _ = control_points(linear())
    rows = POINTS.copy()
    rows[2] = [1e20, 1e20, 0]
    expected, found = plain(points, POINTS, {}), plain(points, rows, {})
    for split in SPLITS:
        assert not np.isfinite(found[split]["loss"][2])
        assert np.isfinite(np.delete(found[split]["loss"], 2)).all()
        np.testing.assert_array_equal(
            np.delete(found[split]["loss"], 2), np.delete(expected[split]["loss"], 2)
        )


@pytest.mark.slow
def test_gradient_norm(plain):
    model, data = linear(), SPLITS["train"]
    params = control_points(model)[0][1]

    def loss(params):
        logits = model.apply({"params": params}, data["images"], False)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(45), data["labels"]])

    norm = np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(jax.grad(loss)(params))))
    assert norm > 0.01
    np.testing.assert_allclose(plain.gradient_norm(params, {}), norm, rtol=1e-5)


def by_numpy(params, images, statistics=None, batches=()):
    """`nets.Normed` in float64: its logits with given statistics, or its averaged statistics."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    def forward(x, use):
        seen = []
        x = np.asarray(x, np.float64).reshape(len(x), -1)
        for i in range(2):
            x = dense(f"Dense_{i}", x)
            seen.append((x.mean(0), x.var(0)))
            mean, var = seen[-1] if use is None else use[i]
            norm = params[f"BatchNorm_{i}"]
            x = norm["scale"] * (x - mean) / np.sqrt(var + nets.EPSILON) + norm["bias"]
            x = np.maximum(x, 0)
        return dense("Dense_2", x), seen

    if not batches:
        return forward(images, statistics)[0]
    found = [(len(rows), forward(images[rows], None)[1]) for rows in batches]
    average = lambda i, j: sum(n * seen[i][j] for n, seen in found) / len(images)  # noqa: E731
    return [(average(i, 0), average(i, 1)) for i in range(2)]


@pytest.mark.parametrize(
    ("devices", "batch", "batches"),
    [
        (1, 16, [range(16), range(16, 32), range(32, 45)]),
        (8, 16, [range(16), range(16, 32), range(32, 45)]),
        (1, 500, [range(45)]),
    ],
)
def test_batch_norm_statistics_are_recomputed_at_each_point(devices, batch, batches):
    model = nets.Normed(3, parallel.DATA_AXIS)
    points, state = control_points(model)
    state = jax.tree.map(lambda x: x + 3.0, state)  # an old state: must not matter
    far = small.data(30, seed=3)
    splits = {"far-off": far | {"images": 7 - 4 * far["images"]}, **SPLITS}  # nor must these data
    evaluator = make(
        cross_entropy(model), splits, devices,
        batch_size=10, statistics_batch_size=batch,
    )  # fmt: skip
    metrics = evaluator(points, POINTS, state)
    assert [*metrics] == [*splits, "params"]  # in the order given
    for i, row in enumerate(POINTS):
        params = combined(points, row)
        statistics = by_numpy(params, SPLITS["train"]["images"], batches=list(map(list, batches)))
        for split, data in splits.items():
            loss, accuracy = direct(by_numpy(params, data["images"], statistics), data["labels"])
            np.testing.assert_allclose(metrics[split]["loss"][i], loss, rtol=2e-5)
            np.testing.assert_allclose(metrics[split]["accuracy"][i], accuracy, rtol=1e-12)
    own = evaluator((points[2],), [[1.0]], state)
    np.testing.assert_allclose(own["train"]["loss"][0], metrics["train"]["loss"][3], rtol=1e-6)


def test_running_averages_can_be_used_as_they_are():
    model = nets.Normed(3)
    (params, *_), state = control_points(model)
    state = jax.tree.map(lambda x: x + 0.6, state)
    evaluator = make(cross_entropy(model), SPLITS, batch_size=10)
    averages = [
        tuple(np.asarray(state["batch_stats"][f"BatchNorm_{i}"][n]) for n in ("mean", "var"))
        for i in range(2)
    ]
    data = SPLITS["validation"]
    loss, accuracy = direct(by_numpy(params, data["images"], averages), data["labels"])
    found = evaluator.with_state(params, state, "validation")
    assert found == {
        "loss": pytest.approx(loss, rel=1e-5),
        "accuracy": pytest.approx(accuracy, rel=1e-12),
    }


def of_numbers(data, rows, examples, weight, key):
    return {"x": jnp.asarray(data["x"])[rows], "weight": weight}


def product(params, state, batch):
    losses = params * batch["x"]
    return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}


def test_one_parameter_set_is_the_work_of_all_devices():
    x = np.random.default_rng(3).lognormal(0, 1, 45).astype(np.float32)
    evaluator = evaluation.Evaluator(
        objectives.Objective(None, product), of_numbers, {"train": {"x": x}}, small.mesh(8),
        batch_size=10,
    )  # fmt: skip
    norm = evaluator.gradient_norm(jnp.float32(0.5), {})
    np.testing.assert_allclose(norm, x.mean(), rtol=1e-6)
    found = evaluator.with_state(jnp.float32(0.5), {}, "train")
    assert found == {"loss": pytest.approx(0.5 * x.mean(), rel=1e-6)}


def test_sixty_thousand_losses_add_up():
    rng = np.random.default_rng(0)
    x = rng.lognormal(0, 2, 60_000).astype(np.float32)
    loud = np.full(60_000, 0.002, np.float32)
    loud[0] = 1e8  # in float32 the other batches would be lost
    evaluator = evaluation.Evaluator(
        objectives.Objective(None, product),
        of_numbers,
        {"train": {"x": x}, "loud": {"x": loud}},
        small.mesh(8),
    )
    metrics = evaluator((jnp.float32(1.0),), [[1.0], [0.5]], {})
    expected = np.array([1.0, 0.5]) * x.astype(np.float64).mean()
    np.testing.assert_allclose(metrics["train"]["loss"], expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["loud"]["loss"][0], loud.astype(float).mean(), rtol=3e-8)
    assert metrics["train"]["loss"].dtype == np.float64


def test_default_points_per_call_is_one_on_cpu():
    assert evaluation.default_points_per_call() == 1


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_no_bit_and_no_order(threads):
    model, rows = linear(), np.random.default_rng(0).dirichlet(np.ones(3), 7)
    points, state = control_points(model)
    one, several = (
        make(cross_entropy(model), SPLITS, at_once=count, points_per_call=2)
        for count in (1, threads)
    )
    expected = one(points, rows, state)
    found = list(several.blocks(points, rows, state))
    assert [first for first, _ in found] == [0, 2, 4, 6]
    for first, metrics in found:
        for name, values in metrics["train"].items():
            np.testing.assert_array_equal(values, expected["train"][name][first : first + 2])


def test_threads_keep_the_callers_settings_and_programs():
    """Points after the first are evaluated by the program that the first one compiled."""
    traced = []

    def fetch(data, rows, examples, weight, key):
        traced.append(jax.config.values["jax_default_matmul_precision"])
        return {"x": data[rows], "weight": weight}

    square = objectives.from_loss(lambda w, batch: jnp.mean((batch["x"] - w) ** 2))
    mesh = small.mesh(1)
    data = parallel.replicate({"train": np.float32([1, 3])}, mesh)
    evaluator = evaluation.Evaluator(square, fetch, data, mesh, at_once=3)
    with jax.default_matmul_precision("float32"):
        next(evaluator.blocks([np.float32(1)], [[1.0]], {}))
        before = len(traced)
        found = evaluator([np.float32(1)], [[1.0]] * 9, {})
    assert found["train"]["loss"].tolist() == [2.0] * 9
    assert before > 0
    assert len(traced) == before
    assert set(traced) == {"float32"}


def test_calls_at_once_on_several_devices_are_refused():
    with pytest.raises(ValueError, match="at_once=2: only a single device"):
        make(cross_entropy(linear()), SPLITS, devices=2, at_once=2)
