"""Interpolations: metrics on the paths between every two of several networks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mcjax.results.metrics import (
    NONE,
    Arrays,
    Metrics,
    Values,
    named,
    require,
    take_metrics,
    unnamed,
    values_arrays,
)
from mcjax.typing import Float, Integer, Num, Shaped

PAIR_PATHS = ("segment", "aligned", "curve")
"""Paths between two networks: the segment, the segment to the second one with its units permuted to
match the first, and a fitted curve."""


class PairHeights(NamedTuple):
    """Barrier heights of N paths, in units of the metric; see `mcjax.results.Heights`.

    For an accuracy the heights are how far it falls: below the lower end, below the mean of the
    ends, and below the chord.

    Attributes:
      over_max: over the higher end, or below the lower one.
      over_mean: over the mean of the ends.
      over_chord: over the chord between the ends.

    >>> PairHeights(*np.array([[0.6], [0.7], [0.7]])).over_max
    array([0.6])
    """

    over_max: Float[np.ndarray, " N"]
    over_mean: Float[np.ndarray, " N"]
    over_chord: Float[np.ndarray, " N"]


class PairPaths(NamedTuple):
    """Metrics at P points along N paths of one kind, each between two of K networks.

    Attributes:
      pairs: the indices of the networks at ``t = 0`` and ``t = 1``, in rising order.
      metrics: ``metrics[split][name]`` of shape ``[N, P]``; NaN where a curve is not defined, off
        ``0 <= t <= 1``.
      l2: squared norms.
      length: lengths of the paths from ``t = 0`` to ``t = 1``, in units of weight distance.
      barriers: ``barriers[split][name]`` of every loss, error and accuracy, for ``t`` from 0 to 1.

    >>> paths = PairPaths(np.array([[0, 1]]), {"train": {"loss": np.array([[0.1, 0.8, 0.2]])}})
    >>> float(paths.metrics["train"]["loss"][0].max())
    0.8
    """

    pairs: Integer[np.ndarray, "N 2"]
    metrics: Metrics
    l2: Float[np.ndarray, "N P"] | None = None
    length: Num[np.ndarray, " N"] | None = None
    barriers: Mapping[str, Mapping[str, PairHeights]] = NONE


class Interval(NamedTuple):
    """A mean over pairs of networks and its 95 % confidence interval, NaN if it is not known.

    Attributes:
      mean: over the pairs.
      low: lower end of the interval.
      high: upper end.

    >>> found = Interval(np.array(1.0), np.array(0.5), np.array(1.5))
    >>> float(found.high - found.mean)
    0.5
    """

    mean: Float[np.ndarray, "*shape"]
    low: Float[np.ndarray, "*shape"]
    high: Float[np.ndarray, "*shape"]


class Interpolation(NamedTuple):
    """Metrics on paths between every two of K networks: ``interpolation.npz``.

    Attributes:
      t: increasing; the networks are at 0 and 1, and other values extrapolate.
      name: names of the networks, all different.
      networks: the networks' own metrics, of shape ``[K]``.
      paths: some of `PAIR_PATHS`, by name.
      group: 0 for networks of the first group and 1 for those of the second; None without groups.
      epoch: epochs of the networks, if each group is of one run; otherwise None.
      extra: other arrays of the file, by key.

    >>> barrier = PairHeights(*np.array([[0.6], [0.65], [0.65]]))
    >>> paths = PairPaths(np.array([[0, 1]]), {}, barriers={"train": {"loss": barrier}})
    >>> t, names = np.linspace(0, 1, 3), np.array(["a", "b"])
    >>> found = Interpolation(t, names, Values({}), {"segment": paths})
    >>> found.matrix("train_loss")
    array([[0. , 0.6],
           [0.6, 0. ]])
    """

    t: Float[np.ndarray, " P"]
    name: Shaped[np.ndarray, " K"]
    networks: Values
    paths: dict[str, PairPaths]
    group: Integer[np.ndarray, " K"] | None = None
    epoch: Float[np.ndarray, " K"] | None = None
    extra: Mapping[str, np.ndarray] = NONE

    def matrix(
        self, metric: str, path: str = "segment", height: str = "over_max"
    ) -> Float[np.ndarray, "K K"]:
        """Barriers between every two networks: symmetric, with a zero diagonal.

        Args:
          metric: such as ``train_loss``.
          path: one of ``paths``; of several paths of a pair, the last one.
          height: ``over_max``, ``over_mean`` or ``over_chord``.

        Returns:
          NaN for pairs without such a path.

        Raises:
          ValueError: the metric has no barriers.

        >>> barrier = PairHeights(*np.array([[0.6], [0.65], [0.65]]))
        >>> paths = PairPaths(np.array([[0, 1]]), {}, barriers={"train": {"loss": barrier}})
        >>> t, names = np.linspace(0, 1, 3), np.array(["a", "b"])
        >>> found = Interpolation(t, names, Values({}), {"segment": paths})
        >>> found.matrix("train_loss", height="over_mean")
        array([[0.  , 0.65],
               [0.65, 0.  ]])
        >>> found.matrix("test_loss")
        Traceback (most recent call last):
        ValueError: test_loss has no barriers; there are train_loss
        """
        found, heights = self.paths[path], named(self.paths[path].barriers)
        if metric not in heights:
            raise ValueError(f"{metric} has no barriers; there are {', '.join(heights)}")
        matrix = np.full((len(self.name), len(self.name)), np.nan)
        np.fill_diagonal(matrix, 0.0)
        start, end = found.pairs.T
        matrix[start, end] = matrix[end, start] = getattr(heights[metric], height)
        return matrix

    def to_arrays(self) -> Arrays:
        """``t``, ``name``, ``network_SPLIT_METRIC``, and for each path ``PATH_SPLIT_METRIC``.

        >>> paths = PairPaths(np.array([[0, 1]]), {"train": {"loss": np.array([[0.1, 0.8, 0.2]])}})
        >>> networks = Values({"train": {"loss": np.array([0.1, 0.2])}})
        >>> t, names = np.linspace(0, 1, 3), np.array(["a", "b"])
        >>> found = Interpolation(t, names, networks, {"segment": paths})
        >>> list(found.to_arrays())
        ['t', 'name', 'network_train_loss', 'segment_pairs', 'segment_train_loss']
        """
        arrays = {"t": self.t, "name": self.name}
        if self.group is not None:
            arrays["group"] = self.group
        if self.epoch is not None:
            arrays["epoch"] = self.epoch
        arrays |= values_arrays(*self.networks, prefix="network_")
        for path, found in self.paths.items():
            arrays |= _path_arrays(found, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Interpolation":
        """Inverts `to_arrays`.

        Raises:
          ValueError: ``t`` or ``name`` is missing.

        >>> arrays = {"t": np.zeros(2), "name": np.array(["a", "b"]), "note": np.array("kept")}
        >>> Interpolation.from_arrays(arrays).extra
        {'note': array('kept', dtype='<U4')}
        """
        left = require(arrays, ("t", "name"), "an interpolation")
        networks = Values(take_metrics(left, "network_", 1), left.pop("network_l2", None))
        paths = {
            path: _take_path(left, f"{path}_") for path in PAIR_PATHS if f"{path}_pairs" in left
        }
        group, epoch = (left.pop(key, None) for key in ("group", "epoch"))
        return cls(left.pop("t"), left.pop("name"), networks, paths, group, epoch, left)


def _path_arrays(found: PairPaths, prefix: str) -> Arrays:
    values = values_arrays(found.metrics, found.l2, prefix=prefix)
    arrays = {f"{prefix}pairs": found.pairs, **values}
    if found.length is not None:
        arrays[f"{prefix}length"] = found.length
    return arrays | heights_arrays(found.barriers, prefix)


def heights_arrays(barriers: Mapping[str, Mapping[str, PairHeights]], prefix: str) -> Arrays:
    """Barrier heights by key, with a prefix."""
    return {
        f"{prefix}{key}_{how}": x
        for key, heights in named(barriers).items()
        for how, x in heights._asdict().items()
    }


def _take_path(left: Arrays, prefix: str) -> PairPaths:
    metrics = take_metrics(left, prefix, 2)
    pairs, l2, length = (left.pop(f"{prefix}{key}", None) for key in ("pairs", "l2", "length"))
    barriers = take_heights(left, metrics, prefix)
    assert pairs is not None  # as `from_arrays` has checked
    return PairPaths(pairs, metrics, l2, length, barriers)


def take_heights(left: Arrays, metrics: Metrics, prefix: str) -> dict[str, dict[str, PairHeights]]:
    """Removes the barrier heights of metrics from ``left``."""
    barriers: dict[str, PairHeights] = {}
    for key in named(metrics):
        keys = [f"{prefix}{key}_{how}" for how in PairHeights._fields]
        if all(k in left for k in keys):
            barriers[key] = PairHeights(*(left.pop(k) for k in keys))
    return unnamed(barriers)
