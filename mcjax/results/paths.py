"""Profiles: metrics along a curve and a segment."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mcjax.results.metrics import (
    NONE,
    Arrays,
    Metrics,
    named,
    require,
    take_metrics,
    unnamed,
    values_arrays,
)
from mcjax.typing import Float

PATHS = ("curve", "segment")
ALIGNED_PATHS = ("before", "after", "repaired")
"""Segments to an end: as it was, aligned with the start, and with REPAIR: ``align.npz``."""


class Heights(NamedTuple):
    """Barrier heights of a path, in units of the loss; zero if the loss never rises.

    Attributes:
      over_max: ``max - max(ends)``, the paper's test: positive if the path crosses a barrier.
      over_mean: ``max - mean(ends)`` (Frankle et al. 2020; Git Re-Basin).
      over_chord: the largest height over the chord between the losses of the two ends.

    >>> Heights(over_max=0.3, over_mean=0.35, over_chord=0.35).over_max > 0  # crosses a barrier
    True
    """

    over_max: float
    over_mean: float
    over_chord: float


class Means(NamedTuple):
    """Means of a metric along a path, by the trapezoid rule.

    Attributes:
      over_t: with ``t`` uniform on [0, 1].
      over_length: with respect to arc length.

    >>> Means(over_t=0.4, over_length=0.5).over_length
    0.5
    """

    over_t: float
    over_length: float


class Slopes(NamedTuple):
    """Derivatives of a loss at the ends of a path, from each end inwards, per weight distance.

    Attributes:
      start: at ``t = 0``.
      start_error: error bound of ``start``.
      end: at ``t = 1``.
      end_error: error bound of ``end``.

    >>> found = Slopes(start=0.2, start_error=0.01, end=-0.1, end_error=0.02)
    >>> found.end < -found.end_error  # the loss falls from the end inwards
    True
    """

    start: float
    start_error: float
    end: float
    end_error: float


_SUMMARIES: dict[str, tuple[type, tuple[str, ...]]] = {
    "means": (Means, ("mean", "arc_mean")),
    "barriers": (Heights, Heights._fields),
    "slopes": (Slopes, ("start_slope", "start_slope_error", "end_slope", "end_slope_error")),
}
"""By field of `PathMetrics`: its type, and the endings of its keys in a file."""
SUMMARY_ENDINGS = tuple(f"_{end}" for _, ends in _SUMMARIES.values() for end in ends)


class PathMetrics(NamedTuple):
    """Metrics at P points along a curve or segment.

    Attributes:
      metrics: ``metrics[split][name]`` of shape ``[P]``.
      l2: squared norms ``||phi(t)||^2``.
      arc_length: arc length from the start, in units of weight distance.
      means: ``means[split][name]``.
      barriers: ``barriers[split][name]`` of every loss.
      slopes: ``slopes[split][name]`` of every loss, if measured.

    >>> losses = np.array([0.1, 0.4, 0.2])
    >>> barriers = {"train": {"loss": Heights(0.2, 0.25, 0.25)}}
    >>> found = PathMetrics({"train": {"loss": losses}}, barriers=barriers)
    >>> found.barriers["train"]["loss"].over_max
    0.2
    """

    metrics: Metrics
    l2: Float[np.ndarray, " P"] | None = None
    arc_length: Float[np.ndarray, " P"] | None = None
    means: Mapping[str, Mapping[str, Means]] = NONE
    barriers: Mapping[str, Mapping[str, Heights]] = NONE
    slopes: Mapping[str, Mapping[str, Slopes]] = NONE


class Profile(NamedTuple):
    """Metrics along a curve and along the segment between its ends: ``curve.npz``.

    Attributes:
      t: increasing from 0 to 1.
      paths: metrics of ``curve`` and ``segment``, or of one of them.
      extra: other arrays of the file, by key.

    >>> curve = PathMetrics({"train": {"loss": np.array([0.1, 0.4, 0.2])}})
    >>> found = Profile(np.linspace(0, 1, 3), {"curve": curve})
    >>> float(found.t[found.curve.metrics["train"]["loss"].argmax()])  # the worst point
    0.5
    """

    t: Float[np.ndarray, " P"]
    paths: dict[str, PathMetrics]
    extra: Mapping[str, np.ndarray] = NONE

    @property
    def curve(self) -> PathMetrics:
        """Metrics along the curve; raises KeyError if only a segment was measured.

        >>> path = PathMetrics({"train": {"loss": np.array([0.1, 0.2])}})
        >>> list(Profile(np.array([0.0, 1.0]), {"curve": path}).curve.metrics)
        ['train']
        """
        return self.paths["curve"]

    @property
    def segment(self) -> PathMetrics:
        """Metrics along the segment; raises KeyError if it was not measured.

        >>> path = PathMetrics({"train": {"loss": np.array([0.1, 0.2])}})
        >>> list(Profile(np.array([0.0, 1.0]), {"segment": path}).segment.metrics)
        ['train']
        """
        return self.paths["segment"]

    def to_arrays(self) -> Arrays:
        """``t``, ``PATH_SPLIT_METRIC`` and its summaries, such as ``..._over_max``.

        >>> path = PathMetrics({"train": {"loss": np.array([0.1, 0.2])}})
        >>> list(Profile(np.array([0.0, 1.0]), {"segment": path}).to_arrays())
        ['t', 'segment_train_loss']
        """
        arrays = {"t": self.t}
        for path, found in self.paths.items():
            arrays |= _path_arrays(found, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Profile":
        """Inverts `to_arrays`.

        Raises:
          ValueError: there is no ``t``.

        >>> arrays = {"t": np.array([0.0, 1.0]), "curve_train_loss": np.array([0.1, 0.2])}
        >>> Profile.from_arrays(arrays).curve.metrics["train"]["loss"]
        array([0.1, 0.2])
        >>> Profile.from_arrays({})
        Traceback (most recent call last):
        ValueError: a profile needs t; t is missing
        """
        left = require(arrays, ("t",), "a profile")
        found = {path: _take_path(left, f"{path}_") for path in (*PATHS, *ALIGNED_PATHS)}
        paths = {path: one for path, one in found.items() if one is not None}
        return cls(left.pop("t"), paths, left)


def _path_arrays(path: PathMetrics, prefix: str) -> Arrays:
    arrays = values_arrays(path.metrics, path.l2, prefix=prefix)
    if path.arc_length is not None:
        arrays[f"{prefix}arc_length"] = path.arc_length
    for fields in (("means", "barriers"), ("slopes",)):
        for key in named(path.metrics):
            for field in fields:
                numbers = named(getattr(path, field)).get(key, ())
                ends = zip(_SUMMARIES[field][1], numbers, strict=False)
                arrays |= {f"{prefix}{key}_{end}": np.asarray(x) for end, x in ends}
    return arrays


def _take_path(left: Arrays, prefix: str) -> PathMetrics | None:
    """Removes all arrays of a path from ``left``; returns None if it has no metric."""
    metrics = take_metrics(left, prefix, 1)
    if not metrics:
        return None
    l2, arc_length = (left.pop(f"{prefix}{key}", None) for key in ("l2", "arc_length"))
    summaries: dict[str, Any] = {field: {} for field in _SUMMARIES}
    for key in named(metrics):
        for field, (make, ends) in _SUMMARIES.items():
            keys = [f"{prefix}{key}_{end}" for end in ends]
            if all(k in left for k in keys):
                summaries[field][key] = make(*(np.asarray(left.pop(k))[()] for k in keys))
    return PathMetrics(metrics, l2, arc_length, **{k: unnamed(x) for k, x in summaries.items()})
