"""Intervals over pairs of networks: by hand, and how often they hold what they should."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mcjax.analysis import intervals


def crossed(first, second):
    return np.array([(i, first + j) for i in range(first) for j in range(second)])


def within(count):
    return np.array(list(itertools.combinations(range(count), 2)))


def test_a_network_against_several_is_the_usual_interval():
    values = np.array([1.0, 2.0, 4.0])
    found = intervals.over_pairs(values, crossed(1, 3))
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    np.testing.assert_allclose(found, (values.mean(), low, high))


def test_two_groups_by_hand():
    """The variances of the means of rows and of columns add up."""
    table = np.array([[1.0, 2.0, 4.0], [2.0, 5.0, 9.0]])
    found = intervals.over_pairs(table.ravel(), crossed(2, 3))
    rows, columns = table.mean(axis=1).var(ddof=1) / 2, table.mean(axis=0).var(ddof=1) / 3
    freedom = (rows + columns) ** 2 / (rows**2 / 1 + columns**2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(rows + columns)
    np.testing.assert_allclose(found, table.mean() + np.array([0, -half, half]))


@pytest.mark.parametrize("pairs", [crossed(3, 4), crossed(4, 4), within(3), within(5)])
def test_the_interval_covers_the_mean_of_dependent_pairs(pairs):
    """A network has an effect on all its pairs; for independent numbers one would be over-sure."""
    rng, trials = np.random.default_rng(7), 2000
    effects = rng.normal(size=(pairs.max() + 1, trials))
    values = effects[pairs].sum(axis=1) + 0.3 * rng.normal(size=(len(pairs), trials))
    mean, low, high = intervals.over_pairs(values, pairs)
    assert mean.shape == (trials,)
    assert 0.93 < np.mean((low < 0) & (high > 0)) < 0.985
    naive = stats.t.ppf(0.975, len(pairs) - 1) * stats.sem(values)
    assert np.mean(abs(mean) < naive) < 0.85


@pytest.mark.parametrize("pairs", [crossed(1, 1), within(2)])
def test_one_pair_has_no_interval(pairs):
    mean, low, high = intervals.over_pairs(np.array([3.0]), pairs)
    assert mean == 3
    assert np.isnan([low, high]).all()


def test_equal_values_have_an_interval_of_no_width():
    assert intervals.over_pairs(np.full(4, 2.0), crossed(2, 2)) == (2, 2, 2)
