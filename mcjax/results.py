"""What profiles, surfaces and sharpness are: the types that calls return and figures draw.

Every metric is found by its split and its name, ``found.curve.metrics["train"]["loss"]``, and so is
what sums it up: ``found.curve.barriers["train"]["loss"].over_max``. Nothing here computes: the
types are made by `mcjax.analysis` and hold numpy arrays.

**Files.** `Profile`, `Surface` and `Sharpness` have ``to_arrays()`` and ``from_arrays(arrays)``,
which alone know the keys of ``curve.npz``, ``surface.npz`` and ``sharpness.npz``. Reading and
writing a file again changes no key, dtype or value: an array of an unknown name, or part of a
summary whose other parts are missing, is kept in ``extra``.

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

Arrays = dict[str, np.ndarray]
Metrics = dict[str, dict[str, np.ndarray]]
"""``metrics[split][name]``; a mean over the split's examples."""

SPLITS = ("train", "validation", "test")
PATHS = ("curve", "segment")
ALIGNED_PATHS = ("before", "after", "repaired")
"""Segments to an end: as it was, aligned with the start, and with REPAIR: ``align.npz``."""
_Value = TypeVar("_Value")
_NONE: Mapping[str, Any] = {}  # read only: a mappingproxy could not be pickled


class Heights(NamedTuple):
    """Heights of the highest point of a path, in units of the loss; zero where nothing rises.

    Attributes:
      over_max: ``max - max(ends)``, the paper's test: a barrier is crossed if it is above zero.
      over_mean: ``max - mean(ends)`` (Frankle et al. 2020; Git Re-Basin).
      over_chord: the largest height over the straight chord between the two ends' losses.
    """

    over_max: float
    over_mean: float
    over_chord: float


class Means(NamedTuple):
    """Means of a metric along a path, by the trapezoid rule.

    Attributes:
      over_t: over uniform ``t``.
      over_length: over the path's length.
    """

    over_t: float
    over_length: float


class Slopes(NamedTuple):
    """Derivatives of a loss along a path at its ends, into it, per unit of weight distance.

    Attributes:
      start: at ``t = 0``.
      start_error: how far it may be off.
      end: at ``t = 1``.
      end_error: how far it may be off.
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
"""By field of `PathMetrics`: its type, and what the file's keys of its fields end with."""


class Values(NamedTuple):
    """Metrics of some points.

    Attributes:
      metrics: ``metrics[split][name]``, an entry for each point.
      l2: likewise the points' squared norms, if they are known.
    """

    metrics: Metrics
    l2: np.ndarray | None = None

    @classmethod
    def joined(cls, blocks: Sequence[Metrics]) -> "Values":
        """What `mcjax.engine.evaluation.Evaluator.blocks` gives, one block after another."""
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
        """Reads what `to_arrays` gives of points in a row."""
        left = dict(arrays)
        return cls(_take_metrics(left, "", 1), left.pop("l2", None))


class PathMetrics(NamedTuple):
    """Metrics along a curve or segment of P points.

    Attributes:
      metrics: ``metrics[split][name]``, ``[P]``.
      l2: ``[P]``, the squared norms ``||phi(t)||^2``.
      arc_length: ``[P]``, from the start, in units of weight distance.
      means: ``means[split][name]``.
      barriers: ``barriers[split][name]`` of every loss.
      slopes: ``slopes[split][name]`` of every loss, where they were measured.
    """

    metrics: Metrics
    l2: np.ndarray | None = None
    arc_length: np.ndarray | None = None
    means: Mapping[str, Mapping[str, Means]] = _NONE
    barriers: Mapping[str, Mapping[str, Heights]] = _NONE
    slopes: Mapping[str, Mapping[str, Slopes]] = _NONE


class Profile(NamedTuple):
    """Metrics along a curve and along the segment between its ends: ``curve.npz``.

    Attributes:
      t: ``[P]``, rising from 0 to 1.
      paths: what was measured on each of ``curve`` and ``segment``, or of `ALIGNED_PATHS`.
      extra: what else the file holds, by its key.
    """

    t: np.ndarray
    paths: dict[str, PathMetrics]
    extra: Mapping[str, np.ndarray] = _NONE

    @property
    def curve(self) -> PathMetrics:
        """Along the curve; raises KeyError where only a segment was measured."""
        return self.paths["curve"]

    @property
    def segment(self) -> PathMetrics:
        """Along the segment; raises KeyError where it was not measured."""
        return self.paths["segment"]

    def to_arrays(self) -> Arrays:
        """``t``, ``PATH_SPLIT_METRIC`` and what sums it up, such as ``..._over_max``."""
        arrays = {"t": self.t}
        for path, found in self.paths.items():
            arrays |= _path_arrays(found, f"{path}_")
        return {**arrays, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Profile":
        """Reads what `to_arrays` gives.

        Raises:
          ValueError: there is no ``t``.
        """
        left = _required(arrays, ("t",), "a profile")
        found = {path: _take_path(left, f"{path}_") for path in (*PATHS, *ALIGNED_PATHS)}
        paths = {path: one for path, one in found.items() if one is not None}
        return cls(left.pop("t"), paths, left)


class Points(NamedTuple):
    """The three points that span a plane.

    Attributes:
      xy: ``[3, 2]``, where they are, in units of weight distance.
      name: ``[3]``, for figures.
      metrics: ``metrics[split][name]``, ``[3]``, their own.
      l2: ``[3]``, their squared norms.
    """

    xy: np.ndarray
    name: np.ndarray
    metrics: Metrics
    l2: np.ndarray | None = None


class CurveOnPlane(NamedTuple):
    """A curve of K control points seen from a plane.

    Attributes:
      t: ``[P]``.
      xy: ``[P, 2]``, the affine projection of ``phi(t)``.
      distance: ``[P]``, weight distance of ``phi(t)`` from the plane.
      control_xy: ``[K, 2]``, of the control points.
    """

    t: np.ndarray
    xy: np.ndarray
    distance: np.ndarray
    control_xy: np.ndarray


class Iterates(NamedTuple):
    """N iterates of a training run seen from a plane.

    Attributes:
      xy: ``[N, 2]``, the affine projections.
      distance: ``[N]``, weight distances from the plane.
      epoch: ``[N]``.
      metrics: ``metrics[split][name]``, ``[N]``, their own.
      l2: ``[N]``, their squared norms.
      affine: ``[N, 3]``, coefficients of the affine projections.
      span: ``[N, 3]``, coefficients of the projections onto the span (A.2).
      span_distance: ``[N]``, weight distances from the span.
      variance_share: the share of their variance that lies in the plane.
      name: ``[N]``, for tables and pages.
    """

    xy: np.ndarray
    distance: np.ndarray
    epoch: np.ndarray
    metrics: Metrics
    l2: np.ndarray | None = None
    affine: np.ndarray | None = None
    span: np.ndarray | None = None
    span_distance: np.ndarray | None = None
    variance_share: float | None = None
    name: np.ndarray | None = None


class Directions(NamedTuple):
    """The two directions of a surface around one point.

    Attributes:
      norm: ``[2]``, their lengths, in units of weight distance.
      explained_variance: ``[2]``, of principal directions.
      explained_variance_ratio: ``[2]``, of principal directions.
      eigenvalues: ``[2]``, of eigenvectors of the Hessian.
      residuals: ``[2]``, of eigenvectors: an eigenvalue lies so close to each.
    """

    norm: np.ndarray
    explained_variance: np.ndarray | None = None
    explained_variance_ratio: np.ndarray | None = None
    eigenvalues: np.ndarray | None = None
    residuals: np.ndarray | None = None


class Surface(NamedTuple):
    """Metrics on a plane, and what is drawn on it: ``surface.npz``.

    Attributes:
      x: ``[W]``, in units of weight distance from the first point.
      y: ``[H]``, likewise.
      metrics: ``metrics[split][name]``, ``[H, W]``.
      points: the three points of the plane.
      l2: ``[H, W]``, the squared norms.
      curve: a curve seen from the plane.
      iterates: iterates of a run seen from the plane.
      directions: of a surface around its first point; the other two points are then the tips of
        the directions.
      extra: what else the file holds, by its key.
    """

    x: np.ndarray
    y: np.ndarray
    metrics: Metrics
    points: Points
    l2: np.ndarray | None = None
    curve: CurveOnPlane | None = None
    iterates: Iterates | None = None
    directions: Directions | None = None
    extra: Mapping[str, np.ndarray] = _NONE

    @property
    def networks(self) -> Points:
        """The points that are networks: all, or the first of a surface along directions."""
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
        """``x``, ``y``, ``SPLIT_METRIC`` and what is drawn, such as ``iterate_xy``."""
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
        """Reads what `to_arrays` gives.

        Raises:
          ValueError: there is no grid, or part of what is drawn on it is missing.
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
    """The Hessian of the training loss at a point.

    Attributes:
      eigenvalues: ``[k]``, the largest, falling.
      residuals: ``[k]``, an eigenvalue lies so close to each.
      loss: the training loss at the point.
      trace: the sum of all eigenvalues, estimated; NaN where it was not.
      trace_error: the estimate's standard error.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    loss: float
    trace: float = np.nan
    trace_error: float = np.nan

    def to_arrays(self) -> Arrays:
        """``eigenvalues``, ``residuals`` and ``train_loss``: a point of a `Sharpness`."""
        return {
            "eigenvalues": self.eigenvalues,
            "residuals": self.residuals,
            "train_loss": np.asarray(self.loss),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PointSharpness":
        """Reads what `to_arrays` gives."""
        left = _required(arrays, _SHARPNESS, "the sharpness of a point")
        eigenvalues, residuals, loss = (left[key] for key in _SHARPNESS)
        return cls(eigenvalues, residuals, float(loss))


class Sharpness(NamedTuple):
    """The Hessian of the training loss along a curve: ``sharpness.npz``.

    Attributes:
      t: ``[P]``, rising from 0 to 1.
      eigenvalues: ``[P, k]``, the largest, falling; NaN where none was found.
      residuals: ``[P, k]``, an eigenvalue lies so close to each.
      loss: ``[P]``, the training loss.
      extra: what else the file holds, by its key.
    """

    t: np.ndarray
    eigenvalues: np.ndarray
    residuals: np.ndarray
    loss: np.ndarray
    extra: Mapping[str, np.ndarray] = _NONE

    @classmethod
    def along(cls, t: np.ndarray, points: Iterable[PointSharpness]) -> "Sharpness":
        """Of points in the order of ``t``."""
        rows = [point.to_arrays() for point in points]
        eigenvalues, residuals, loss = (np.stack([r[key] for r in rows]) for key in _SHARPNESS)
        return cls(t, eigenvalues, residuals, loss)

    def to_arrays(self) -> Arrays:
        """``t``, ``eigenvalues``, ``residuals`` and ``train_loss``."""
        own = dict(zip(_SHARPNESS, self[1:4], strict=True))
        return {"t": self.t, **own, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Sharpness":
        """Reads what `to_arrays` gives.

        Raises:
          ValueError: an array is missing.
        """
        left = _required(arrays, ("t", *_SHARPNESS), "sharpness")
        t, eigenvalues, residuals, loss = (left.pop(key) for key in ("t", *_SHARPNESS))
        return cls(t, eigenvalues, residuals, loss, left)


_SHARPNESS = ("eigenvalues", "residuals", "train_loss")


def named(metrics: Mapping[str, Mapping[str, _Value]]) -> dict[str, _Value]:
    """Metrics by the names that flags, figures and files use, such as ``train_loss``.

    >>> list(named({"train": {"loss": np.ones(3)}, "validation": {"loss": np.ones(3)}}))
    ['train_loss', 'validation_loss']
    """
    return {f"{split}_{name}": x for split, found in metrics.items() for name, x in found.items()}


def unnamed(by_name: Mapping[str, _Value]) -> dict[str, dict[str, _Value]]:
    """``metrics[split][name]`` of metrics by the names that `named` gives."""
    metrics: dict[str, dict[str, _Value]] = {}
    for key, value in by_name.items():
        split, _, name = key.partition("_")
        metrics.setdefault(split, {})[name] = value
    return metrics


def _required(arrays: Mapping[str, np.ndarray], keys: Sequence[str], what: str) -> Arrays:
    """A copy of the arrays; raises ValueError where some are missing."""
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{what} needs {', '.join(keys)}; {', '.join(missing)} is missing")
    return dict(arrays)


def _values_arrays(values: Values | PathMetrics | Points | Iterates, prefix: str) -> Arrays:
    """The keys of metrics and squared norms behind a prefix."""
    arrays = {f"{prefix}{key}": x for key, x in named(values.metrics).items()}
    return arrays if values.l2 is None else arrays | {f"{prefix}l2": values.l2}


def _take_metrics(left: Arrays, prefix: str, ndim: int) -> Metrics:
    """Takes ``PREFIX SPLIT_METRIC`` of so many axes out of ``left``."""
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
    """Takes all that is known of a path out of ``left``; None where it has no metric."""
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
