import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import curves, planes
from mcjax.analysis import projections, surfaces
from mcjax.engine import evaluation, objectives
from tests.mcjax import small

RNG = np.random.default_rng(11)


VECTORS = RNG.normal(size=(3, 7)) * 2 + 1.5


TARGETS = RNG.normal(size=(41, 7)).astype(np.float32)


def tree(vector):
    return {"a": jnp.asarray(vector[:3], jnp.float32), "b": [jnp.asarray(vector[3:], jnp.float32)]}


def evaluate(params, state, batch):
    flat = jnp.concatenate([params["a"], params["b"][0]])
    losses = 0.5 * jnp.sum((flat[None] - batch["target"]) ** 2, axis=-1)
    return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}


def fetch(data, rows, examples, weight, key):
    return {"target": jnp.asarray(data["target"])[rows], "weight": weight}


@functools.cache
def evaluator(points_per_call=1, devices=2):
    splits = {"train": {"target": TARGETS}, "validation": {"target": TARGETS[:13] + 0.7}}
    return evaluation.Evaluator(
        objectives.Objective(None, evaluate), fetch, splits, small.mesh(devices),
        batch_size=16, points_per_call=points_per_call,
    )  # fmt: skip


def loss_at(w, targets):
    return 0.5 * np.mean(np.sum((w - targets) ** 2, axis=-1))


POINTS = [tree(v) for v in VECTORS]


PLANE = planes.plane(POINTS)


X, Y = surfaces.grid(PLANE, (5, 3), margin=0.3)


def rows(evaluator, **options):
    return dict(surfaces.evaluate(evaluator, POINTS, PLANE, X, Y, {}, **options))


def test_grid_covers_points_with_equal_room():
    low, high = PLANE.anchors.min(0), PLANE.anchors.max(0)
    room = 0.3 * (high - low).max()
    np.testing.assert_allclose([X[0], Y[0]], low - room)
    np.testing.assert_allclose([X[-1], Y[-1]], high + room)
    assert X.shape == (5,)
    assert Y.shape == (3,)
    far = np.array([[-50.0, 1.0], [2.0, 90.0]])
    x, y = surfaces.grid(PLANE, (4, 6), 0.0, far)
    np.testing.assert_allclose([x[0], x[-1], y[0], y[-1]], [-50, high[0], 0, 90])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (1, 5)}, "at least 2"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"margin": np.nan}, "margin nan"),
        ({"others": np.array([[np.inf, 1.0]])}, "not finite"),
    ],
)
def test_wrong_grids(options, message):
    with pytest.raises(ValueError, match=message):
        surfaces.grid(PLANE, **options)


def test_surface_of_a_quadratic_in_closed_form():
    u = VECTORS[1] - VECTORS[0]
    u /= np.linalg.norm(u)
    v = VECTORS[2] - VECTORS[0]
    v -= (v @ u) * u
    v /= np.linalg.norm(v)
    found = rows(evaluator())
    assert sorted(found) == [0, 1, 2]
    for i, y in enumerate(Y):
        for j, x in enumerate(X):
            w = VECTORS[0] + x * u + y * v
            here = {name: values[j] for name, values in found[i].to_arrays().items()}
            np.testing.assert_allclose(here["train_loss"], loss_at(w, TARGETS), rtol=1e-5)
            validation = loss_at(w, TARGETS[:13] + 0.7)
            np.testing.assert_allclose(here["validation_loss"], validation, rtol=1e-5)
            np.testing.assert_allclose(here["l2"], w @ w, rtol=1e-5)


def test_surface_of_nearly_collinear_points_keeps_its_digits():
    normal = RNG.normal(size=7)
    vectors = [VECTORS[0], VECTORS[1], 0.6 * VECTORS[0] + 0.4 * VECTORS[1] + 1e-5 * normal]
    points = [tree(v) for v in vectors]
    p0, p1, p2 = (np.concatenate([p["a"], p["b"][0]]).astype(np.float64) for p in points)
    axes, signed = np.linalg.qr(np.stack([p1 - p0, p2 - p0], axis=1))
    axes *= np.sign(np.diag(signed))
    plane = planes.plane(points)
    ((_, row),) = surfaces.evaluate(evaluator(), points, plane, X, np.array([1.7]), {})
    expected = [loss_at(p0 + axes @ [x, 1.7], TARGETS) for x in X]
    np.testing.assert_allclose(row.metrics["train"]["loss"], expected, rtol=1e-5)


def test_rows_are_those_of_the_whole_whatever_was_skipped_or_batched():
    done = []
    whole, some = rows(evaluator()), rows(evaluator(), skip={1}, progress=done.append)
    assert sorted(some) == [0, 2]
    assert done[-1] == 15
    assert done == sorted(done)
    assert max(np.diff(done)) <= 5
    for index, row in some.items():
        for name, values in row.to_arrays().items():
            np.testing.assert_array_equal(values, whole[index].to_arrays()[name])
    batched = rows(evaluator(points_per_call=4, devices=8))
    for index, row in whole.items():
        one, other = (x.metrics["train"]["loss"] for x in (batched[index], row))
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_three_points_give_their_own_losses():
    own = surfaces.at_points(evaluator(), POINTS, {}).to_arrays()
    expected = [loss_at(v, TARGETS) for v in VECTORS]
    np.testing.assert_allclose(own["train_loss"], expected, rtol=1e-5, atol=1e-7)
    for i, point in enumerate(POINTS):
        alone = surfaces.at_points(evaluator(), [point], {}).to_arrays()
        assert alone["validation_loss"][0] == own["validation_loss"][i]


@pytest.mark.parametrize("family", curves.FAMILIES.values())
def test_curve_seen_from_the_plane(family):
    curve = family(2)
    control = [VECTORS[0], *(RNG.normal(size=(2, 7)) * 3), VECTORS[1] + 0.4]
    t = np.array([0.0, 0.17, 0.5, 0.81, 1.0])
    seen = projections.on_plane(PLANE, POINTS, curve, [tree(w) for w in control], t)
    for i, s in enumerate(t):
        w = np.asarray(curve.coefficients(np.float32(s))) @ np.stack(control)
        directly = planes.project(PLANE, POINTS, tree(w))
        np.testing.assert_allclose(seen.xy[i], directly.xy, atol=2e-5)
        np.testing.assert_allclose(seen.distance[i], directly.distance, rtol=1e-4, atol=1e-5)
    assert seen.control_xy.shape == (4, 2)
    assert seen.distance[1:].min() > 0.1


def test_a_chain_is_drawn_through_its_corners():
    t = projections.drawn_t(curves.polygonal_chain(6))
    assert (np.diff(t) > 0).all()
    for corner in np.arange(8) / 7:
        assert np.abs(t - corner).min() < 1e-12


def test_iterates_are_projected_in_both_senses():
    w = RNG.normal(size=7) * 3
    seen = projections.iterates(evaluator(), PLANE, POINTS, [(5, tree(w))], {})
    residual = VECTORS.T @ seen.span[0] - w
    np.testing.assert_allclose(VECTORS @ residual, 0, atol=1e-3)
    np.testing.assert_allclose(seen.affine.sum(), 1, rtol=1e-6)
    assert seen.span_distance < seen.distance
    assert (seen.epoch.tolist(), seen.variance_share) == ([5], None)
    assert projections.iterates(evaluator(), PLANE, POINTS, [], {}) is None


def test_the_planes_share_of_the_iterates_variance():
    run = RNG.normal(size=(6, 7)) * np.array([3, 1, 1, 0.5, 2, 1, 1]) + 4
    total = projections._Spread()
    for w in run:
        total.add(tree(w))
    away = run - run.mean(axis=0)
    np.testing.assert_allclose(total.total, (away**2).sum(), rtol=1e-5)
    xy = np.stack([planes.project(PLANE, POINTS, tree(w)).xy for w in run])
    basis = np.linalg.qr((VECTORS[1:] - VECTORS[0]).T)[0]
    expected = ((away @ basis) ** 2).sum() / (away**2).sum()
    found = len(run) * xy.var(axis=0).sum() / total.total
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert 0.02 < expected < 0.9
