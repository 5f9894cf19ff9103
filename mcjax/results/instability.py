"""Instability: barriers between networks that differ in the data order since a fork."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcjax.results.metrics import (
    NONE,
    Arrays,
    Metrics,
    named,
    require,
    take_metrics,
    values_arrays,
)
from mcjax.typing import Float, Integer, Num, Shaped

STABLE = 0.02
"""Training is stable at a fork point whose error barrier is below this fraction of the examples."""
OWN = ("name", "step", "epoch", "t", "pairs")
AXES = {"network": 2, "segment": 3, "barrier": 2}
"""Axes of the arrays of each kind: forks and networks, forks, pairs and points, forks and pairs."""


class Spread(NamedTuple):
    """Barriers over the pairs of each of F fork points, in units of the metric.

    Attributes:
      mean: over the pairs.
      std: standard deviation; the variance is divided by the number of pairs.
      lowest: of the pairs.
      highest: likewise.

    >>> found = Spread(np.array([0.05]), np.array([0.01]), np.array([0.04]), np.array([0.06]))
    >>> float(found.mean[0])
    0.05
    """

    mean: Float[np.ndarray, " F"]
    std: Float[np.ndarray, " F"]
    lowest: Float[np.ndarray, " F"]
    highest: Float[np.ndarray, " F"]


class Instability(NamedTuple):
    """Segments between children of F fork points, C children each: ``instability.npz``.

    Attributes:
      name: the fork points as the flag has them, such as ``2`` for an epoch or ``s40`` for a step.
      step: the steps at the fork points.
      epoch: the same in epochs, with fractions.
      t: positions on the segments, from 0 to 1.
      pairs: indices of the children at the ends of the N segments of each fork point.
      networks: ``networks[split][name]`` of shape ``[F, C]``: the children's own metrics.
      metrics: ``metrics[split][name]`` of shape ``[F, N, P]``, along the segments.
      barriers: ``barriers[split][name]`` of shape ``[F, N]``: how far a loss or error rises above
        the mean of the two ends, or an accuracy falls below it (Frankle et al., 2020).
      extra: other arrays of the file, by key.

    >>> heights = {"train": {"accuracy": np.array([[0.3], [0.01]])}}  # of two forks
    >>> name, epoch, pairs = np.array(["0", "5"]), np.array([0, 5]), np.array([[0, 1]])
    >>> found = Instability(name, 10 * epoch, epoch, np.zeros(0), pairs, {}, {}, heights)
    >>> int(found.epoch[found.stable_from("train_accuracy")])
    5
    """

    name: Shaped[np.ndarray, " F"]
    step: Integer[np.ndarray, " F"]
    epoch: Num[np.ndarray, " F"]
    t: Num[np.ndarray, " P"]
    pairs: Integer[np.ndarray, "N 2"]
    networks: Metrics
    metrics: Metrics
    barriers: Metrics
    extra: Mapping[str, np.ndarray] = NONE

    def spread(self, metric: str) -> Spread:
        """The barriers of each fork point over its pairs.

        Args:
          metric: such as ``train_accuracy``.

        Raises:
          ValueError: the metric has no barriers.

        >>> heights = {"train": {"accuracy": np.array([[0.1, 0.3]])}}  # of one fork with two pairs
        >>> name, epoch, pairs = np.array(["0"]), np.array([0]), np.array([[0, 1], [0, 2]])
        >>> found = Instability(name, 10 * epoch, epoch, np.zeros(0), pairs, {}, {}, heights)
        >>> found.spread("train_accuracy").mean
        array([0.2])
        """
        heights = named(self.barriers)
        if metric not in heights:
            raise ValueError(f"{metric} has no barriers; there are {', '.join(heights)}")
        found = heights[metric]
        return Spread(found.mean(1), found.std(1), found.min(1), found.max(1))

    def stable_from(self, metric: str) -> int | None:
        """The index of the first fork point from which on mean barriers are below 2 %.

        Args:
          metric: an accuracy or an error, such as ``train_accuracy``.

        Returns:
          None if the last fork point is not stable.

        Raises:
          ValueError: the metric has no barriers.

        >>> heights = {"train": {"accuracy": np.array([[0.3], [0.01], [0.0]])}}
        >>> name, epoch, pairs = np.array(["0", "2", "5"]), np.array([0, 2, 5]), np.array([[0, 1]])
        >>> found = Instability(name, 10 * epoch, epoch, np.zeros(0), pairs, {}, {}, heights)
        >>> found.stable_from("train_accuracy")
        1
        """
        unstable = np.flatnonzero(~(self.spread(metric).mean < STABLE))
        first = int(unstable[-1]) + 1 if unstable.size else 0
        return first if first < len(self.step) else None

    def to_arrays(self) -> Arrays:
        """The arrays by key: ``network_``, ``segment_`` and ``barrier_SPLIT_METRIC`` among them.

        >>> heights = {"train": {"accuracy": np.array([[0.3]])}}
        >>> name, epoch, pairs = np.array(["0"]), np.array([0]), np.array([[0, 1]])
        >>> found = Instability(name, 10 * epoch, epoch, np.zeros(0), pairs, {}, {}, heights)
        >>> list(found.to_arrays())
        ['name', 'step', 'epoch', 't', 'pairs', 'barrier_train_accuracy']
        """
        arrays = {key: getattr(self, key) for key in OWN}
        for kind, metrics in zip(AXES, (self.networks, self.metrics, self.barriers), strict=True):
            arrays |= values_arrays(metrics, prefix=f"{kind}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Instability":
        """Inverts `to_arrays`.

        Raises:
          ValueError: the fork points, ``t`` or the pairs are missing.

        >>> Instability.from_arrays({"t": np.linspace(0, 1, 3)})
        Traceback (most recent call last):
        ValueError: an instability analysis needs name, step, epoch, t, pairs; name, step, ...
        """
        left = require(arrays, OWN, "an instability analysis")
        networks, metrics, barriers = (
            take_metrics(left, f"{kind}_", ndim) for kind, ndim in AXES.items()
        )
        name, step, epoch, t, pairs = (left.pop(key) for key in OWN)
        return cls(name, step, epoch, t, pairs, networks, metrics, barriers, left)
