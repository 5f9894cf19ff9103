"""Means over pairs of networks, with confidence intervals that know what pairs have in common."""

from collections.abc import Sequence

import numpy as np
import scipy

from mcjax.results import Interval
from mcjax.typing import Float, Integer, Num

CONFIDENCE = 0.95


def over_pairs(
    values: Num[np.ndarray, "pairs ..."], pairs: Integer[np.ndarray, "pairs 2"]
) -> Interval:
    """The mean over pairs, with a 95 % interval for other networks of the same kind.

    Pairs that share a network are not independent: 3 x 3 pairs of 6 networks tell less than 9
    numbers would. The variance is the jackknife's, leaving out one network with all its pairs at a
    time; those of two groups add up, and the interval has Student's quantile with the degrees of
    freedom of Welch and Satterthwaite. A group of one network is held fixed.

    Args:
      values: one entry a pair.
      pairs: every pair within a group, or of a network of one group with one of another.

    Returns:
      Of the shape of one entry. The interval is NaN for a single pair, or if no group has two
      networks (within a group: three).

    >>> pairs = np.array([(0, 1), (0, 2), (1, 2)])
    >>> [x.round(2).tolist() for x in over_pairs(np.array([0.9, 1.0, 1.1]), pairs)]
    [1.0, 0.5, 1.5]
    """
    mean = np.asarray(np.mean(values, axis=0, dtype=np.float64))
    parts = [part for part in (_variance(values, pairs, side) for side in _sides(pairs)) if part]
    if not parts:
        unknown = np.full_like(mean, np.nan)
        return Interval(mean, unknown, unknown)
    variance = np.sum([part for part, _ in parts], axis=0)
    divisor = np.sum([part**2 / (count - 1) for part, count in parts], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(divisor > 0, variance**2 / divisor, 1.0)
    half = scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def _sides(pairs: Integer[np.ndarray, "pairs 2"]) -> Sequence[np.ndarray]:
    """The networks of the two groups, or of the one that all pairs are within."""
    first, second = (np.unique(column) for column in pairs.T)
    return [np.union1d(first, second)] if np.intersect1d(first, second).size else [first, second]


def _variance(
    values: Num[np.ndarray, "pairs ..."],
    pairs: Integer[np.ndarray, "pairs 2"],
    side: Integer[np.ndarray, " networks"],
) -> tuple[Float[np.ndarray, "*shape"], int] | None:
    """The jackknife's variance over one group, and the number of its networks; None for too few."""
    without = [~(pairs == network).any(axis=1) for network in side]
    if not all(left.any() for left in without):
        return None
    means = np.stack([np.mean(values[left], axis=0, dtype=np.float64) for left in without])
    count = len(side)
    return np.asarray((count - 1) * np.var(means, axis=0)), count
