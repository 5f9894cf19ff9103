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
    )


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
    """
    metrics = {
        split: {name: np.stack([row.metrics[split][name] for row in rows]) for name in found}
        for split, found in rows[0].metrics.items()
    }
    squares = [row.l2 for row in rows if row.l2 is not None]
    l2 = np.stack(squares) if squares else None
    return surface._replace(x=x, y=y, metrics=metrics, l2=l2)


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
    """
    before = 0

    def at_indices(at: Int[np.ndarray, "n 2"]) -> results.Values:
        nonlocal before
        xy, done = np.stack([x[at[:, 1]], y[at[:, 0]]], axis=-1), before
        before += len(at)
        return evaluate(xy, progress=lambda more: progress(done + more))

    shape, networks = (len(x), len(y)), surface.networks.metrics
    values, found = refinement.refine(at_indices, shape, tolerance, networks)
    return surface._replace(x=x, y=y, metrics=values.metrics, l2=values.l2, refinement=found)


def covering(
    surface: results.Surface,
    plane: planes.Plane,
    shape: tuple[int, int] = (21, 21),
    margin: float = 0.2,
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " height"]]:
    """The `grid` that covers a surface's points and everything drawn on it."""
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
    """
    check_grid(shape)
    x, y = (np.linspace(-r, r, n) for r, n in zip(half_widths, shape, strict=True))
    return x, y


def check_grid(shape: tuple[int, int], margin: float = 0.0) -> None:
    """Checks the arguments of `grid`, before any long work.

    Raises:
      ValueError: the shape is not two numbers of at least 2, or the margin is negative or not
        finite.
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

    ``frame`` is the plane's, from `mcjax.planes.frame`.

    Returns:
      Values of shape ``[width]``.
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

    ``frame`` is the plane's, from `mcjax.planes.frame`. Combinations of the three points would have
    large coefficients if their triangle is flat, and float32 weights would lose their digits.

    Returns:
      Values of shape ``[n]``.
    """
    blocks = []
    coefficients = planes.frame_coefficients(plane, xy)
    for first, metrics in evaluator.blocks(tuple(frame), coefficients, state):
        blocks.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    return results.Values.joined(blocks)


def at_points(evaluator: evaluation.Evaluator, points: Sequence[Any], state: Any) -> results.Values:
    """Metrics of the points themselves; one-hot coefficients reproduce their losses exactly.

    Returns:
      Values of shape ``[len(points)]``.
    """
    return results.Values.joined([evaluator(tuple(points), np.eye(len(points)), state)])
