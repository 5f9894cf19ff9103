"""Coefficients of averages: sums of one, the networks they should hold, and a greedy choice."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax import api
from mcjax.analysis import soups
from mcjax.engine import parallel
from tests.mcjax import small


def test_uniform_and_swa():
    np.testing.assert_allclose(soups.uniform(3), [1 / 3] * 3)
    epochs = np.array([0, 2.5, 7, 30])
    assert soups.since(epochs, 2.5).tolist() == [0, *[1 / 3] * 3]
    assert soups.since(epochs, 8).tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="no network from epoch 31 on; the last is of 30"):
        soups.since(epochs, 31)
    with pytest.raises(ValueError, match="needs networks"):
        soups.uniform(0)


def test_an_exponential_average_is_that_of_optax():
    networks = np.array([3.0, -1.0, 0.5, 2.0], np.float32)
    average = optax.ema(0.7)
    state = average.init(networks[0])
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        for w in networks:
            found, state = average.update(w, state)
    np.testing.assert_allclose(soups.exponential(4, 0.7) @ networks, found, rtol=1e-6)
    assert soups.exponential(4, 0.7).sum() == pytest.approx(1)
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            soups.exponential(4, wrong)
    with pytest.raises(ValueError, match="needs networks"):
        soups.exponential(0, 0.5)


def test_a_greedy_soup_takes_what_does_no_harm():
    """Networks are numbers, and a score is how near to 10 their average is."""
    networks = np.array([4.0, 9.0, 30.0, 11.0, 9.0])
    tried = []

    def score(row):
        tried.append(row)
        return -abs(row @ networks - 10)

    found = soups.greedy(-abs(networks - 10), score)
    assert [np.flatnonzero(row).tolist() for row in tried] == [[1, 3], [1, 3, 4], [0, 1, 3],
                                                               [1, 2, 3]]  # fmt: skip
    assert found.members == (1, 3)
    assert found.coefficients.tolist() == [0, 0.5, 0, 0.5, 0]
    assert found.score == 0
    same = soups.greedy(np.array([0.5, 0.5]), lambda row: 0.5)
    assert same.members == (0, 1)  # not worse is enough, and the first of equal ones is first
    assert soups.greedy(np.array([0.5]), score).coefficients.tolist() == [1]
    with pytest.raises(ValueError, match="needs networks"):
        soups.greedy(np.zeros(0), score)


def test_the_score_is_held_out_accuracy_or_else_the_loss():
    both = {"loss": np.array([1.0, 2.0]), "accuracy": np.array([0.25, 0.5])}
    name, values = soups.score({"train": both, "validation": both})
    assert (name, values.tolist()) == ("validation_accuracy", [0.25, 0.5])
    name, values = soups.score({"validation": {"loss": both["loss"]}})
    assert (name, values.tolist()) == ("validation_loss", [-1, -2])
    with pytest.raises(ValueError, match="there is none"):
        soups.score({"train": both})


def test_soups_of_any_function():
    """Of networks around the optimum of a quadratic loss, and one far away from it."""
    mesh = small.mesh(1)
    data = np.array([[0.5, -1.0], [1.5, 0.0], [0.7, 0.4]], np.float32)
    best = data.mean(axis=0)
    networks = [np.float32(best + step) for step in ([0.1, 0], [5, 5], [0, -0.5], [-0.1, 0.1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_mesh", lambda *devices: mesh)
        found = api.soup(_distance, networks, data, data, names="abcd", decay=0.5, points=3)
    assert found.recipe.tolist() == ["uniform", "greedy", "ema"]
    greedy = [1 / 2, 0, 0, 1 / 2]  # the third would move the average of the first two away
    rows = [[1 / 4] * 4, greedy, [1 / 15, 2 / 15, 4 / 15, 8 / 15]]
    np.testing.assert_allclose(found.coefficients, rows)
    losses = [((row @ np.stack(networks) - data) ** 2).sum(1).mean() for row in np.array(rows)]
    for split in ("train", "validation"):
        np.testing.assert_allclose(found.averages.metrics[split]["loss"], losses, rtol=1e-5)
    assert found.segments.name.tolist() == [*"abcd"]
    assert found.segments.matrix("train_loss").shape == (4, 4)


def _distance(params, batch):
    return jnp.mean(jnp.sum((params[None] - batch) ** 2, axis=-1))


def test_soups_need_held_out_data_and_networks():
    data = np.zeros((4, 2), np.float32)
    networks = [np.zeros(2, np.float32), np.ones(2, np.float32)]
    with pytest.raises(ValueError, match="chosen on held-out data"):
        api.soup(_distance, networks, data, None)
    with pytest.raises(ValueError, match="1 networks"):
        api.soup(_distance, networks[:1], data, data)
    with pytest.raises(ValueError, match="decay=2"):
        api.soup(_distance, networks, data, data, decay=2.0)
