"""Coefficients of averages: sums of one, the networks they should hold, and a greedy choice."""

import jax
import numpy as np
import optax
import pytest

from mcjax.analysis import soups


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
