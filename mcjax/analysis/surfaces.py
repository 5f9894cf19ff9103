"""Metrics on the plane through three points of weight space (Gotmare et al., 2018, Section 5).

A surface is a grid of points of a `mcjax.planes.Plane`, evaluated a row at a time, so memory does
not grow with the grid and a reader can save each row as it comes. What is drawn on it, a curve or
a run's iterates, is seen by its affine projection; `on_plane` and `project` say what that leaves
out.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from mcjax import curves, planes, results
from mcjax.engine import evaluation


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
      plane: through them.
      state: the network's state; batch-norm averages in it are replaced at every point.
      names: of the points.
      curve: a curve and its control points.
      run: pairs of epoch and parameters, as in `iterates`.
      directions: of a surface around the first point.

    Returns:
      A surface of a grid of no points; `filled` gives it one.
    """
    own = at_points(evaluator, points, state)
    seen = None
    if curve is not None:
        family, control_points = curve
        seen = on_plane(plane, points, family, control_points, drawn_t(family))
    return results.Surface(
        np.zeros(0),
        np.zeros(0),
        {},
        results.Points(plane.anchors, np.array(names), *own),
        curve=seen,
        iterates=iterates(evaluator, plane, points, run, state),
        directions=directions,
    )


def filled(
    surface: results.Surface, x: np.ndarray, y: np.ndarray, rows: Sequence[results.Values]
) -> results.Surface:
    """A surface with a grid.

    Args:
      surface: from `surface`.
      x: ``[W]``.
      y: ``[H]``.
      rows: the metrics of each ``y``, as `evaluate` gives them.
    """
    metrics = {
        split: {name: np.stack([row.metrics[split][name] for row in rows]) for name in found}
        for split, found in rows[0].metrics.items()
    }
    squares = [row.l2 for row in rows if row.l2 is not None]
    l2 = np.stack(squares) if squares else None
    return surface._replace(x=x, y=y, metrics=metrics, l2=l2)


def covering(
    surface: results.Surface,
    plane: planes.Plane,
    shape: tuple[int, int] = (21, 21),
    margin: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """The `grid` that covers a surface's points and all that is drawn on it."""
    drawn = [one.xy for one in (surface.curve, surface.iterates) if one is not None]
    return grid(plane, shape, margin, np.concatenate([plane.anchors, *drawn]))


def grid(
    plane: planes.Plane,
    shape: tuple[int, int] = (21, 21),
    margin: float = 0.2,
    others: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Equally spaced coordinates that cover the three points, with room around them.

    Args:
      plane: the plane.
      shape: how many points along x and along y, at least 2 each.
      margin: room on every side, as a share of the larger of the two extents: a flat triangle
        still gets a surface around it.
      others: ``[N, 2]``, coordinates to be covered too, such as a curve's and the iterates'.

    Returns:
      ``x`` of shape ``[W]`` and ``y`` of shape ``[H]``, in units of weight distance.

    Raises:
      ValueError: a side has less than 2 points, the margin is negative or not finite, or a point to
        be covered is not finite.

    >>> import numpy as np
    >>> plane = planes.Plane(np.array([[0.0, 0], [4, 0], [1, 3]]), np.eye(2))
    >>> grid(plane, (3, 2), margin=0.25)
    (array([-1.,  2.,  5.]), array([-1.,  4.]))
    """
    _check_shape(shape)
    if not 0 <= margin < np.inf:
        raise ValueError(f"margin {margin}: use 0 or more")
    covered = plane.anchors if others is None else np.concatenate([plane.anchors, others])
    low, high = covered.min(axis=0), covered.max(axis=0)
    if not np.isfinite(high - low).all():
        raise ValueError("a point to be drawn on the plane is not finite")
    room = margin * (high - low).max()
    x, y = (np.linspace(a - room, b + room, n) for a, b, n in zip(low, high, shape, strict=True))
    return x, y


def grid_around(
    half_widths: np.ndarray, shape: tuple[int, int] = (21, 21)
) -> tuple[np.ndarray, np.ndarray]:
    """Equally spaced coordinates around the first point.

    Args:
      half_widths: ``[2]``, how far they reach to each side, in units of weight distance.
      shape: how many points along x and along y; with odd numbers the point itself is one.

    Returns:
      ``x`` of shape ``[W]`` and ``y`` of shape ``[H]``.

    Raises:
      ValueError: a side has less than 2 points.
    """
    _check_shape(shape)
    x, y = (np.linspace(-r, r, n) for r, n in zip(half_widths, shape, strict=True))
    return x, y


def _check_shape(shape):
    if min(shape) < 2:
        raise ValueError(f"a grid of {shape[0]} x {shape[1]} points: a side needs at least 2")


def evaluate(
    evaluator: evaluation.Evaluator,
    points: Sequence[Any],
    plane: planes.Plane,
    x: np.ndarray,
    y: np.ndarray,
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
    skip: Container[int] = (),
) -> Iterator[tuple[int, results.Values]]:
    """Evaluates a surface, a row at a time.

    Args:
      evaluator: for the network and data.
      points: the three points of the plane.
      plane: through them.
      x: ``[W]``.
      y: ``[H]``, one a row.
      state: the network's state; batch-norm averages in it are replaced at every point.
      progress: called with how many points of the grid are done, skipped rows included.
      skip: indices of rows that are known already.

    Yields:
      The index of a row and its metrics as in `evaluate_row`.
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
    x: np.ndarray,
    y: float,
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Values:
    """Metrics at ``(x[0], y), (x[1], y), ...``; whatever rows came before, the same numbers.

    ``frame`` is the plane's, from `mcjax.planes.frame`: in the three points themselves, those of a
    flat triangle have large coefficients, in which float32 weights would lose their digits.

    Returns:
      Values of shape ``[W]``.
    """
    xy = np.stack([x, np.full(len(x), y)], axis=-1)
    blocks = []
    coefficients = planes.frame_coefficients(plane, xy)
    for first, metrics in evaluator.blocks(tuple(frame), coefficients, state):
        blocks.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    return results.Values.joined(blocks)


def at_points(evaluator: evaluation.Evaluator, points: Sequence[Any], state: Any) -> results.Values:
    """Metrics of points themselves: exactly one-hot coefficients reproduce their own losses.

    Returns:
      Values of shape ``[len(points)]``.
    """
    return results.Values.joined([evaluator(tuple(points), np.eye(len(points)), state)])


def on_plane(
    plane: planes.Plane,
    points: Sequence[Any],
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: np.ndarray,
) -> results.CurveOnPlane:
    """A curve seen from the plane.

    The affine projection keeps affine combinations, so only the control points are projected.

    Args:
      plane: through ``points``.
      points: three.
      curve: the family.
      control_points: its K control points ``(start, *bends, end)``.
      t: ``[P]``.
    """
    control_xy, gram = planes.project_all(plane, points, control_points)
    c = np.stack([np.asarray(curve.coefficients(np.float32(s)), np.float64) for s in t])
    squares = np.einsum("pi,ij,pj->p", c, gram, c)
    distance = np.sqrt(np.maximum(squares, 0))
    return results.CurveOnPlane(np.asarray(t), c @ control_xy, distance, control_xy)


def drawn_t(curve: curves.Curve) -> np.ndarray:
    """Where a curve is drawn: 61 equally spaced ``t``, and those of a chain's corners."""
    pieces = curve.num_bends + 1
    return np.union1d(np.linspace(0, 1, 61), np.arange(pieces + 1) / pieces)


def iterates(
    evaluator: evaluation.Evaluator,
    plane: planes.Plane,
    points: Sequence[Any],
    run: Iterable[tuple[int, Any]],
    state: Any,
) -> results.Iterates | None:
    """Iterates of a training run seen from the plane, and the metrics of each itself.

    Args:
      evaluator: for the network and data.
      plane: through ``points``.
      points: three.
      run: pairs of epoch and parameters; one is in memory at a time.
      state: the network's state; batch-norm averages in it are replaced at every iterate.

    Returns:
      The iterates, with ``variance_share`` (about their mean) where they differ; None where there
      are none.
    """
    epochs, seen, blocks, spread = [], [], [], _Spread()
    for epoch, w in run:
        epochs.append(epoch)
        seen.append(planes.project(plane, points, w))
        blocks.append(evaluator((w,), np.eye(1), state))
        spread.add(w)
    if not epochs:
        return None
    projected = {name: np.array([getattr(p, name) for p in seen]) for name in seen[0]._fields}
    own, share = results.Values.joined(blocks), None
    if spread.total > 0:
        inside = len(epochs) * projected["xy"].var(axis=0).sum()
        share = min(inside / spread.total, 1.0)
    return results.Iterates(
        **projected, epoch=np.array(epochs), metrics=own.metrics, l2=own.l2, variance_share=share
    )


class _Spread:
    """Sums squared distances from the mean, with two trees in memory however many there are."""

    def __init__(self):
        self._first: Any = None
        self._sum: Any = None
        self._squares, self._count = 0.0, 0

    def add(self, w):
        if self._first is None:
            self._first, self._sum = w, jax.tree.map(lambda x: x - x, w)
        self._sum, squares = _add_from(self._first, self._sum, w)
        self._squares += float(squares)
        self._count += 1

    @property
    def total(self) -> float:
        return self._squares - float(curves.squared_norm(self._sum)) / self._count


@jax.jit
def _add_from(origin, total, w):
    away = jax.tree.map(lambda a, b: a - b, w, origin)
    return jax.tree.map(lambda a, b: a + b, total, away), curves.squared_norm(away)
