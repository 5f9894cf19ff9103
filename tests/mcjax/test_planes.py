import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import curves, planes


def tree(vector):
    return {"a": jnp.asarray(vector[:3], jnp.float32), "b": [jnp.asarray(vector[3:], jnp.float32)]}


RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(3, 7)) + 2.0
POINTS = [tree(v) for v in VECTORS]
PLANE = planes.plane(POINTS)


def test_anchors_have_true_distances():
    for i in range(3):
        for j in range(i):
            on_plane = np.linalg.norm(PLANE.anchors[i] - PLANE.anchors[j])
            np.testing.assert_allclose(on_plane, np.linalg.norm(VECTORS[i] - VECTORS[j]), rtol=1e-5)
    np.testing.assert_array_equal(PLANE.anchors[0], 0)
    assert PLANE.anchors[1, 1] == 0
    assert PLANE.anchors[2, 1] > 0


def test_coefficients_and_coordinates_are_inverse():
    xy = np.array([[0.3, -1.2], [2.0, 0.7], [-4.0, 3.0]])
    c = planes.coefficients(PLANE, xy)
    np.testing.assert_allclose(c.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(planes.coordinates(PLANE, c), xy, atol=1e-5)
    np.testing.assert_allclose(planes.coefficients(PLANE, PLANE.anchors), np.eye(3), atol=1e-6)


def test_projection_against_dense_least_squares():
    w = RNG.normal(size=7) * 3
    found = planes.project(PLANE, POINTS, tree(w))
    basis = np.stack([VECTORS[1] - VECTORS[0], VECTORS[2] - VECTORS[0]], axis=1)
    c, *_ = np.linalg.lstsq(basis, w - VECTORS[0], rcond=None)
    np.testing.assert_allclose(found.affine, [1 - c.sum(), *c], rtol=1e-4)
    expected = np.linalg.norm(VECTORS[0] + basis @ c - w)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-4)
    span, *_ = np.linalg.lstsq(VECTORS.T, w, rcond=None)
    np.testing.assert_allclose(found.span, span, rtol=1e-3)
    np.testing.assert_allclose(found.span_distance, np.linalg.norm(VECTORS.T @ span - w), rtol=1e-3)
    assert abs(found.span.sum() - 1) > 0.01  # the two senses differ at a generic point


def test_projection_of_a_point_of_the_plane_is_itself():
    c = np.array([0.2, -0.5, 1.3])
    found = planes.project(PLANE, POINTS, curves.combine(POINTS, c))
    np.testing.assert_allclose(found.affine, c, atol=1e-4)
    assert found.distance < 1e-2
    np.testing.assert_allclose(found.xy, c @ PLANE.anchors, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: [p[0], p[0], p[2]], "1 and 2 are equal"),
        (lambda p: [p[0], p[1], p[1]], "2 and 3 are equal"),
        (lambda p: [p[0], p[1], curves.combine(p[:2], [-0.6, 1.6])], "on a line"),
        (lambda p: p[:2], "needs three points"),
        (lambda p: [p[0], p[1], jax.tree.map(lambda x: x * jnp.nan, p[2])], "not finite"),
        (lambda p: [p[0], p[1], {"a": p[2]["a"]}], "different tree structures"),
    ],
)
def test_degenerate_points(change, message):
    with pytest.raises(ValueError, match=message):
        planes.plane(change(POINTS))


def dense(points, w):
    """Coordinates and distance of ``w``, and its distance from the span, by QR in float64."""
    p, w = np.asarray(points, np.float64), np.asarray(w, np.float64)
    q, r = np.linalg.qr(np.stack([p[1] - p[0], p[2] - p[0], p[0]], axis=1))
    q *= np.sign(np.diag(r))
    along = q.T @ (w - p[0])
    off = [w - p[0] - q[:, :k] @ along[:k] for k in (2, 3)]
    return along[:2], *map(np.linalg.norm, off)


@pytest.mark.parametrize(
    ("dtype", "near"), [("float32", 1.0), ("float32", 1e-2), ("bfloat16", 1.0)]
)
@pytest.mark.parametrize("size", [5, 40, 3000])
def test_nearly_collinear_points_are_right_down_to_the_refusal(size, dtype, near):
    rng, dtype = np.random.default_rng(size), jnp.dtype(dtype)
    p0, way, normal = rng.normal(size=(3, size))
    normal -= (normal @ way) / (way @ way) * way
    normal *= np.linalg.norm(way) / np.linalg.norm(normal)
    accepted = []
    for flat in np.geomspace(1, 1e-9, 28):
        points = [p0, p0 + near * way, p0 + near * (0.4 * way + flat * normal)]
        points = [p.astype(dtype) for p in points]
        try:
            plane = planes.plane(points)
        except ValueError as error:
            refused = str(error)
            break
        accepted.append(flat)
        inside = np.array([0.2, 0.3, 0.5]) @ np.asarray(points, np.float64)
        for off in (0, 1e-3, 2):
            w = (inside + near * off * rng.normal(size=size)).astype(dtype)
            found, (xy, distance, from_span) = planes.project(plane, points, w), dense(points, w)
            np.testing.assert_allclose(found.xy, xy, rtol=1e-4, atol=1e-6 * plane.anchors[2, 1])
            np.testing.assert_allclose(found.distance, distance, rtol=1e-4)
            np.testing.assert_allclose(found.span_distance, from_span, rtol=1e-4)
            back = found.affine @ np.asarray(points, np.float64) - w.astype(np.float64)
            np.testing.assert_allclose(np.linalg.norm(back), distance, rtol=1e-4)
            np.testing.assert_allclose(planes.coordinates(plane, found.affine), xy, rtol=1e-4)
    assert "on a line" in refused
    rounding = float(jnp.finfo(dtype).eps) * np.linalg.norm(p0) / near / np.linalg.norm(way)
    assert max(1e-6, rounding) / 3 < accepted[-1] < max(1e-6, rounding) * 9


def test_collinear_to_rounding_is_refused():
    rng = np.random.default_rng(0)
    for size, share in itertools.product((4, 5000), (0.5, 0.3, -1.7)):
        a, b = (jnp.asarray(rng.normal(size=size) + 3, jnp.float32) for _ in range(2))
        between = curves.combine((a, b), [1 - share, share])
        with pytest.raises(ValueError, match="on a line"):
            planes.plane((a, b, between))


def test_right_triangle_of_height_1e_4():
    points = [jnp.array([0.0, 0.0]), jnp.array([1.0, 0.0]), jnp.array([0.5, 1e-4])]
    found = planes.project(planes.plane(points), points, jnp.array([0.25, 3e-4]))
    np.testing.assert_allclose(found.xy, [0.25, 3e-4], rtol=1e-6)
    np.testing.assert_allclose(found.affine, [-0.75, -1.25, 3], rtol=1e-6)
    np.testing.assert_allclose(found.span, found.affine)  # the plane goes through zero
    assert found.distance == pytest.approx(0, abs=1e-15)


def test_span_coefficients_of_close_points():
    rng = np.random.default_rng(3)
    p0 = rng.normal(size=2000)
    points = [(p0 + 1.4e-3 * rng.normal(size=2000)).astype(np.float32) for _ in range(3)]
    w = (p0 + 1.4e-3 * rng.normal(size=2000)).astype(np.float32)
    found = planes.project(planes.plane(points), points, w)
    expected = np.linalg.lstsq(np.asarray(points, np.float64).T, w.astype(np.float64))[0]
    np.testing.assert_allclose(found.span, expected, rtol=1e-6)
    assert abs(expected.sum() - 1) < 1e-4


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_both_projections_are_one_where_the_plane_goes_through_zero(seed, rounded):
    """Three combinations of two vectors: exact ones of integers, or rounded to float32."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2, 30)) if rounded else rng.integers(-9, 10, (2, 30))
    mixes = np.array([[3, 1], [-1, 2], [1, -3]]) + (0.1 * rng.normal(size=(3, 2)) if rounded else 0)
    points = list((mixes @ vectors).astype(np.float32))
    w = rng.normal(size=30).astype(np.float32)
    found = planes.project(planes.plane(points), points, w)
    expected = np.linalg.lstsq(vectors.T.astype(np.float64), w.astype(np.float64))[0]
    residual = np.linalg.norm(expected @ vectors - w)
    np.testing.assert_array_equal(found.span, found.affine)
    assert found.span_distance == found.distance
    np.testing.assert_allclose(found.distance, residual, rtol=1e-6 if rounded else 1e-12)
    back = found.span @ np.asarray(points, np.float64)
    np.testing.assert_allclose(back, expected @ vectors, atol=1e-6 if rounded else 1e-12)


@pytest.mark.parametrize("height", [1e-6, 1e-3, 1.0])
def test_span_of_a_plane_that_passes_zero_closely(height):
    a, b, up, w = np.random.default_rng(8).normal(size=(4, 30))
    points = [p + height * up for p in (3 * a + b, 2 * b - a, a - 3 * b)]
    with jax.enable_x64(True):
        found = planes.project(planes.plane(points), points, w)
    expected = np.linalg.lstsq(np.asarray(points).T, w)[0]
    np.testing.assert_allclose(found.span, expected, rtol=1e-7)
    residual = np.linalg.norm(expected @ points - w)
    np.testing.assert_allclose(found.span_distance, residual, rtol=1e-9)
    assert found.distance > 1.002 * residual


def test_frame_has_the_plane_s_points():
    xy = np.array([[0.3, -1.2], [2.0, 0.7], *PLANE.anchors])
    c = planes.frame_coefficients(PLANE, xy)
    frame = planes.frame(PLANE, POINTS)
    for row, expected in zip(c, planes.coefficients(PLANE, xy) @ VECTORS, strict=True):
        point = curves.combine(frame, row)
        assert jax.tree.structure(point) == jax.tree.structure(POINTS[0])
        np.testing.assert_allclose([*point["a"], *point["b"][0]], expected, rtol=1e-5)


def test_complex_points_are_those_of_twice_as_many_reals():
    *pairs, w = np.random.default_rng(1).normal(size=(4, 10)).astype(np.float32)
    real = planes.project(planes.plane(pairs), pairs, w)
    points = [pair.view(np.complex64) for pair in pairs]
    plane = planes.plane(points)
    for a, b in zip(planes.project(plane, points, w.view(np.complex64)), real, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert planes.frame(plane, points)[2].dtype == np.complex64
