"""`Sampled`: a random sample's metrics, and standard errors that are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.engine import evaluation, objectives, parallel, streams
from mcjax.engine.sampling import Sampled

NUMBERS = np.random.default_rng(1).gamma(2.0, size=3000).astype(np.float32)
POINTS = [[1.0], [2.0]]


def fetch(data, rows, examples, weight, key):
    return {"x": data[rows], "weight": weight}


def scaled(w, batch):
    return jnp.mean(w * batch["x"])


def evaluator(numbers=NUMBERS, limit=None, **options):
    objective = objectives.from_loss(scaled)._replace(**options)
    mesh = parallel.make_mesh()
    splits = streams.place({"train": numbers, "validation": numbers[:70]}, mesh, limit)
    return evaluation.Evaluator(objective, fetch, splits, mesh)


@pytest.mark.slow
def test_errors_are_those_of_means_without_replacement():
    """Of 3,000 examples, 600: the spread over 200 samples is the standard error."""
    whole, means, errors = evaluator(), [], []
    sampled = Sampled(whole, 600)
    assert sampled.batch_size == 30  # 20 batches: fewer would make the errors uncertain
    for seed in range(200):
        sampled.splits = Sampled(whole, 600, seed=seed).splits
        found = sampled([jnp.float32(1)], POINTS, {})
        means.append(found["train"]["loss"])
        errors.append(found["errors"]["train_loss"])
    exact = NUMBERS.std() / np.sqrt(600) * np.sqrt(1 - 600 / 3000) * np.ravel(POINTS)
    np.testing.assert_allclose(np.std(means, axis=0), exact, rtol=0.15)
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors), axis=0)), exact, rtol=0.05)
    np.testing.assert_allclose(np.mean(means, axis=0), NUMBERS.mean() * np.ravel(POINTS), rtol=0.01)


def test_errors_of_metrics_that_are_no_means():
    """The delta method: the error of a square is that of the mean, times twice the mean."""
    report = lambda means: {"loss": means["loss"], "square": means["loss"] ** 2}  # noqa: E731
    found = Sampled(evaluator(metrics=report), 1000)([jnp.float32(1)], POINTS, {})
    expected = 2 * found["train"]["loss"] * found["errors"]["train_loss"]
    np.testing.assert_allclose(found["errors"]["train_square"], expected, rtol=0.02)


def test_a_sample_is_drawn_without_replacement_and_is_the_same_each_time():
    one, two, other = (Sampled(evaluator(), 50, seed=seed).splits["train"] for seed in (0, 0, 1))
    assert len(np.unique(one["numbers"])) == 50
    np.testing.assert_array_equal(one["data"], NUMBERS[np.asarray(one["numbers"])])
    np.testing.assert_array_equal(one["data"], two["data"])
    assert not np.array_equal(one["data"], other["data"])


def test_small_splits_are_whole_and_have_no_error():
    found = Sampled(evaluator(), 100)([jnp.float32(1)], POINTS, {})
    assert found["validation"]["loss"][0] == pytest.approx(NUMBERS[:70].mean(), rel=1e-6)
    assert not found["errors"]["validation_loss"].any()
    assert found["errors"]["train_loss"].all()


def test_a_whole_split_of_one_batch_has_no_error():
    few = streams.place({"train": NUMBERS, "validation": NUMBERS[:3]}, parallel.make_mesh())
    whole = evaluation.Evaluator(objectives.from_loss(scaled), fetch, few, parallel.make_mesh())
    found = Sampled(whole, 100)([jnp.float32(1)], POINTS, {})
    np.testing.assert_array_equal(found["errors"]["validation_loss"], 0)


def test_a_loss_that_is_hardly_above_is_measured_on_all_examples():
    splits, mesh = {"train": jnp.asarray(NUMBERS)}, parallel.make_mesh(jax.devices()[:1])
    whole = evaluation.Evaluator(objectives.from_loss(scaled), fetch, splits, mesh)
    sample = Sampled(whole, 400)([jnp.float32(1)], [[1.0]], {})
    loss, error = sample["train"]["loss"][0], sample["errors"]["train_loss"][0]
    for below, expected in ((2.9, 0.0), (3.1, error)):
        above = float(loss - below * error)
        found = Sampled(whole, 400, stop_above=above)([jnp.float32(1)], [[1.0]], {})
        assert found["errors"]["train_loss"][0] == expected


def test_a_sample_of_streamed_data_is_the_same():
    found = [Sampled(evaluator(limit=x), 100)([jnp.float32(1)], POINTS, {}) for x in (0, None)]
    for name in ("train", "errors"):
        for key in found[0][name]:
            np.testing.assert_array_equal(found[0][name][key], found[1][name][key])


def test_what_is_not_finite_has_no_finite_error():
    numbers = NUMBERS.copy()
    numbers[:] = np.where(np.arange(3000) % 7, numbers, np.inf)
    found = Sampled(evaluator(numbers), 100)([jnp.float32(1)], POINTS, {})
    assert np.isnan(found["errors"]["train_loss"]).all()


def test_without_a_sample_there_are_no_errors():
    assert "errors" not in evaluator()([jnp.float32(1)], POINTS, {})


@pytest.mark.parametrize("above", [0.5, 5.0, 7.0, 50.0])
def test_points_that_are_not_above_a_loss_are_measured_on_all_examples(above):
    """Losses are 2, 4, ... 12, with standard errors of about 0.15 per 2."""
    rows, whole = np.arange(1.0, 7.0)[[3, 0, 5, 1, 4, 2], None], evaluator()
    every, sample = (e([jnp.float32(1)], rows, {}) for e in (whole, Sampled(whole, 400)))
    some = Sampled(whole, 400, stop_above=above)
    blocks = list(some.blocks([jnp.float32(1)], rows, {}))
    assert [first for first, _ in blocks] == np.cumsum(
        [0, *(len(m["params"]["l2"]) for _, m in blocks[:-1])]
    ).tolist()
    found = some([jnp.float32(1)], rows, {})
    mean, error = sample["train"]["loss"], sample["errors"]["train_loss"]
    stopped = (mean - 3 * error > above) & (sample["validation"]["loss"] > above)
    assert stopped.sum() == {0.5: 6, 5.0: 4, 7.0: 2, 50.0: 0}[above]
    expected = np.where(stopped, mean, every["train"]["loss"])
    np.testing.assert_array_equal(found["train"]["loss"], expected)
    np.testing.assert_array_equal(found["errors"]["train_loss"], np.where(stopped, error, 0))
    np.testing.assert_array_equal(found["params"]["l2"], rows[:, 0] ** 2)


@pytest.mark.parametrize("wild", [np.nan, np.inf])
def test_what_is_not_finite_on_the_sample_is_not_measured_on_all_examples(wild):
    numbers = np.where(np.arange(3000) % 7, NUMBERS, wild).astype(np.float32)
    found = Sampled(evaluator(numbers), 400, stop_above=1.0)([jnp.float32(1)], POINTS, {})
    assert np.isnan(found["errors"]["train_loss"]).all()


def test_errors_of_sorted_data_are_no_larger():
    """Batches of a sample are random, whatever the order of the data."""
    of_sorted = Sampled(evaluator(np.sort(NUMBERS)), 600)([jnp.float32(1)], POINTS, {})
    exact = NUMBERS.std() / np.sqrt(600) * np.sqrt(1 - 600 / 3000) * np.ravel(POINTS)
    np.testing.assert_allclose(of_sorted["errors"]["train_loss"], exact, rtol=0.35)


@pytest.mark.slow
def test_the_count_of_an_objective_need_not_be_that_of_examples():
    def doubled(params, state, batch):
        sums = objectives.from_loss(scaled).evaluate(params, state, batch)
        return {name: 2 * x for name, x in sums.items()}

    one, two = (Sampled(evaluator(**changes), 2000) for changes in ({}, {"evaluate": doubled}))
    found = [e([jnp.float32(1)], POINTS, {})["errors"]["train_loss"] for e in (one, two)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert (found[0] > 0).all()


def test_an_example_has_the_number_that_it_has_among_all():
    """So that what depends on it, such as a key, is the same on the sample and on all."""
    seen = []

    def numbered(data, rows, examples, weight, key):
        jax.debug.callback(lambda x, e: seen.append((x, e)), data[rows], examples)
        return fetch(data, rows, examples, weight, key)

    mesh = parallel.make_mesh(jax.devices()[:1])
    splits = streams.place({"train": NUMBERS}, mesh)
    whole = evaluation.Evaluator(objectives.from_loss(scaled), numbered, splits, mesh)
    Sampled(whole, 60)([jnp.float32(1)], [[1.0]], {})
    jax.effects_barrier()
    numbers, examples = (np.concatenate(x) for x in zip(*seen, strict=True))
    np.testing.assert_array_equal(numbers, NUMBERS[examples])
    assert len(np.unique(examples)) == 60


def test_without_a_loss_nothing_can_stop():
    report = lambda means: {"mean": means["loss"]}  # noqa: E731
    some = Sampled(evaluator(metrics=report), 100, stop_above=1.0)
    with pytest.raises(ValueError, match=r"stop_above=1.0: the objective measures no loss"):
        some([jnp.float32(1)], POINTS, {})
