"""Surfaces: metrics on a grid of a plane, and what is drawn on it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mcjax.results.metrics import NONE, Arrays, Metrics, part, require, take_metrics, values_arrays
from mcjax.typing import Bool, Float, Integer, Num, Shaped


class Points(NamedTuple):
    """The points that span a plane, or those of them that are networks.

    Attributes:
      xy: coordinates, in units of weight distance.
      name: names for figures.
      metrics: ``metrics[split][name]`` of shape ``[N]``.
      l2: squared norms.
      errors: standard errors of ``metrics``, for those on a random sample of the examples.

    >>> found = Points(np.array([[0.0, 0.0], [4.0, 0.0]]), np.array(["a", "b"]), {})
    >>> float(np.linalg.norm(found.xy[1] - found.xy[0]))
    4.0
    """

    xy: Num[np.ndarray, "N 2"]
    name: Shaped[np.ndarray, " N"]
    metrics: Metrics
    l2: Float[np.ndarray, " N"] | None = None
    errors: Metrics | None = None


class CurveOnPlane(NamedTuple):
    """A curve with K control points, projected onto a plane at P points.

    Attributes:
      t: parameters of the points.
      xy: affine projections of ``phi(t)``.
      distance: weight distances of ``phi(t)`` from the plane.
      control_xy: affine projections of the control points.

    >>> ends = np.array([[0.0, 0.0], [4.0, 0.0]])
    >>> found = CurveOnPlane(np.array([0.5]), np.array([[2.0, 1.0]]), np.array([0.3]), ends)
    >>> float(found.distance.max())
    0.3
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

    >>> metrics = {"train": {"loss": np.array([2.3, 0.1])}}
    >>> found = Iterates(np.zeros((2, 2)), np.array([3.0, 0.0]), np.array([0, 10]), metrics)
    >>> found.epoch[found.distance == 0]  # on the plane
    array([10])
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

    >>> Directions(norm=np.array([2.0, 1.0]), eigenvalues=np.array([9.0, 4.0])).eigenvalues
    array([9., 4.])
    """

    norm: Float[np.ndarray, "2"]
    explained_variance: Float[np.ndarray, "2"] | None = None
    explained_variance_ratio: Float[np.ndarray, "2"] | None = None
    eigenvalues: Float[np.ndarray, "2"] | None = None
    residuals: Float[np.ndarray, "2"] | None = None


class Refinement(NamedTuple):
    """Where a surface was evaluated; elsewhere it is interpolated.

    Attributes:
      tolerance: largest allowed miss, as a share of the range that a figure shows.
      evaluated: whether each point of the grid was evaluated.
      misses: ``misses[split][name]`` of shape ``[C]``: by how much interpolation missed the values
        of C points that were drawn at random among those not evaluated before.

    >>> found = Refinement(0.02, np.array([[True, False], [True, True]]), {})
    >>> float(found.evaluated.mean())  # the share that was evaluated
    0.75
    """

    tolerance: float
    evaluated: Bool[np.ndarray, "H W"]
    misses: Metrics


class Sampling(NamedTuple):
    """The random sample of examples that a surface was measured on.

    Attributes:
      examples: how many of each split were measured, and how many there are.
      errors: standard errors of the surface's ``metrics``: zero where all examples were measured,
        NaN where the metrics are interpolated.
      stop_above: points with losses above it were measured on the sample alone; None: all were.

    >>> found = Sampling({"train": (2000, 60000)}, {"train": {"loss": np.array([[0.01, 0.2]])}})
    >>> found.errors["train"]["loss"].max().item()
    0.2
    """

    examples: dict[str, tuple[int, int]]
    errors: Metrics
    stop_above: float | None = None


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
      refinement: for a surface of which only a part was evaluated.
      sampling: for a surface that was measured on a random sample of the examples.
      extra: other arrays of the file, by key.

    >>> points = Points(np.array([[0.0, 0], [4, 0], [1, 3]]), np.array(["a", "b", "c"]), {})
    >>> losses = np.array([[0.1, 0.5, 0.1], [0.7, 0.9, 0.8]])
    >>> x, y = np.array([0.0, 2, 4]), np.array([0.0, 3])
    >>> found = Surface(x, y, {"train": {"loss": losses}}, points)
    >>> row, column = np.unravel_index(losses.argmax(), losses.shape)
    >>> float(found.x[column]), float(found.y[row])
    (2.0, 3.0)
    """

    x: Float[np.ndarray, " W"]
    y: Float[np.ndarray, " H"]
    metrics: Metrics
    points: Points
    l2: Float[np.ndarray, "H W"] | None = None
    curve: CurveOnPlane | None = None
    iterates: Iterates | None = None
    directions: Directions | None = None
    refinement: Refinement | None = None
    sampling: Sampling | None = None
    extra: Mapping[str, np.ndarray] = NONE

    @property
    def networks(self) -> Points:
        """The points that are networks, for a surface along directions only the first one.

        >>> names = np.array(["a", "first", "second"])
        >>> points = Points(np.array([[0.0, 0], [4, 0], [0, 3]]), names, {})
        >>> around = Directions(norm=np.array([4.0, 3.0]))
        >>> found = Surface(np.zeros(0), np.zeros(0), {}, points, directions=around)
        >>> found.networks.name.tolist()
        ['a']
        """
        first = slice(len(self.points.xy) if self.directions is None else 1)
        l2, errors = self.points.l2, self.points.errors
        return Points(
            self.points.xy[first],
            self.points.name[first],
            part(self.points.metrics, first),
            None if l2 is None else l2[first],
            None if errors is None else part(errors, first),
        )

    def to_arrays(self) -> Arrays:
        """``x``, ``y``, ``SPLIT_METRIC`` and what is drawn on them, such as ``iterate_xy``.

        >>> points = Points(np.array([[0.0, 0], [4, 0], [1, 3]]), np.array(["a", "b", "c"]), {})
        >>> found = Surface(np.zeros(3), np.zeros(2), {"train": {"loss": np.zeros((2, 3))}}, points)
        >>> list(found.to_arrays())
        ['point_xy', 'point_name', 'x', 'y', 'train_loss']
        """
        own = self.points.metrics, self.points.l2, self.points.errors
        arrays = values_arrays(*own, prefix="point_")
        arrays |= {"point_xy": self.points.xy, "point_name": self.points.name}
        if self.directions is not None:
            found = {k: x for k, x in self.directions._asdict().items() if x is not None}
            arrays |= {k: x for k, x in found.items() if k != "norm"}
            arrays["direction_norm"] = found["norm"]
        if self.curve is not None:
            arrays |= {f"curve_{k}": x for k, x in self.curve._asdict().items()}
        if self.iterates is not None:
            arrays |= _iterate_arrays(self.iterates)
        if self.refinement is not None:
            tolerance, evaluated, misses = self.refinement
            arrays |= {"refined_tolerance": np.array(tolerance), "refined_evaluated": evaluated}
            arrays |= values_arrays(misses, prefix="refined_miss_")
        errors = None
        if self.sampling is not None:
            errors = self.sampling.errors
            arrays["sampled_splits"] = np.array(list(self.sampling.examples))
            arrays["sampled_examples"] = np.array(list(self.sampling.examples.values()))
            if self.sampling.stop_above is not None:
                arrays["sampled_stop_above"] = np.array(self.sampling.stop_above)
        grid = values_arrays(self.metrics, self.l2, errors, prefix="")
        return {**arrays, "x": self.x, "y": self.y, **grid, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Surface":
        """Inverts `to_arrays`.

        Raises:
          ValueError: the grid, or part of what is drawn on it, is missing.

        >>> Surface.from_arrays({"x": np.zeros(3), "y": np.zeros(2)})
        Traceback (most recent call last):
        ValueError: a surface needs x, y, point_xy, point_name; point_xy, point_name is ...
        """
        left = require(arrays, ("x", "y", "point_xy", "point_name"), "a surface")
        points = Points(
            left.pop("point_xy"),
            left.pop("point_name"),
            take_metrics(left, "point_", 1),
            left.pop("point_l2", None),
            take_metrics(left, "point_error_", 1) or None,
        )
        curve = None
        if "curve_xy" in left:
            require(left, [f"curve_{k}" for k in CurveOnPlane._fields], "a surface's curve")
            curve = CurveOnPlane(*(left.pop(f"curve_{k}") for k in CurveOnPlane._fields))
        directions = None
        if "direction_norm" in left:
            others = {k: left.pop(k) for k in Directions._fields[1:] if k in left}
            directions = Directions(left.pop("direction_norm"), **others)
        refinement = None
        if "refined_evaluated" in left:
            require(left, ["refined_tolerance"], "an interpolated surface")
            refinement = Refinement(
                float(left.pop("refined_tolerance")),
                left.pop("refined_evaluated"),
                take_metrics(left, "refined_miss_", 1),
            )
        sampling = None
        if "sampled_examples" in left:
            require(left, ["sampled_splits"], "a surface of a sample")
            counts = left.pop("sampled_examples").tolist()
            splits = left.pop("sampled_splits").tolist()
            examples = {name: (n, whole) for name, (n, whole) in zip(splits, counts, strict=True)}
            above = left.pop("sampled_stop_above", None)
            errors = take_metrics(left, "error_", 2)
            sampling = Sampling(examples, errors, None if above is None else float(above))
        return cls(
            left.pop("x"),
            left.pop("y"),
            take_metrics(left, "", 2),
            points,
            left.pop("l2", None),
            curve,
            _take_iterates(left),
            directions,
            refinement,
            sampling,
            left,
        )


def _iterate_arrays(iterates: Iterates) -> Arrays:
    found = {k: x for k, x in iterates._asdict().items() if x is not None}
    first = {k: found[k] for k in _PROJECTED if k in found}
    last = {k: np.asarray(found[k]) for k in ("epoch", "variance_share", "name") if k in found}
    arrays = {f"iterate_{k}": x for k, x in first.items()} | values_arrays(
        iterates.metrics, iterates.l2, prefix="iterate_"
    )
    return arrays | {f"iterate_{k}": x for k, x in last.items()}


_PROJECTED = ("xy", "distance", "affine", "span", "span_distance")


def _take_iterates(left: Arrays) -> Iterates | None:
    if "iterate_xy" not in left:
        return None
    required = ("xy", "distance", "epoch")
    require(left, [f"iterate_{k}" for k in required], "a surface's iterates")
    taken: dict[str, Any] = {k: left.pop(f"iterate_{k}") for k in required}
    taken["metrics"] = take_metrics(left, "iterate_", 1)
    others = [k for k in Iterates._fields[4:] if f"iterate_{k}" in left]
    taken |= {k: left.pop(f"iterate_{k}") for k in others}
    if "variance_share" in taken:
        taken["variance_share"] = taken["variance_share"][()]
    return Iterates(**taken)
