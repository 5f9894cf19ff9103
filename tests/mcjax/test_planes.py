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


def test_no_wide_matrix_is_formed():
    jaxpr = jax.make_jaxpr(lambda p: curves.gram(p))(tuple(POINTS))
    assert max(v.aval.size for eqn in jaxpr.eqns for v in eqn.outvars) <= 9
