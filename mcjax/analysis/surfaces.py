"""Metrics on the plane through three points of weight space (Gotmare et al., 2018, Section 5).

A surface is a grid of points of a `mcjax.planes.Plane`. It is evaluated a row at a time, so memory
does not grow with the grid and each row can be saved as it comes. `mcjax.analysis.projections`
computes what is drawn on it: a curve, or a run's iterates.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mcjax import curves, planes, results
from mcjax.analysis import projections, refinement
from mcjax.engine import evaluation
from mcjax.engine.sampling import Sampled
from mcjax.typing import Float, Int, Num


def surface(
    evaluator: evaluation.Evaluator,
    points: Sequence[Any],
    plane: planes.Plane,
    state: Any,
    names: Sequence[str],
    *,
    curve: tuple[curves.Curve, Sequence[Any]] | None = None,
    run: Iterable[tuple[int, Any]] = (),
    directions: results.Directions | None = None,
) -> results.Surface:
    """A surface without its grid: the three points, and what is drawn on it.

    Args:
      evaluator: for the network and data.
      points: the three points of the plane.
      plane: the plane through them.
      state: the network's state; its batch-norm averages are replaced at every point.
      names: the points' names.
      curve: a curve's family and its control points.
      run: pairs of epoch and parameters, as in `mcjax.analysis.projections.iterates`.
      directions: for a surface around the first point.

    Returns:
      A surface with an empty grid; `filled` adds one.

    >>> from mcjax.analysis import toy
    >>> points = (toy.A, toy.B, toy.BEND)
    >>> plane, controls = planes.plane(points), (toy.A, toy.BEND, toy.B)
    >>> found = surface(toy.evaluator(), points, plane, {}, ["A", "B", "bend"],
    ...                 curve=(curves.bezier(1), controls))
    >>> found.points.xy.round(2).tolist(), found.curve.control_xy.round(2)[1].tolist()
    ([[0.0, 0.0], [5.66, 0.0], [2.83, 2.83]], [2.83, 2.83])
    """
    own = at_points(evaluator, points, state)
    seen = None
    if curve is not None:
        family, control_points = curve
        seen = projections.on_plane(
            plane, points, family, control_points, projections.drawn_t(family)
        )
    return results.Surface(
        np.zeros(0),
        np.zeros(0),
        {},
        results.Points(plane.anchors, np.array(names), *own),
        curve=seen,
        iterates=projections.iterates(evaluator, plane, points, run, state),
        directions=directions,
        sampling=_sampling(evaluator),
    )


def _sampling(evaluator: evaluation.Evaluator) -> results.Sampling | None:
    """The numbers of examples, for an evaluator of a random sample."""
    if not isinstance(evaluator, Sampled):
        return None
    return results.Sampling(evaluator.examples, {}, evaluator.stop_above)


def filled(
    surface: results.Surface,
    x: Num[np.ndarray, " width"],
    y: Num[np.ndarray, " height"],
    rows: Sequence[results.Values],
) -> results.Surface:
    """A surface with a grid.

    Args:
      surface: from `surface`.
      x: the columns' coordinates.
      y: the rows' coordinates.
      rows: the metrics of each row, from `evaluate`.

    >>> points = results.Points(np.zeros((3, 2)), np.array(["A", "B", "C"]), {})
    >>> empty = results.Surface(np.zeros(0), np.zeros(0), {}, points)
    >>> row = results.Values({"train": {"loss": np.array([0.1, 0.2, 0.3])}})
    >>> filled(empty, np.arange(3), np.arange(2), [row, row]).metrics["train"]["loss"].shape
    (2, 3)
    """
    return _with_grid(surface, x, y, results.Values.stacked(rows))


def _with_grid(
    surface: results.Surface, x: np.ndarray, y: np.ndarray, values: results.Values
) -> results.Surface:
    metrics, l2, errors = values
    sampling = surface.sampling and surface.sampling._replace(errors=errors or {})
    return surface._replace(x=x, y=y, metrics=metrics, l2=l2, sampling=sampling)


def refined(
    surface: results.Surface,
    x: Num[np.ndarray, " width"],
    y: Num[np.ndarray, " height"],
    evaluate: Callable[..., results.Values],
    tolerance: float,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Surface:
    """A surface with a grid of which `mcjax.analysis.refinement.refine` evaluates a part.

    Args:
      surface: from `surface`.
      x: the columns' coordinates.
      y: the rows' coordinates.
      evaluate: ``evaluate(xy, progress=f)`` evaluates points given by their coordinates:
        `evaluate_points` with its other arguments.
      tolerance: largest allowed miss, as a share of the range that a figure shows.
      progress: called with the number of points evaluated.

    Raises:
      ValueError: the tolerance is not between 0 and 1.

    >>> points = results.Points(np.zeros((3, 2)), np.array(["A", "B", "C"]), {})
    >>> empty = results.Surface(np.zeros(0), np.zeros(0), {}, points)
    >>> def evaluate(xy, progress):  # a bowl
    ...     return results.Values({"train": {"loss": 1 + (xy**2).sum(axis=1)}})
    >>> t = np.linspace(-1, 1, 21)
    >>> found = refined(empty, t, t, evaluate, tolerance=0.05)
    >>> bool(found.refinement.evaluated.mean() < 0.5), found.metrics["train"]["loss"].shape
    (True, (21, 21))
    """
    before = 0

    def at_indices(at: Int[np.ndarray, "n 2"]) -> results.Values:
        nonlocal before
        xy, done = np.stack([x[at[:, 1]], y[at[:, 0]]], axis=-1), before
        before += len(at)
        return evaluate(xy, progress=lambda more: progress(done + more))

    shape, networks = (len(x), len(y)), surface.networks.metrics
    values, found = refinement.refine(at_indices, shape, tolerance, networks)
    return _with_grid(surface, x, y, values)._replace(refinement=found)


def covering(
    surface: results.Surface,
    plane: planes.Plane,
    shape: tuple[int, int] = (21, 21),
    margin: float = 0.2,
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " height"]]:
    """The `grid` that covers a surface's points and everything drawn on it.

    Args:
      surface: from `surface`.
      plane: the plane.
      shape: as in `grid`.
      margin: likewise.

    Raises:
      ValueError: as `grid`.

    >>> plane = planes.Plane(np.array([[0.0, 0], [4, 0], [1, 3]]), np.eye(2))
    >>> points = results.Points(plane.anchors, np.array(["A", "B", "C"]), {})
    >>> xy = np.array([[2.0, 5]])  # of a curve above the points
    >>> curve = results.CurveOnPlane(np.array([0.5]), xy, np.zeros(1), xy)
    >>> found = results.Surface(np.zeros(0), np.zeros(0), {}, points, curve=curve)
    >>> covering(found, plane, (2, 2), margin=0.0)
    (array([0., 4.]), array([0., 5.]))
    """
    drawn = [one.xy for one in (surface.curve, surface.iterates) if one is not None]
    return grid(plane, shape, margin, np.concatenate([plane.anchors, *drawn]))


def grid(
    plane: planes.Plane,
    shape: tuple[int, int] = (21, 21),
    margin: float = 0.2,
    others: Num[np.ndarray, "n 2"] | None = None,
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " height"]]:
    """Equally spaced coordinates that cover the three points, with a margin around them.

    Args:
      plane: the plane.
      shape: number of points along x and along y, at least 2 each.
      margin: width of the margin, relative to the larger of the two extents, so that a flat
        triangle still gets a surface around it.
      others: further coordinates to cover, such as a curve's and the iterates'.

    Returns:
      ``x`` and ``y``, in units of weight distance.

    Raises:
      ValueError: a side has fewer than 2 points, the margin is negative or not finite, or a point
        to cover is not finite.

    >>> import numpy as np
    >>> plane = planes.Plane(np.array([[0.0, 0], [4, 0], [1, 3]]), np.eye(2))
    >>> grid(plane, (3, 2), margin=0.25)
    (array([-1.,  2.,  5.]), array([-1.,  4.]))
    """
    check_grid(shape, margin)
    covered = plane.anchors if others is None else np.concatenate([plane.anchors, others])
    low, high = covered.min(axis=0), covered.max(axis=0)
    if not np.isfinite(high - low).all():
        raise ValueError("a point to be drawn on the plane is not finite")
    room = margin * (high - low).max()
    x, y = (np.linspace(a - room, b + room, n) for a, b, n in zip(low, high, shape, strict=True))
    return x, y


def grid_around(
    half_widths: Sequence[float] | Num[np.ndarray, "2"], shape: tuple[int, int] = (21, 21)
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " height"]]:
    """Equally spaced coordinates around the first point.

    Args:
      half_widths: how far they reach to each side, in units of weight distance.
      shape: number of points along x and along y; odd numbers include the point itself.

    Returns:
      ``x`` and ``y``.

    Raises:
      ValueError: a side has fewer than 2 points.

    >>> grid_around((1.0, 2.0), (3, 3))
    (array([-1.,  0.,  1.]), array([-2.,  0.,  2.]))
    """
    check_grid(shape)
    x, y = (np.linspace(-r, r, n) for r, n in zip(half_widths, shape, strict=True))
    return x, y


def check_grid(shape: tuple[int, int], margin: float = 0.0) -> None:
    """Checks the arguments of `grid`, before any long work.

    Raises:
      ValueError: the shape is not two numbers of at least 2, or the margin is negative or not
        finite.

    >>> check_grid((21, 1))
    Traceback (most recent call last):
    ValueError: a grid of 21 x 1 points: a side needs at least 2
    """
    if np.shape(shape) != (2,):
        raise ValueError(f"grid={shape!r}: give the points along x and along y, such as (21, 21)")
    if min(shape) < 2:
        raise ValueError(f"a grid of {shape[0]} x {shape[1]} points: a side needs at least 2")
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin {margin}: use 0 or more")


def evaluate(
    evaluator: evaluation.Evaluator,
    points: Sequence[Any],
    plane: planes.Plane,
    x: Num[np.ndarray, " width"],
    y: Num[np.ndarray, " height"],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
    skip: Container[int] = (),
) -> Iterator[tuple[int, results.Values]]:
    """Evaluates a surface, a row at a time.

    Args:
      evaluator: for the network and data.
      points: the three points of the plane.
      plane: the plane through them.
      x: the columns' coordinates.
      y: the rows' coordinates.
      state: the network's state; its batch-norm averages are replaced at every point.
      progress: called with the number of points done, skipped rows included.
      skip: indices of rows to leave out.

    Yields:
      The index of a row and its metrics, from `evaluate_row`.

    >>> from mcjax.analysis import toy
    >>> points = (toy.A, toy.B, toy.BEND)
    >>> plane, x, y = planes.plane(points), np.linspace(0, 4, 3), np.linspace(-1, 1, 2)
    >>> rows = dict(evaluate(toy.evaluator(), points, plane, x, y, {}))
    >>> {index: row.metrics["train"]["loss"].shape for index, row in rows.items()}
    {0: (3,), 1: (3,)}
    """
    frame = planes.frame(plane, points)
    for index, height in enumerate(y):
        before = index * len(x)
        if index not in skip:
            yield (
                index,
                evaluate_row(
                    evaluator,
                    frame,
                    plane,
                    x,
                    height,
                    state,
                    lambda done, before=before: progress(before + done),
                ),
            )
        progress(before + len(x))


def evaluate_row(
    evaluator: evaluation.Evaluator,
    frame: Sequence[Any],
    plane: planes.Plane,
    x: Num[np.ndarray, " width"],
    y: float,
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Values:
    """Metrics at ``(x[0], y), (x[1], y), ...``, which do not depend on other rows.

    Args:
      evaluator: for the network and data.
      frame: control points of the plane, from `mcjax.planes.frame`.
      plane: the plane.
      x: the columns' coordinates, in units of weight distance.
      y: the row's.
      state: the network's state.
      progress: called with the number of points done.

    Returns:
      Values of shape ``[width]``.

    >>> from mcjax.analysis import toy
    >>> points = (toy.A, toy.B, toy.BEND)
    >>> plane = planes.plane(points)
    >>> x = np.linspace(0, plane.anchors[1, 0], 3)  # from A to B
    >>> row = evaluate_row(toy.evaluator(), planes.frame(plane, points), plane, x, 0.0, {})
    >>> row.metrics["train"]["loss"].round(2)
    array([0.03, 0.69, 0.03])
    """
    xy = np.stack([x, np.full(len(x), y)], axis=-1)
    return evaluate_points(evaluator, frame, plane, xy, state, progress)


def evaluate_points(
    evaluator: evaluation.Evaluator,
    frame: Sequence[Any],
    plane: planes.Plane,
    xy: Num[np.ndarray, "n 2"],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Values:
    """Metrics at any points of a plane, which do not depend on each other.

    Combinations of the three points instead of the frame would have large coefficients if their
    triangle is flat, and float32 weights would lose their digits.

    Args:
      evaluator: for the network and data.
      frame: control points of the plane, from `mcjax.planes.frame`.
      plane: the plane.
      xy: coordinates, in units of weight distance.
      state: the network's state.
      progress: called with the number of points done.

    Returns:
      Values of shape ``[n]``.

    >>> from mcjax.analysis import toy
    >>> points = (toy.A, toy.B, toy.BEND)
    >>> plane = planes.plane(points)
    >>> frame, xy = planes.frame(plane, points), plane.anchors.mean(axis=0, keepdims=True)
    >>> evaluate_points(toy.evaluator(), frame, plane, xy, {}).metrics["train"]["loss"].shape
    (1,)
    """
    blocks = []
    coefficients = planes.frame_coefficients(plane, xy)
    for first, metrics in evaluator.blocks(tuple(frame), coefficients, state):
        blocks.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    return results.Values.joined(blocks)


def at_points(evaluator: evaluation.Evaluator, points: Sequence[Any], state: Any) -> results.Values:
    """Metrics of the points themselves; one-hot coefficients reproduce their losses exactly.

    Args:
      evaluator: for the network and data.
      points: parameter pytrees.
      state: the network's state.

    Returns:
      Values of shape ``[len(points)]``.

    Raises:
      ValueError: the points differ in structure, shape or dtype.

    >>> from mcjax.analysis import toy
    >>> at_points(toy.evaluator(), (toy.A, toy.B), {}).metrics["train"]["loss"].round(2)
    array([0.03, 0.03])
    """
    return results.Values.joined([evaluator(tuple(points), np.eye(len(points)), state)])
