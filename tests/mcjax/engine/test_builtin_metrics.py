"""Built-in metrics and a user's own, with sums over batches, devices and chunks, by numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from mcjax.analysis import ensembles
from mcjax.engine import builtin_metrics, evaluation, metric_checks, metrics, parallel, streams
from mcjax.engine.objectives import Objective
from tests.mcjax import small

RNG = np.random.default_rng(3)
SIZE, CLASSES = 47, 4
POINTS = tuple(RNG.normal(size=(5, CLASSES)).astype(np.float32) for _ in range(2))
ROWS = np.array([[1.0, 0.0], [0.3, 0.7], [-0.5, 2.5]])
X = RNG.normal(size=(SIZE, 5)).astype(np.float32)
LABELS = np.argmax((X @ POINTS[0] + RNG.gumbel(size=(SIZE, CLASSES)))[:, :-1], axis=1)
DATA = {"x": X, "labels": LABELS.astype(np.int32)}  # there is none of the last class
NAMES = ("error", "top1_accuracy", "top2_accuracy", "ece", "class_accuracy", "perplexity")


def rows_of(data, rows, examples, weight, key):
    """Padding holds what would spoil a sum."""
    x = jnp.where(weight[:, None] > 0, jnp.asarray(data["x"])[rows], jnp.nan)
    return {"x": x, "labels": jnp.asarray(data["labels"])[rows], "weight": weight}


def logits(params, state, batch):
    return jnp.dot(batch["x"], params, precision="highest")


def evaluate(params, state, batch):
    """Counts every example twice: metrics have their own count."""
    losses = jnp.square(batch["x"][:, 0])
    weight = batch["weight"]
    total = jnp.sum(jnp.where(weight > 0, losses * weight, 0))
    return {"loss": 2 * total, "count": 2 * weight.sum()}


OBJECTIVE = Objective(None, evaluate, logits=logits)


def margin(logits, batch):
    best = jax.lax.top_k(logits, 2)[0]
    return {"margin": best[:, 0] - best[:, 1], "left": batch["x"][:, 0] < 0}


def rms(means):
    return np.sqrt(means["squares"].mean(-1))


OWN = (margin, metrics.Metric("rms", lambda logits, batch: {"squares": batch["x"] ** 2}, rms))


def by_numpy(coefficients):
    """All metrics in float64."""
    z = DATA["x"].astype(np.float64) @ sum(
        c * p.astype(np.float64) for c, p in zip(coefficients, POINTS, strict=True)
    )
    order = np.argsort(-z, axis=1)
    right = order[:, 0] == LABELS
    loss = np.mean(DATA["x"][:, 0].astype(np.float64) ** 2)
    largest = -np.sort(-z, axis=1)
    own = {
        "loss": loss,
        "error": 1 - right.mean(),
        "top1_accuracy": right.mean(),
        "top2_accuracy": (order[:, :2] == LABELS[:, None]).any(1).mean(),
        "ece": ensembles.metrics(log_softmax(z, axis=1), LABELS).ece,
        "perplexity": np.exp(loss),
        "margin": (largest[:, 0] - largest[:, 1]).mean(),
        "left": (DATA["x"][:, 0] < 0).mean(),
        "rms": np.sqrt((DATA["x"].astype(np.float64) ** 2).mean()),
    }
    of_class = [right[k == LABELS].mean() for k in range(CLASSES - 1)] + [np.nan]
    return own | {f"class_{k}_accuracy": x for k, x in enumerate(of_class)}


def evaluator(devices, streamed=False, more=(*NAMES, *OWN), **options):
    mesh = small.mesh(devices)
    batch = rows_of(DATA, np.arange(8), None, jnp.ones(8), None)
    found = builtin_metrics.find_all(more)
    objective = metric_checks.with_metrics(OBJECTIVE, found, POINTS[0], {}, batch, mesh)
    splits = {"train": DATA} if streamed else parallel.replicate({"train": DATA}, mesh)
    return evaluation.Evaluator(objective, rows_of, splits, mesh, **options)


@pytest.fixture(scope="module")
def plain():
    return evaluator(1, batch_size=10)(POINTS, ROWS, {})["train"]


def test_metrics_by_hand(plain):
    assert [*plain][:2] == ["loss", "error"]
    for number, row in enumerate(ROWS):
        expected = by_numpy(row)
        assert plain.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(plain[name][number], value, rtol=3e-6, err_msg=name)
    assert len({*plain["ece"]}) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "streamed", "options"),
    [
        (3, True, {"batch_size": 9}),
        (1, False, {"batch_size": 500, "points_per_call": 2}),
    ],
)
def test_devices_batches_and_streams_change_nothing(plain, devices, streamed, options, monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_BYTES", 1)
    other = evaluator(devices, streamed, **options)
    found = other(POINTS, ROWS, {})["train"]
    for name, values in plain.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-6, err_msg=name)
    one = other.with_state(jnp.asarray(POINTS[0]), {}, "train")
    assert one["ece"] == pytest.approx(plain["ece"][0], rel=2e-6)
    assert one["top2_accuracy"] == plain["top2_accuracy"][0]


def test_what_is_measured_already_keeps_its_bits(plain):
    alone = evaluator(1, more=(), batch_size=10)(POINTS, ROWS, {})["train"]
    assert [*alone] == ["loss"]
    np.testing.assert_array_equal(alone["loss"], plain["loss"])


def test_ties_are_as_in_argmax_and_what_is_not_finite_is_wrong():
    z = jnp.array([[1, 1, 0], [1, 1, 0], [np.nan, 1, 2], [0, np.inf, 0]], jnp.float32)
    batch = {"labels": jnp.array([0, 1, 2, 0], jnp.int8)}
    for k, expected in ((1, [1, 0, 0, 0]), (2, [1, 1, 0, 0]), (3, [1, 1, 0, 0])):
        found = builtin_metrics.find(f"top{k}_accuracy").values(z, batch)
        np.testing.assert_array_equal(found, np.array(expected, bool))
    np.testing.assert_array_equal(builtin_metrics.error(z, batch), [0, 1, 1, 1])


def test_bins_are_open_below_and_closed_above():
    z = jnp.log(jnp.array([[0.5, 0.5], [0.7, 0.3], [0.8, 0.2], [1.0, 1e-9]]))
    batch = {"labels": jnp.zeros(4, jnp.int32)}
    gaps = builtin_metrics.calibration_error(4).values(z, batch)
    assert [int(np.flatnonzero(row)[0]) for row in np.array(gaps)[:3]] == [1, 2, 3]
    np.testing.assert_allclose(np.sum(gaps, axis=1), [0.5, 0.3, 0.2, 0], atol=1e-6)


def test_objectives_and_metrics_are_added_together():
    def twice(params, state, batch):
        sums = evaluate(params, state, batch)
        return {"loss": sums["count"] * 0, "third": sums["count"], "count": 3 * sums["count"]}

    first = Objective(None, twice)
    second = Objective(None, twice, metrics=lambda means: {"sixth": means["third"] / 2})
    whole = metrics.with_metrics(OBJECTIVE, [first, second, builtin_metrics.find("error")])
    mesh = small.mesh(1)
    placed = parallel.replicate({"train": DATA}, mesh)
    found = evaluation.Evaluator(whole, rows_of, placed, mesh, batch_size=10)
    one = found.with_state(jnp.asarray(POINTS[0]), {}, "train")
    expected = by_numpy([1, 0])
    assert one == pytest.approx(
        {n: expected[n] for n in ("error", "loss")} | {"third": 1 / 3, "sixth": 1 / 6}, rel=1e-5
    )


def test_metrics_of_one_name_keep_their_values():
    def named(key, sign):
        return metrics.Metric("mine", lambda logits, batch: {key: sign * logits[:, 0]})

    more = (named("plus", 1), named("minus", -1))
    one = evaluator(1, more=more, batch_size=50)(POINTS, ROWS[:1], {})["train"]
    assert one["plus"] == -one["minus"] == pytest.approx((X @ POINTS[0])[:, 0].mean(), rel=1e-5)


def never_finite(logits, batch):
    return jnp.log(batch["x"][:, 0])


def image(logits, batch):
    return batch["x"]


def host(logits, batch):
    return np.asarray(logits).max(1)


def loss(logits, batch):
    return logits[:, 0]


def reporting(name):
    """An objective with one metric beside the loss, which is that of the first objective."""
    return Objective(
        None, evaluate, metrics=lambda means: {"loss": means["loss"], name: means["loss"]}
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("top2_acuracy",), "there is no metric 'top2_acuracy': did you mean accuracy or top5"),
        (("top0_accuracy",), "there is no metric 'top0_accuracy'"),
        (("top5_accuracy",), "metric 'top5_accuracy' fails: there are only 4 classes"),
        ((lambda logits, batch: 1,), "a function with a name"),
        ((never_finite,), r"metric 'never_finite' is not finite for \d of 8 examples"),
        ((image,), r"metric 'image' has shape \[8, 5\] for 8 examples: return one number"),
        ((host,), "metric 'host' fails: TracerArrayConversionError"),
        ((loss,), "metric 'loss' is measured twice: rename one"),
        (("ece", "ece"), "metric 'ece' is measured twice"),
        ((metrics.Metric("a b", loss),), "metric 'a b': use letters, digits and _"),
        ((metrics.Metric("z_mean", loss),), "none of the endings of summaries in files: _mean"),
        ((metrics.Metric("z", image, lambda means: means["z"]),), r"'z' has shape \[5\] per point"),
        ((metrics.Metric("z", image, lambda means: means["y"]),), "metric 'z' fails: KeyError"),
        ((metrics.Metric("z", lambda z, b: {"count": z[:, 0]}),), "may not be named 'count'"),
        ((Objective(None, lambda *_: {"z": jnp.ones(())}),), "evaluate returns z without count"),
        ((reporting("a b"),), "metric 'a b': use letters, digits and _"),
        ((reporting("z"), reporting("z")), "metric 'z' is measured twice"),
    ],
)
def test_wrong_metrics_are_refused_before_any_work(more, message, unchecked):
    batch = rows_of(DATA, np.arange(8), None, jnp.ones(8), None)

    def check():
        found = [x if isinstance(x, Objective) else builtin_metrics.find(x) for x in more]
        metric_checks.with_metrics(OBJECTIVE, found, POINTS[0], {}, batch, small.mesh(1))

    with pytest.raises(ValueError, match=message) as error:
        check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("objective", "batch", "message"),
    [
        (OBJECTIVE._replace(logits=None), {}, "'ece' needs logits, and the objective has none"),
        (OBJECTIVE, {"labels": None}, r"logits \[8, 4\]: this metric is for classifiers"),
        (OBJECTIVE, {"labels": jnp.ones(8)}, r"labels float32\[8\]: expected integers \[8\]"),
        (
            OBJECTIVE._replace(logits=lambda *args: logits(*args)[:, None]),
            {},
            r"logits \[8, 1, 4\] and labels: this metric is for classifiers",
        ),
    ],
)
def test_calibration_needs_a_classifier(objective, batch, message):
    batch = rows_of(DATA, np.arange(8), None, jnp.ones(8), None) | batch
    batch = {name: x for name, x in batch.items() if x is not None}
    with pytest.raises(ValueError, match=message):
        metric_checks.with_metrics(
            objective, builtin_metrics.find_all("ece"), POINTS[0], {}, batch, small.mesh(1)
        )
