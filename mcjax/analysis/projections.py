"""Curves and iterates seen from a plane (Gotmare et al., 2018, Section 5 and A.2).

The affine projection of `mcjax.planes` puts them on the plane; their distances say how far off it
they are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from mcjax import curves, planes, results
from mcjax.engine import evaluation
from mcjax.typing import Float, Num


def on_plane(
    plane: planes.Plane,
    points: Sequence[Any],
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: Num[np.ndarray, " points"],
) -> results.CurveOnPlane:
    """A curve seen from a plane.

    The affine projection preserves affine combinations, so only control points are projected.

    Args:
      plane: the plane through ``points``.
      points: the three points.
      curve: the curve's family.
      control_points: ``(start, *bends, end)``.
      t: positions along the curve.

    >>> points = [np.float32(w) for w in ([0, 0, 0], [4, 0, 0], [0, 2, 0])]
    >>> bend = np.float32([2, 2, 1])
    >>> controls = (points[0], bend, points[1])
    >>> plane, curve = planes.plane(points), curves.bezier(1)
    >>> seen = on_plane(plane, points, curve, controls, np.array([0.5]))
    >>> seen.xy, seen.distance
    (array([[2., 1.]]), array([0.5]))
    """
    control_xy, gram = planes.project_all(plane, points, control_points)
    c = np.stack([np.asarray(curve.coefficients(np.float32(s)), np.float64) for s in t])
    squares = np.einsum("pi,ij,pj->p", c, gram, c)
    distance = np.sqrt(np.maximum(squares, 0))
    return results.CurveOnPlane(np.asarray(t), c @ control_xy, distance, control_xy)


def drawn_t(curve: curves.Curve) -> Float[np.ndarray, " points"]:
    """The ``t`` at which a curve is drawn: 61 equally spaced ones, and a chain's corners.

    >>> len(drawn_t(curves.bezier(1))), drawn_t(curves.polygonal_chain(1))[[0, 30, -1]]
    (61, array([0. , 0.5, 1. ]))
    """
    pieces = curve.num_bends + 1
    return np.union1d(np.linspace(0, 1, 61), np.arange(pieces + 1) / pieces)


def iterates(
    evaluator: evaluation.Evaluator,
    plane: planes.Plane,
    points: Sequence[Any],
    run: Iterable[tuple[int, Any]],
    state: Any,
) -> results.Iterates | None:
    """Iterates of a training run seen from a plane, with their own metrics.

    Args:
      evaluator: for the network and data.
      plane: the plane through ``points``.
      points: the three points.
      run: pairs of epoch and parameters; one is in memory at a time.
      state: the network's state; its batch-norm averages are replaced at every iterate.

    Returns:
      The iterates, with ``variance_share`` (about their mean) if they differ; None if there are
      none.

    >>> from mcjax.analysis import toy
    >>> points = (toy.A, toy.B, toy.BEND)
    >>> run = [(0, toy.B), (10, toy.A)]
    >>> found = iterates(toy.evaluator(), planes.plane(points), points, run, {})
    >>> found.epoch, found.xy.round(2), found.metrics["train"]["loss"].round(2)
    (array([ 0, 10]), array([[5.66, 0.  ],
           [0.  , 0.  ]]), array([0.03, 0.03]))
    """
    epochs: list[int] = []
    seen: list[planes.Projection] = []
    blocks: list[results.Metrics] = []
    spread = _Spread()
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
    """Sums squared distances from the mean, holding only two pytrees in memory."""

    def __init__(self) -> None:
        self._first: Any = None
        self._sum: Any = None
        self._squares, self._count = 0.0, 0

    def add(self, w: Any) -> None:
        """Adds a point."""
        if self._first is None:
            self._first, self._sum = w, jax.tree.map(lambda x: x - x, w)
        self._sum, squares = _add_from(self._first, self._sum, w)
        self._squares += float(squares)
        self._count += 1

    @property
    def total(self) -> float:
        """The sum so far."""
        return self._squares - float(curves.squared_norm(self._sum)) / self._count


@jax.jit
def _add_from(origin: Any, total: Any, w: Any) -> tuple[Any, jax.Array]:
    away = jax.tree.map(lambda a, b: a - b, w, origin)
    return jax.tree.map(lambda a, b: a + b, total, away), curves.squared_norm(away)
