"""The plane through three points of weight space, and projections onto it (Section 5, A.2).

A point of the plane is ``origin + x u + y v`` with ``origin`` the first point, ``u`` the unit
vector towards the second and ``v`` the unit vector towards the third made orthogonal to ``u``:
lengths and angles in ``(x, y)`` are those of weight space. Written in the three points it is
``c_0 p_0 + c_1 p_1 + c_2 p_2`` with coefficients that sum to one, so only the 3 x 3 Gram matrix is
ever formed, never a D x 3 matrix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves


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
      ValueError: there are not three points, they do not match, two are equal, or all three lie
        on a line (to one part in 1e5 of their distances), or hold values that are not finite.
    """
    if len(points) != 3:
        raise ValueError(f"a plane needs three points, got {len(points)}")
    curves.check_matching(points)
    gram = _difference_gram(points[0], points[1:])
    if not np.isfinite(gram).all():
        raise ValueError("the points hold values that are not finite: they span no plane")
    length_u, length_v = np.sqrt(np.diag(gram))
    apart = np.sqrt(max(gram[0, 0] + gram[1, 1] - 2 * gram[0, 1], 0.0))
    scale = max(length_u, length_v)
    for name, length in (("1 and 2", length_u), ("1 and 3", length_v), ("2 and 3", apart)):
        if length <= 1e-6 * scale or scale == 0:
            raise ValueError(f"points {name} are equal: three different points span a plane")
    along = gram[0, 1] / gram[0, 0]
    y2 = _distance(points, [1 - along, along], points[2])
    if y2 <= 1e-5 * length_v:
        raise ValueError("the three points lie on a line: they span no plane")
    anchors = np.array([[0.0, 0.0], [length_u, 0.0], [along * length_u, y2]])
    return Plane(anchors, gram)


def coefficients(plane: Plane, xy: jax.typing.ArrayLike) -> jax.Array:
    """Coefficients of ``(x, y)`` in the three points: ``[..., 2]`` to ``[..., 3]``; sum one.

    Anchors are not exactly one-hot in floating point: evaluate those as points of their own.
    """
    (x1, _), (x2, y2) = plane.anchors[1:]
    xy = jnp.asarray(xy)
    c2 = xy[..., 1] / y2
    c1 = (xy[..., 0] - c2 * x2) / x1
    return jnp.stack([1 - c1 - c2, c1, c2], axis=-1)


def coordinates(plane: Plane, coefficients: jax.typing.ArrayLike) -> np.ndarray:
    """``(x, y)`` of an affine combination of the three points: ``[..., 3]`` to ``[..., 2]``."""
    return np.asarray(coefficients, np.float64) @ plane.anchors


def project(plane: Plane, points: Sequence[curves.Params], w: curves.Params) -> Projection:
    """Projects ``w`` onto the plane through ``points``, in both senses of A.2.

    The paper's ``lambda* = argmin ||lambda^T [p_0; p_1; p_2] - w||^2`` is unconstrained and lands
    in the span of the points. A figure of the plane needs the affine one, ``sum(lambda) = 1``.
    """
    # Affine: least squares in the differences from p_0, which keeps its digits.
    w_gram = _difference_gram(points[0], (*points[1:], w))
    c = np.linalg.solve(plane.gram, w_gram[:2, 2])
    affine = np.array([1 - c.sum(), *c])
    full = np.asarray(curves.gram((*points, w)), np.float64)
    span = np.linalg.lstsq(full[:3, :3], full[:3, 3], rcond=None)[0]
    return Projection(
        coordinates(plane, affine),
        _distance(points, affine, w),
        affine,
        span,
        _distance(points, span, w),
    )


@jax.jit
def _difference_gram_on_device(origin, points):
    return curves.gram([jax.tree.map(lambda a, b: jnp.asarray(b) - a, origin, p) for p in points])


def _difference_gram(origin, points):
    return np.asarray(_difference_gram_on_device(origin, tuple(points)), np.float64)


@jax.jit
def _squared_distance(points, coefficients, w):
    near = curves.combine(points, coefficients)
    return curves.squared_norm(jax.tree.map(lambda a, b: a - b, near, w))


def _distance(points, coefficients, w):
    """Weight distance from a combination of the first points to ``w``: no cancelling squares."""
    chosen = tuple(points[: len(coefficients)])
    return float(np.sqrt(_squared_distance(chosen, np.asarray(coefficients, np.float32), w)))
