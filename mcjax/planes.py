"""The plane through three points of weight space, and projections onto it (Section 5, A.2).

A point of the plane is ``origin + x u + y v``, where ``origin`` is the first point, ``u`` the unit
vector towards the second, and ``v`` the unit vector towards the third, orthogonalised against
``u``: lengths and angles in ``(x, y)`` are those of weight space. In terms of the three points it
is ``c_0 p_0 + c_1 p_1 + c_2 p_2`` with coefficients that sum to one. If the points are nearly
collinear, these are large and cancel; `frame` returns control points of the same plane for which
they do not.

Vectors are orthogonalised in weight space, with float64 sums (`mcjax.sums`), so coordinates and
distances keep their digits however long the points and however flat their triangle. Three points
that could be collinear up to rounding are rejected.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, sums
from mcjax.typing import Array, Float, PyTree, Shaped

FLATTEST = 1e-6
"""Minimum height of a triangle that spans a plane, relative to its longest side."""

NEAREST = 3e-7
"""A plane nearer to zero than this, relative to the first point's norm, goes through zero."""


class Plane(NamedTuple):
    """A plane through three points.

    Attributes:
      anchors: coordinates ``(x, y)`` of the three points in units of weight distance: ``(0, 0)``,
        ``(|u|, 0)`` and the third.
      gram: Gram matrix of the differences ``p_1 - p_0`` and ``p_2 - p_0``.

    >>> plane(list(np.float32([[1, 0], [5, 0], [3, 2]]))).gram
    array([[16.,  8.],
           [ 8.,  8.]])
    """

    anchors: Float[np.ndarray, "3 2"]
    gram: Float[np.ndarray, "2 2"]


class Projection(NamedTuple):
    """Projections of a point of weight space onto a plane, and onto the span of its points.

    Attributes:
      xy: coordinates of the affine projection, the nearest point of the plane.
      distance: weight distance between the point and its affine projection.
      affine: coefficients of the affine projection; they sum to one.
      span: coefficients of the projection onto the span, the unconstrained ``lambda*`` of A.2.
      span_distance: weight distance between the point and its projection onto the span.

    >>> points = list(np.float32([[1, 0, 1], [5, 0, 1], [3, 2, 1]]))
    >>> found = project(plane(points), points, np.float32([1, 2, 4]))
    >>> found.affine, found.span
    (array([ 0.5, -0.5,  1. ]), array([ 4.25, -1.25,  1.  ]))
    """

    xy: Float[np.ndarray, "2"]
    distance: float
    affine: Float[np.ndarray, "3"]
    span: Float[np.ndarray, "3"]
    span_distance: float


def plane(points: Sequence[PyTree]) -> Plane:
    """The plane through three points.

    Args:
      points: three pytrees of the same structure, shapes and dtypes.

    Raises:
      ValueError: there are not three points, they do not match, or they contain non-finite values;
        or two are equal or all three are collinear, up to the rounding of their dtypes (twice
        ``eps ||p||``) or 1e-6 of the longest distance between them.

    >>> plane(list(np.float32([[1, 0], [5, 0], [3, 2]]))).anchors
    array([[0., 0.],
           [4., 0.],
           [2., 2.]])
    >>> plane(list(np.float32([[1, 0], [5, 0], [3, 0]])))
    Traceback (most recent call last):
    ValueError: the three points lie on a line: their triangle is 0 high and 4 long, ...
    """
    if len(points) != 3:
        raise ValueError(f"a plane needs three points, got {len(points)}")
    curves.check_matching(points)
    coefficients, gram = _orthogonalized(points, _differences, 1)
    if not np.isfinite(gram).all():
        raise ValueError("the points are not finite: they do not span a plane")
    (x1, y2), along = np.sqrt(np.diag(gram)), coefficients[1, 0]
    anchors = np.array([[0.0, 0.0], [x1, 0.0], [along * x1, y2]])
    _check_triangle(anchors, 2 * _rounding(points))
    return Plane(anchors, anchors[1:] @ anchors[1:].T)


def coefficients(
    plane: Plane, xy: Shaped[Array | np.ndarray, "*batch 2"] | Sequence[Any]
) -> Float[np.ndarray, "*batch 3"]:
    """Coefficients of ``(x, y)`` in the three points; they sum to one.

    The anchors' coefficients are not exactly one-hot in floating point: evaluate the three points
    separately.

    Args:
      plane: of the three points.
      xy: coordinates in units of weight distance.

    >>> coefficients(plane(list(np.float32([[1, 0], [5, 0], [3, 2]]))), [2.0, 1.0])
    array([0.25, 0.25, 0.5 ])
    """
    x, y = np.moveaxis(np.asarray(xy, np.float64), -1, 0)
    (x1, _), (_, y2) = plane.anchors[1:]
    return _in_points(plane, np.stack([np.ones_like(x), x / x1, y / y2], axis=-1))


def coordinates(
    plane: Plane, coefficients: Shaped[Array | np.ndarray, "*batch 3"] | Sequence[Any]
) -> Float[np.ndarray, "*batch 2"]:
    """``(x, y)`` of an affine combination of the three points.

    Args:
      plane: of the three points.
      coefficients: in the three points; they sum to one.

    >>> coordinates(plane(list(np.float32([[1, 0], [5, 0], [3, 2]]))), [0.25, 0.25, 0.5])
    array([2., 1.])
    """
    return np.asarray(coefficients, np.float64) @ plane.anchors


def frame(plane: Plane, points: Sequence[PyTree]) -> tuple[PyTree, ...]:
    """The first point and the directions of the two axes, both as long as the longest side.

    These are control points of the plane, with coefficients from `frame_coefficients` that do not
    cancel however flat the triangle. Leaves have the dtypes of the points.

    Args:
      plane: of the points.
      points: the three points.

    >>> points = list(np.float32([[1, 0], [5, 0], [3, 2]]))
    >>> [np.asarray(w).tolist() for w in frame(plane(points), points)]
    [[1.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
    """
    (x1, _), (x2, y2) = plane.anchors[1:]
    axes = _longest(plane.anchors) * np.array([[1 / x1, 0], [-x2 / x1 / y2, 1 / y2]])
    return points[0], *sums.combine(tuple(points), lambda x: axes @ _differences(x))


def frame_coefficients(
    plane: Plane, xy: Shaped[Array | np.ndarray, "*batch 2"] | Sequence[Any]
) -> Float[np.ndarray, "*batch 3"]:
    """Coefficients of ``(x, y)`` in the control points of `frame`.

    Args:
      plane: the plane.
      xy: coordinates in units of weight distance.

    >>> frame_coefficients(plane(list(np.float32([[1, 0], [5, 0], [3, 2]]))), [2.0, 1.0])
    array([1.  , 0.5 , 0.25])
    """
    xy = np.asarray(xy, np.float64)
    return np.concatenate([np.ones_like(xy[..., :1]), xy / _longest(plane.anchors)], axis=-1)


def project(plane: Plane, points: Sequence[PyTree], w: PyTree) -> Projection:
    """Projects ``w`` onto the plane through ``points``, in both senses of A.2.

    The paper's ``lambda* = argmin ||lambda^T [p_0; p_1; p_2] - w||^2`` is unconstrained and lies in
    the span of the points. A figure of the plane needs the affine one, ``sum(lambda) = 1``. The
    span has one more direction, ``p_0`` orthogonalised against the plane. If the plane goes through
    zero (up to 3e-7 of ``||p_0||``, float32 rounding), there is no such direction and both
    projections are equal.

    Args:
      plane: of the points.
      points: the three points.
      w: a pytree like each of them.

    >>> points = list(np.float32([[1, 0, 1], [5, 0, 1], [3, 2, 1]]))
    >>> found = project(plane(points), points, np.float32([1, 2, 4]))
    >>> found.xy, found.distance, round(found.span_distance, 6)  # the span is the whole space
    (array([0., 2.]), 3.0, 0.0)
    """
    # Orthogonalise p_1 - p_0, p_2 - p_0 and p_0 in turn; write w - p_0 in the result.
    rows = lambda x: np.concatenate([_differences(x[:3]), x[:1], x[3:] - x[:1]])  # noqa: E731
    coefficients, gram = _orthogonalized((*points, w), rows, 3)
    if gram[2, 2] <= NEAREST**2 * (coefficients[2, :3] ** 2 @ np.diag(gram)[:3]):
        # The remainder of p_0 is rounding, a random direction: do not project w onto it.
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
    plane: Plane, points: Sequence[PyTree], ws: Sequence[PyTree]
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N N"]]:
    """Affine projections of N points of weight space, and the Gram matrix of their residuals.

    Args:
      plane: of the points.
      points: the three points.
      ws: N pytrees like each of them.

    Returns:
      Coordinates, and the Gram matrix ``G`` of the vectors from the projections to the points: an
      affine combination of the points with coefficients ``c`` is ``sqrt(c^T G c)`` away from the
      plane.

    >>> points = list(np.float32([[1, 0, 1], [5, 0, 1], [3, 2, 1]]))
    >>> project_all(plane(points), points, list(np.float32([[1, 2, 4], [5, 0, 0]])))
    (array([[0., 2.],
           [4., 0.]]), array([[ 9., -3.],
           [-3.,  1.]]))
    """
    rows = lambda x: np.concatenate([_differences(x[:3]), x[3:] - x[:1]])  # noqa: E731
    coefficients, gram = _orthogonalized((*points, *ws), rows, 2)
    (x1, _), (_, y2) = plane.anchors[1:]
    return coefficients[2:, :2] * [x1, y2], gram[2:, 2:]


def _differences(rows: np.ndarray) -> np.ndarray:
    return rows[1:3] - rows[:1]


def _orthogonalized(
    trees: Sequence[PyTree], rows: sums.Rows, count: int
) -> tuple[Float[np.ndarray, "M M"], Float[np.ndarray, "M M"]]:
    """Gram-Schmidt in weight space, on the M vectors that ``rows`` computes from pytrees.

    Orthogonalises the first ``count`` vectors in turn, and the others against these. It does so
    twice, each time with inner products of the actual vectors: a single Gram matrix would square
    the condition number.

    Returns:
      The coefficients of the vectors in the orthogonal ones, unit lower triangular, and the Gram
      matrix of the orthogonal ones.
    """
    total = mix = np.eye(len(rows(np.zeros((len(trees), 0)))))
    for _ in range(2):
        lower = _lower(_mixed_gram(trees, rows, mix), count)
        total, mix = total @ lower, np.linalg.solve(lower, mix)
    return total, _mixed_gram(trees, rows, mix)


def _mixed_gram(
    trees: Sequence[PyTree], rows: sums.Rows, mix: Float[np.ndarray, "M M"]
) -> Float[np.ndarray, "M M"]:
    return sums.gram(trees, lambda x: mix @ rows(x))


def _lower(gram: Float[np.ndarray, "M M"], count: int) -> Float[np.ndarray, "M M"]:
    """One step of `_orthogonalized`: the first columns of ``L`` in ``gram = L D L^T``.

    A vector in the span of the previous ones is skipped.
    """
    lower, left = np.eye(len(gram)), gram.copy()
    for j in range(count):
        if left[j, j] <= 1e-13 * gram[j, j]:
            continue
        lower[j + 1 :, j] = left[j + 1 :, j] / left[j, j]
        left[j + 1 :] -= np.outer(lower[j + 1 :, j], left[j])
    return lower


def _in_points(
    plane: Plane, coefficients: Shaped[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Converts coefficients of ``p_0`` and the two axes' vectors to those of the three points."""
    one, u, v = np.moveaxis(coefficients, -1, 0)
    (x1, _), (x2, _) = plane.anchors[1:]
    u = u - x2 / x1 * v
    return np.stack([one - u - v, u, v], axis=-1)


def _longest(anchors: Float[np.ndarray, "3 2"]) -> float:
    return max(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(anchors, 2))


def _rounding(points: Sequence[PyTree]) -> Float[np.ndarray, "3"]:
    """``eps ||p||`` of each point, with the ``eps`` of each leaf's dtype."""
    leaves = zip(*map(jax.tree.leaves, points), strict=True)
    squares = [
        np.diag(sums.gram(same)) * float(jnp.finfo(jnp.result_type(same[0])).eps) ** 2
        for same in leaves
    ]
    return np.sqrt(sum(squares, np.zeros(3)))


def _check_triangle(anchors: Float[np.ndarray, "3 2"], rounding: Float[np.ndarray, "3"]) -> None:
    """Raises ValueError if points are equal or collinear, up to rounding."""
    for i, j in itertools.combinations(range(3), 2):
        apart = np.linalg.norm(anchors[i] - anchors[j])
        alone = max(rounding[i], rounding[j])
        if apart <= alone:
            raise ValueError(
                f"points {i + 1} and {j + 1} are equal: they are {apart:.2g} apart, and rounding "
                f"explains {alone:.2g}; use three different points"
            )
    longest = _longest(anchors)
    height = anchors[1, 0] * anchors[2, 1] / longest
    least = max(*rounding, FLATTEST * longest)
    if height <= least:
        raise ValueError(
            f"the three points lie on a line: their triangle is {height:.2g} high and "
            f"{longest:.2g} long, and a height below {least:.2g} may be rounding; use a point "
            "further off the line"
        )
