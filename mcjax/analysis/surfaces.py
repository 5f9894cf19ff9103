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

from mcjax import curves, planes
from mcjax.engine import evaluation

Arrays = dict[str, np.ndarray]


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
) -> Iterator[tuple[int, Arrays]]:
    """Evaluates a surface, a row at a time.

    Args:
      evaluator: for the network and data.
      points: the three points of the plane.
      plane: through them.
      x: ``[W]``.
      y: ``[H]``, one a row.
      state: the network's state; batch-norm averages in it are replaced at every point.
      progress: told how many points of the grid are done, those of skipped rows among them.
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
) -> Arrays:
    """Metrics at ``(x[0], y), (x[1], y), ...``; whatever rows came before, the same numbers.

    ``frame`` is the plane's, from `mcjax.planes.frame`: in the three points themselves, those of a
    flat triangle have large coefficients, in which float32 weights would lose their digits.

    Returns:
      ``SPLIT_METRIC`` and ``l2`` (the squared norm of the point), each of shape ``[W]``.
    """
    xy = np.stack([x, np.full(len(x), y)], axis=-1)
    parts = []
    coefficients = planes.frame_coefficients(plane, xy)
    for first, metrics in evaluator.blocks(tuple(frame), coefficients, state):
        parts.append(named(metrics))
        progress(first + len(parts[-1]["l2"]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def at_points(evaluator: evaluation.Evaluator, points: Sequence[Any], state: Any) -> Arrays:
    """Metrics of points themselves: exactly one-hot coefficients reproduce their own losses.

    Returns:
      ``SPLIT_METRIC`` and ``l2``, each of shape ``[len(points)]``.
    """
    return named(evaluator(tuple(points), np.eye(len(points)), state))


def named(metrics: evaluation.Metrics) -> Arrays:
    """``metrics[split][name]`` as ``SPLIT_NAME``; ``l2`` stays what it is."""
    return {
        name if split == "params" else f"{split}_{name}": value
        for split, of_split in metrics.items()
        for name, value in of_split.items()
    }


def on_plane(
    plane: planes.Plane,
    points: Sequence[Any],
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: np.ndarray,
) -> Arrays:
    """A curve seen from the plane.

    The affine projection keeps affine combinations, so only the control points are projected.

    Args:
      plane: through ``points``.
      points: three.
      curve: the family.
      control_points: its K control points ``(start, *bends, end)``.
      t: ``[P]``.

    Returns:
      ``t`` ``[P]``, ``xy`` ``[P, 2]``, ``distance`` ``[P]`` (weight distance of ``phi(t)`` from the
      plane) and ``control_xy`` ``[K, 2]``.
    """
    control_xy, gram = planes.project_all(plane, points, control_points)
    c = np.stack([np.asarray(curve.coefficients(np.float32(s)), np.float64) for s in t])
    squares = np.einsum("pi,ij,pj->p", c, gram, c)
    distance = np.sqrt(np.maximum(squares, 0))
    return {
        "t": np.asarray(t),
        "xy": c @ control_xy,
        "distance": distance,
        "control_xy": control_xy,
    }


def drawn_t(curve: curves.Curve) -> np.ndarray:
    """Where a curve is drawn: 61 equally spaced ``t``, and those of a chain's corners."""
    pieces = curve.num_bends + 1
    return np.union1d(np.linspace(0, 1, 61), np.arange(pieces + 1) / pieces)


def project(plane: planes.Plane, points: Sequence[Any], w: Any) -> Arrays:
    """`mcjax.planes.project` as arrays by name: the affine projection and A.2's unconstrained one.

    Returns:
      ``xy`` ``[2]``, ``distance``, ``affine`` ``[3]``, ``span`` ``[3]`` and ``span_distance``.
    """
    return {n: np.asarray(v) for n, v in planes.project(plane, points, w)._asdict().items()}


def iterates(
    evaluator: evaluation.Evaluator,
    plane: planes.Plane,
    points: Sequence[Any],
    run: Iterable[tuple[int, Any]],
    state: Any,
) -> Arrays:
    """Iterates of a training run seen from the plane, and the metrics of each itself.

    Args:
      evaluator: for the network and data.
      plane: through ``points``.
      points: three.
      run: pairs of epoch and parameters; one is in memory at a time.
      state: the network's state; batch-norm averages in it are replaced at every iterate.

    Returns:
      What `project` and `at_points` give, and ``epoch``, each with a leading axis of N iterates;
      of iterates that differ also ``variance_share``, the share of their variance (about their
      mean) that lies in the plane; ``{}`` where there are none.
    """
    rows, spread = [], _Spread()
    for epoch, w in run:
        own = at_points(evaluator, (w,), state)
        rows.append(
            project(plane, points, w) | {n: v[0] for n, v in own.items()} | {"epoch": epoch}
        )
        spread.add(w)
    if not rows:
        return {}
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if spread.total > 0:
        inside = len(rows) * found["xy"].var(axis=0).sum()
        found["variance_share"] = np.array(min(inside / spread.total, 1.0))
    return found


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
