"""The plane through three points of weight space, and projections onto it (Section 5, A.2).

A point of the plane is ``origin + x u + y v`` with ``origin`` the first point, ``u`` the unit
vector towards the second and ``v`` the unit vector towards the third made orthogonal to ``u``:
lengths and angles in ``(x, y)`` are those of weight space. Written in the three points it is
``c_0 p_0 + c_1 p_1 + c_2 p_2`` with coefficients that sum to one; where the points are nearly on a
line these are large and cancel, and `frame` has the same plane in control points that do not.

Vectors are made orthogonal in weight space, with float64 sums (`mcjax.sums`): coordinates and
distances keep their digits however long the points and however flat their triangle. What
rounding alone could make of three points on a line is refused.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, sums

FLATTEST = 1e-6
"""The least height of a triangle that spans a plane, as a share of its longest side."""

NEAREST = 3e-7
"""The least distance of zero from a plane that misses it, as a share of the first point's norm."""


class Plane(NamedTuple):
    """A plane through three points.

    Attributes:
      anchors: ``[3, 2]``, coordinates ``(x, y)`` of the three points in units of weight distance:
        ``(0, 0)``, ``(|u|, 0)`` and the third.
      gram: ``[2, 2]``, Gram matrix of the differences ``p_1 - p_0`` and ``p_2 - p_0``.
    """

    anchors: np.ndarray
    gram: np.ndarray


class Projection(NamedTuple):
    """A point of weight space seen from a plane.

    Attributes:
      xy: ``[2]``, coordinates of the nearest point of the plane (the affine projection).
      distance: what is left over: weight distance between the point and its affine projection.
      affine: ``[3]``, coefficients of the affine projection; they sum to one.
      span: ``[3]``, the unconstrained ``lambda*`` of A.2, the projection onto the span.
      span_distance: weight distance between the point and its projection onto the span.
    """

    xy: np.ndarray
    distance: float
    affine: np.ndarray
    span: np.ndarray
    span_distance: float


def plane(points: Sequence[curves.Params]) -> Plane:
    """The plane through three points.

    Raises:
      ValueError: there are not three points, they do not match, or hold values that are not finite;
        or two are equal or all three lie on a line, to the rounding of their dtypes (twice
        ``eps ||p||``) or to 1e-6 of the longest distance between them.
    """
    if len(points) != 3:
        raise ValueError(f"a plane needs three points, got {len(points)}")
    curves.check_matching(points)
    coefficients, gram = _orthogonalized(points, _differences, 1)
    if not np.isfinite(gram).all():
        raise ValueError("the points hold values that are not finite: they span no plane")
    (x1, y2), along = np.sqrt(np.diag(gram)), coefficients[1, 0]
    anchors = np.array([[0.0, 0.0], [x1, 0.0], [along * x1, y2]])
    _check_triangle(anchors, 2 * _rounding(points))
    return Plane(anchors, anchors[1:] @ anchors[1:].T)


def coefficients(plane: Plane, xy: jax.typing.ArrayLike) -> np.ndarray:
    """Coefficients of ``(x, y)`` in the three points: ``[..., 2]`` to ``[..., 3]``; sum one.

    Anchors are not exactly one-hot in floating point: evaluate those as points of their own.
    """
    x, y = np.moveaxis(np.asarray(xy, np.float64), -1, 0)
    (x1, _), (_, y2) = plane.anchors[1:]
    return _in_points(plane, np.stack([np.ones_like(x), x / x1, y / y2], axis=-1))


def coordinates(plane: Plane, coefficients: jax.typing.ArrayLike) -> np.ndarray:
    """``(x, y)`` of an affine combination of the three points: ``[..., 3]`` to ``[..., 2]``."""
    return np.asarray(coefficients, np.float64) @ plane.anchors


def frame(plane: Plane, points: Sequence[curves.Params]) -> tuple[curves.Params, ...]:
    """The first point and the directions of the two axes, both as long as the longest side.

    With `frame_coefficients` they are control points of the plane that do not cancel, however flat
    the triangle. Leaves have the dtypes of the points.
    """
    (x1, _), (x2, y2) = plane.anchors[1:]
    axes = _longest(plane.anchors) * np.array([[1 / x1, 0], [-x2 / x1 / y2, 1 / y2]])
    return points[0], *sums.combine(tuple(points), lambda x: axes @ _differences(x))


def frame_coefficients(plane: Plane, xy: jax.typing.ArrayLike) -> np.ndarray:
    """Coefficients of ``(x, y)`` in what `frame` gives: ``[..., 2]`` to ``[..., 3]``."""
    xy = np.asarray(xy, np.float64)
    return np.concatenate([np.ones_like(xy[..., :1]), xy / _longest(plane.anchors)], axis=-1)


def project(plane: Plane, points: Sequence[curves.Params], w: curves.Params) -> Projection:
    """Projects ``w`` onto the plane through ``points``, in both senses of A.2.

    The paper's ``lambda* = argmin ||lambda^T [p_0; p_1; p_2] - w||^2`` is unconstrained and lands
    in the span of the points. A figure of the plane needs the affine one, ``sum(lambda) = 1``.
    The span has one direction more, ``p_0`` made orthogonal to the plane; where the plane goes
    through zero (to 3e-7 of ``||p_0||``: float32 rounding) there is none, and the two projections
    are one.
    """
    # What p_1 - p_0, p_2 - p_0, p_0 and w - p_0 are in the first three made orthogonal in turn.
    rows = lambda x: np.concatenate([_differences(x[:3]), x[:1], x[3:] - x[:1]])  # noqa: E731
    coefficients, gram = _orthogonalized((*points, w), rows, 3)
    if gram[2, 2] <= NEAREST**2 * (coefficients[2, :3] ** 2 @ np.diag(gram)[:3]):
        # What is left of p_0 is rounding, a random direction: no part of w is to be found along it.
        coefficients, gram = _orthogonalized((*points, w), rows, 2)
    (u0, v0), (u, v, off) = coefficients[2, :2], coefficients[3, :3]
    affine = _in_points(plane, np.array([1, u, v]))
    return Projection(
        coordinates(plane, affine),
        float(np.sqrt(gram[3, 3] + off**2 * gram[2, 2])),
        affine,
        _in_points(plane, np.array([1 + off, u - off * u0, v - off * v0])),
        float(np.sqrt(gram[3, 3])),
    )


def project_all(
    plane: Plane, points: Sequence[curves.Params], ws: Sequence[curves.Params]
) -> tuple[np.ndarray, np.ndarray]:
    """Affine projections of N points of weight space, and how what they leave over lies together.

    Returns:
      Coordinates ``[N, 2]``, and the Gram matrix ``[N, N]`` of the vectors from the projections to
      the points: an affine combination of the points with coefficients ``c`` is ``sqrt(c^T G c)``
      away from the plane.
    """
    rows = lambda x: np.concatenate([_differences(x[:3]), x[3:] - x[:1]])  # noqa: E731
    coefficients, gram = _orthogonalized((*points, *ws), rows, 2)
    (x1, _), (_, y2) = plane.anchors[1:]
    return coefficients[2:, :2] * [x1, y2], gram[2:, 2:]


def _differences(rows):
    return rows[1:3] - rows[:1]


def _orthogonalized(trees, rows, count):
    """Gram-Schmidt in weight space, on the vectors that ``rows`` makes of pytrees.

    The first ``count`` vectors are made orthogonal in turn, the others to these. Twice, each time
    from products of vectors that were formed: one Gram matrix alone would square the condition.

    Returns:
      ``[M, M]``, unit lower triangular: the coefficients of the vectors in the orthogonal ones; and
      the latter's Gram matrix.
    """
    total = mix = np.eye(len(rows(np.zeros((len(trees), 0)))))
    for _ in range(2):
        lower = _lower(_mixed_gram(trees, rows, mix), count)
        total, mix = total @ lower, np.linalg.solve(lower, mix)
    return total, _mixed_gram(trees, rows, mix)


def _mixed_gram(trees, rows, mix):
    return sums.gram(trees, lambda x: mix @ rows(x))


def _lower(gram, count):
    """One step of `_orthogonalized`: ``L`` of ``gram = L D L^T``, in its first columns.

    A vector that lies in the span of those before it is left as it is.
    """
    lower, left = np.eye(len(gram)), gram.copy()
    for j in range(count):
        if left[j, j] <= 1e-13 * gram[j, j]:
            continue
        lower[j + 1 :, j] = left[j + 1 :, j] / left[j, j]
        left[j + 1 :] -= np.outer(lower[j + 1 :, j], left[j])
    return lower


def _in_points(plane, coefficients):
    """From coefficients of ``p_0`` and the two axes' vectors to those of the three points."""
    one, u, v = np.moveaxis(coefficients, -1, 0)
    (x1, _), (x2, _) = plane.anchors[1:]
    u = u - x2 / x1 * v
    return np.stack([one - u - v, u, v], axis=-1)


def _longest(anchors):
    return max(np.linalg.norm(a - b) for a, b in itertools.combinations(anchors, 2))


def _rounding(points):
    """``eps ||p||`` of each point, leaf by leaf with the ``eps`` of its dtype."""
    leaves = zip(*map(jax.tree.leaves, points), strict=True)
    squares = [
        np.diag(sums.gram(same)) * float(jnp.finfo(jnp.result_type(same[0])).eps) ** 2
        for same in leaves
    ]
    return np.sqrt(sum(squares, np.zeros(3)))


def _check_triangle(anchors, rounding):
    """Raises ValueError for points that are equal or on a line, as far as can be told."""
    for i, j in itertools.combinations(range(3), 2):
        apart = np.linalg.norm(anchors[i] - anchors[j])
        alone = max(rounding[i], rounding[j])
        if apart <= alone:
            raise ValueError(
                f"points {i + 1} and {j + 1} are equal: they are {apart:.2g} apart, and rounding "
                f"alone explains {alone:.2g}; three different points span a plane"
            )
    longest = _longest(anchors)
    height = anchors[1, 0] * anchors[2, 1] / longest
    least = max(*rounding, FLATTEST * longest)
    if height <= least:
        raise ValueError(
            f"the three points lie on a line: their triangle is {height:.2g} high and "
            f"{longest:.2g} long, and less than {least:.2g} cannot be told from a line; give a "
            "point further off it"
        )
