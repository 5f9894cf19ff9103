"""Profiles, surfaces and sharpness: the types that calls return and figures draw.

Metrics are indexed by split and name, ``found.curve.metrics["train"]["loss"]``, and so are their
summaries, ``found.curve.barriers["train"]["loss"].over_max``. The types hold numpy arrays, computed
by `mcjax.analysis`.

**Files.** `Profile`, `Surface` and `Sharpness` have ``to_arrays()`` and ``from_arrays(arrays)``.
The keys of ``curve.npz``, ``surface.npz`` and ``sharpness.npz`` are defined only here. Reading and
rewriting a file changes no key, dtype or value: unknown arrays, and parts of an incomplete summary,
are kept in ``extra``.

>>> losses = np.array([0.1, 0.4, 0.2])
>>> curve = PathMetrics({"train": {"loss": losses}})
>>> found = Profile(np.linspace(0, 1, 3), {"curve": curve})
>>> list(found.to_arrays())
['t', 'curve_train_loss']
>>> Profile.from_arrays(found.to_arrays()).curve.metrics["train"]["loss"]
array([0.1, 0.4, 0.2])
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mcjax.typing import Float, Integer, Num, Shaped

Arrays = dict[str, np.ndarray]
"""The arrays of an ``.npz`` file by key."""

Metrics = dict[str, dict[str, np.ndarray]]
"""``metrics[split][name]``; a mean over the split's examples."""

SPLITS = ("train", "validation", "test")
PATHS = ("curve", "segment")
_Value = TypeVar("_Value")
_NONE: Mapping[str, Any] = {}  # never modified; a mappingproxy could not be pickled


class Heights(NamedTuple):
    """Barrier heights of a path, in units of the loss; zero if the loss never rises.

    Attributes:
      over_max: ``max - max(ends)``, the paper's test: positive if the path crosses a barrier.
      over_mean: ``max - mean(ends)`` (Frankle et al. 2020; Git Re-Basin).
      over_chord: the largest height over the chord between the losses of the two ends.
    """

    over_max: float
    over_mean: float
    over_chord: float


class Means(NamedTuple):
    """Means of a metric along a path, by the trapezoid rule.

    Attributes:
      over_t: with ``t`` uniform on [0, 1].
      over_length: with respect to arc length.
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


class Values(NamedTuple):
    """Metrics of some points.

    Attributes:
      metrics: ``metrics[split][name]``, one entry per point.
      l2: squared norms of the points, if known.
    """

    metrics: Metrics
    l2: Float[np.ndarray, "*points"] | None = None

    @classmethod
    def joined(cls, blocks: Sequence[Metrics]) -> "Values":
        """Concatenates the blocks of `mcjax.engine.evaluation.Evaluator.blocks`."""
        found = {
            split: {name: np.concatenate([b[split][name] for b in blocks]) for name in metrics}
            for split, metrics in blocks[0].items()
        }
        return cls(found, found.pop("params")["l2"])

    def to_arrays(self) -> Arrays:
        """``SPLIT_METRIC`` and ``l2``."""
        return _values_arrays(self, "")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Values":
        """Inverts `to_arrays` for a list of points."""
        left = dict(arrays)
        return cls(_take_metrics(left, "", 1), left.pop("l2", None))


class PathMetrics(NamedTuple):
    """Metrics at P points along a curve or segment.

    Attributes:
      metrics: ``metrics[split][name]`` of shape ``[P]``.
      l2: squared norms ``||phi(t)||^2``.
      arc_length: arc length from the start, in units of weight distance.
      means: ``means[split][name]``.
      barriers: ``barriers[split][name]`` of every loss.
      slopes: ``slopes[split][name]`` of every loss, if measured.
    """

    metrics: Metrics
    l2: Float[np.ndarray, " P"] | None = None
    arc_length: Float[np.ndarray, " P"] | None = None
    means: Mapping[str, Mapping[str, Means]] = _NONE
    barriers: Mapping[str, Mapping[str, Heights]] = _NONE
    slopes: Mapping[str, Mapping[str, Slopes]] = _NONE


class Profile(NamedTuple):
    """Metrics along a curve and along the segment between its ends: ``curve.npz``.

    Attributes:
      t: increasing from 0 to 1.
      paths: metrics of ``curve`` and ``segment``, or of one of them.
      extra: other arrays of the file, by key.
    """

    t: Float[np.ndarray, " P"]
    paths: dict[str, PathMetrics]
    extra: Mapping[str, np.ndarray] = _NONE

    @property
    def curve(self) -> PathMetrics:
        """Metrics along the curve; raises KeyError if only a segment was measured."""
        return self.paths["curve"]

    @property
    def segment(self) -> PathMetrics:
        """Metrics along the segment; raises KeyError if it was not measured."""
        return self.paths["segment"]

    def to_arrays(self) -> Arrays:
        """``t``, ``PATH_SPLIT_METRIC`` and its summaries, such as ``..._over_max``."""
        arrays = {"t": self.t}
        for path, found in self.paths.items():
            arrays |= _path_arrays(found, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Profile":
        """Inverts `to_arrays`.

        Raises:
          ValueError: there is no ``t``.
        """
        left = _required(arrays, ("t",), "a profile")
        found = {path: _take_path(left, f"{path}_") for path in PATHS}
        paths = {path: one for path, one in found.items() if one is not None}
        return cls(left.pop("t"), paths, left)


class Points(NamedTuple):
    """The points that span a plane, or those of them that are networks.

    Attributes:
      xy: coordinates, in units of weight distance.
      name: names for figures.
      metrics: ``metrics[split][name]`` of shape ``[N]``.
      l2: squared norms.
    """

    xy: Num[np.ndarray, "N 2"]
    name: Shaped[np.ndarray, " N"]
    metrics: Metrics
    l2: Float[np.ndarray, " N"] | None = None


class CurveOnPlane(NamedTuple):
    """A curve with K control points, projected onto a plane at P points.

    Attributes:
      t: parameters of the points.
      xy: affine projections of ``phi(t)``.
      distance: weight distances of ``phi(t)`` from the plane.
      control_xy: affine projections of the control points.
    """

    t: Float[np.ndarray, " P"]
    xy: Float[np.ndarray, "P 2"]
    distance: Float[np.ndarray, " P"]
    control_xy: Float[np.ndarray, "K 2"]


class Iterates(NamedTuple):
    """N iterates of a training run, projected onto a plane.

    Attributes:
      xy: affine projections.
      distance: weight distances from the plane.
      epoch: epochs of the iterates.
      metrics: ``metrics[split][name]`` of shape ``[N]``, at the iterates themselves.
      l2: squared norms.
      affine: coefficients of the affine projections.
      span: coefficients of the projections onto the span (A.2).
      span_distance: weight distances from the span.
      variance_share: share of the iterates' variance that lies in the plane.
      name: names for tables and pages.
    """

    xy: Float[np.ndarray, "N 2"]
    distance: Float[np.ndarray, " N"]
    epoch: Integer[np.ndarray, " N"]
    metrics: Metrics
    l2: Float[np.ndarray, " N"] | None = None
    affine: Float[np.ndarray, "N 3"] | None = None
    span: Float[np.ndarray, "N 3"] | None = None
    span_distance: Float[np.ndarray, " N"] | None = None
    variance_share: float | None = None
    name: Shaped[np.ndarray, " N"] | None = None


class Directions(NamedTuple):
    """The two directions of a surface around one point.

    Attributes:
      norm: lengths, in units of weight distance.
      explained_variance: variances along principal directions.
      explained_variance_ratio: their shares of the total variance.
      eigenvalues: eigenvalues of eigenvectors of the Hessian.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
    """

    norm: Float[np.ndarray, "2"]
    explained_variance: Float[np.ndarray, "2"] | None = None
    explained_variance_ratio: Float[np.ndarray, "2"] | None = None
    eigenvalues: Float[np.ndarray, "2"] | None = None
    residuals: Float[np.ndarray, "2"] | None = None


class Surface(NamedTuple):
    """Metrics on a grid of a plane, and what is drawn on it: ``surface.npz``.

    Attributes:
      x: coordinates of the columns, in units of weight distance from the first point.
      y: coordinates of the rows, likewise.
      metrics: ``metrics[split][name]`` of shape ``[H, W]``.
      points: the three points of the plane.
      l2: squared norms.
      curve: a curve, projected onto the plane.
      iterates: iterates of a run, projected onto the plane.
      directions: for a surface around its first point, whose other two points are the tips of the
        directions.
      extra: other arrays of the file, by key.
    """

    x: Float[np.ndarray, " W"]
    y: Float[np.ndarray, " H"]
    metrics: Metrics
    points: Points
    l2: Float[np.ndarray, "H W"] | None = None
    curve: CurveOnPlane | None = None
    iterates: Iterates | None = None
    directions: Directions | None = None
    extra: Mapping[str, np.ndarray] = _NONE

    @property
    def networks(self) -> Points:
        """The points that are networks: all, or only the first for a surface along directions."""
        count = len(self.points.xy) if self.directions is None else 1
        metrics = {
            split: {name: values[:count] for name, values in found.items()}
            for split, found in self.points.metrics.items()
        }
        l2 = self.points.l2
        return Points(
            self.points.xy[:count],
            self.points.name[:count],
            metrics,
            None if l2 is None else l2[:count],
        )

    def to_arrays(self) -> Arrays:
        """``x``, ``y``, ``SPLIT_METRIC`` and what is drawn on them, such as ``iterate_xy``."""
        arrays = _values_arrays(self.points, "point_")
        arrays |= {"point_xy": self.points.xy, "point_name": self.points.name}
        if self.directions is not None:
            found = {k: x for k, x in self.directions._asdict().items() if x is not None}
            arrays |= {k: x for k, x in found.items() if k != "norm"}
            arrays["direction_norm"] = found["norm"]
        if self.curve is not None:
            arrays |= {f"curve_{k}": x for k, x in self.curve._asdict().items()}
        if self.iterates is not None:
            arrays |= _iterate_arrays(self.iterates)
        grid = _values_arrays(Values(self.metrics, self.l2), "")
        return {**arrays, "x": self.x, "y": self.y, **grid, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Surface":
        """Inverts `to_arrays`.

        Raises:
          ValueError: the grid, or part of what is drawn on it, is missing.
        """
        left = _required(arrays, ("x", "y", "point_xy", "point_name"), "a surface")
        points = Points(
            left.pop("point_xy"),
            left.pop("point_name"),
            _take_metrics(left, "point_", 1),
            left.pop("point_l2", None),
        )
        curve = None
        if "curve_xy" in left:
            _required(left, [f"curve_{k}" for k in CurveOnPlane._fields], "a surface's curve")
            curve = CurveOnPlane(*(left.pop(f"curve_{k}") for k in CurveOnPlane._fields))
        directions = None
        if "direction_norm" in left:
            others = {k: left.pop(k) for k in Directions._fields[1:] if k in left}
            directions = Directions(left.pop("direction_norm"), **others)
        return cls(
            left.pop("x"),
            left.pop("y"),
            _take_metrics(left, "", 2),
            points,
            left.pop("l2", None),
            curve,
            _take_iterates(left),
            directions,
            left,
        )


class PointSharpness(NamedTuple):
    """Sharpness at a point: the Hessian of the training loss.

    Attributes:
      eigenvalues: the k largest, in decreasing order.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
      loss: the training loss at the point.
      trace: estimated sum of all eigenvalues; NaN if not estimated.
      trace_error: standard error of the estimate.
    """

    eigenvalues: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    loss: float
    trace: float = np.nan
    trace_error: float = np.nan

    def to_arrays(self) -> Arrays:
        """``eigenvalues``, ``residuals`` and ``train_loss``, for one point of a `Sharpness`."""
        return {
            "eigenvalues": self.eigenvalues,
            "residuals": self.residuals,
            "train_loss": np.asarray(self.loss),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PointSharpness":
        """Inverts `to_arrays`, except for the trace."""
        left = _required(arrays, _SHARPNESS, "the sharpness of a point")
        eigenvalues, residuals, loss = (left[key] for key in _SHARPNESS)
        return cls(eigenvalues, residuals, float(loss))


class Sharpness(NamedTuple):
    """Sharpness along a curve: ``sharpness.npz``.

    Attributes:
      t: increasing from 0 to 1.
      eigenvalues: the k largest, in decreasing order; NaN where none was found.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
      loss: the training loss.
      extra: other arrays of the file, by key.
    """

    t: Float[np.ndarray, " P"]
    eigenvalues: Float[np.ndarray, "P k"]
    residuals: Float[np.ndarray, "P k"]
    loss: Float[np.ndarray, " P"]
    extra: Mapping[str, np.ndarray] = _NONE

    @classmethod
    def along(cls, t: Float[np.ndarray, " P"], points: Iterable[PointSharpness]) -> "Sharpness":
        """Stacks the sharpness of points in the order of ``t``."""
        rows = [point.to_arrays() for point in points]
        eigenvalues, residuals, loss = (np.stack([r[key] for r in rows]) for key in _SHARPNESS)
        return cls(t, eigenvalues, residuals, loss)

    def to_arrays(self) -> Arrays:
        """``t``, ``eigenvalues``, ``residuals`` and ``train_loss``."""
        own = dict(zip(_SHARPNESS, self[1:4], strict=True))
        return {"t": self.t, **own, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Sharpness":
        """Inverts `to_arrays`.

        Raises:
          ValueError: an array is missing.
        """
        left = _required(arrays, ("t", *_SHARPNESS), "sharpness")
        t, eigenvalues, residuals, loss = (left.pop(key) for key in ("t", *_SHARPNESS))
        return cls(t, eigenvalues, residuals, loss, left)


_SHARPNESS = ("eigenvalues", "residuals", "train_loss")


def named(metrics: Mapping[str, Mapping[str, _Value]]) -> dict[str, _Value]:
    """Flattens metrics to the names in flags, figures and files, such as ``train_loss``.

    >>> list(named({"train": {"loss": np.ones(3)}, "validation": {"loss": np.ones(3)}}))
    ['train_loss', 'validation_loss']
    """
    return {f"{split}_{name}": x for split, found in metrics.items() for name, x in found.items()}


def unnamed(by_name: Mapping[str, _Value]) -> dict[str, dict[str, _Value]]:
    """Inverts `named`: returns ``metrics[split][name]``."""
    metrics: dict[str, dict[str, _Value]] = {}
    for key, value in by_name.items():
        split, _, name = key.partition("_")
        metrics.setdefault(split, {})[name] = value
    return metrics


def _required(arrays: Mapping[str, np.ndarray], keys: Sequence[str], what: str) -> Arrays:
    """Copies the arrays; raises ValueError if a required key is missing."""
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{what} needs {', '.join(keys)}; {', '.join(missing)} is missing")
    return dict(arrays)


def _values_arrays(values: Values | PathMetrics | Points | Iterates, prefix: str) -> Arrays:
    """Metrics and squared norms by key, with a prefix."""
    arrays = {f"{prefix}{key}": x for key, x in named(values.metrics).items()}
    return arrays if values.l2 is None else arrays | {f"{prefix}l2": values.l2}


def _take_metrics(left: Arrays, prefix: str, ndim: int) -> Metrics:
    """Removes the arrays ``PREFIX SPLIT_METRIC`` of ``ndim`` axes from ``left``."""
    starts = tuple(f"{prefix}{split}_" for split in SPLITS)
    keys = [k for k, x in left.items() if k.startswith(starts) and np.ndim(x) == ndim]
    return unnamed({key.removeprefix(prefix): left.pop(key) for key in keys})


def _path_arrays(path: PathMetrics, prefix: str) -> Arrays:
    arrays = _values_arrays(path, prefix)
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
    metrics = _take_metrics(left, prefix, 1)
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


def _iterate_arrays(iterates: Iterates) -> Arrays:
    found = {k: x for k, x in iterates._asdict().items() if x is not None}
    first = {k: found[k] for k in _PROJECTED if k in found}
    last = {k: np.asarray(found[k]) for k in ("epoch", "variance_share", "name") if k in found}
    arrays = {f"iterate_{k}": x for k, x in first.items()} | _values_arrays(iterates, "iterate_")
    return arrays | {f"iterate_{k}": x for k, x in last.items()}


_PROJECTED = ("xy", "distance", "affine", "span", "span_distance")


def _take_iterates(left: Arrays) -> Iterates | None:
    if "iterate_xy" not in left:
        return None
    required = ("xy", "distance", "epoch")
    _required(left, [f"iterate_{k}" for k in required], "a surface's iterates")
    taken: dict[str, Any] = {k: left.pop(f"iterate_{k}") for k in required}
    taken["metrics"] = _take_metrics(left, "iterate_", 1)
    others = [k for k in Iterates._fields[4:] if f"iterate_{k}" in left]
    taken |= {k: left.pop(f"iterate_{k}") for k in others}
    if "variance_share" in taken:
        taken["variance_share"] = taken["variance_share"][()]
    return Iterates(**taken)
