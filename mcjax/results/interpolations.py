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
    """

    pairs: Integer[np.ndarray, "N 2"]
    metrics: Metrics
    l2: Float[np.ndarray, "N P"] | None = None
    length: Num[np.ndarray, " N"] | None = None
    barriers: Mapping[str, Mapping[str, PairHeights]] = NONE


class Interval(NamedTuple):
    """A mean over pairs of networks and its 95 % confidence interval, NaN if it is not known."""

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
        """``t``, ``name``, ``network_SPLIT_METRIC``, and for each path ``PATH_SPLIT_METRIC``."""
        arrays = {"t": self.t, "name": self.name}
        if self.group is not None:
            arrays["group"] = self.group
        if self.epoch is not None:
            arrays["epoch"] = self.epoch
        arrays |= values_arrays(*self.networks, "network_")
        for path, found in self.paths.items():
            arrays |= _path_arrays(found, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Interpolation":
        """Inverts `to_arrays`.

        Raises:
          ValueError: ``t`` or ``name`` is missing.
        """
        left = require(arrays, ("t", "name"), "an interpolation")
        networks = Values(take_metrics(left, "network_", 1), left.pop("network_l2", None))
        paths = {
            path: _take_path(left, f"{path}_") for path in PAIR_PATHS if f"{path}_pairs" in left
        }
        group, epoch = (left.pop(key, None) for key in ("group", "epoch"))
        return cls(left.pop("t"), left.pop("name"), networks, paths, group, epoch, left)


def _path_arrays(found: PairPaths, prefix: str) -> Arrays:
    arrays = {f"{prefix}pairs": found.pairs, **values_arrays(found.metrics, found.l2, prefix)}
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
