"""Complex parameters: everything that differentiates agrees with the real formulation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax import api, curves
from mcjax.analysis import directions
from mcjax.engine import derivatives, evaluation, objectives, parallel
from tests.mcjax import small

RNG = np.random.default_rng(8)
MATRIX = jnp.asarray(RNG.normal(size=(6, 6)) + 3 * np.eye(6), jnp.float32)
DATA = np.asarray(RNG.normal(size=(20, 6)), np.float32)
POINTS = [RNG.normal(size=(2, 3)).astype(np.float32) for _ in range(4)]
REAL = [{"z": (x, y)} for x, y in POINTS]
COMPLEX = [{"z": x + 1j * y} for x, y in POINTS]


def of_real(params, batch):
    """Not symmetric in real and imaginary parts, and not quadratic."""
    vector = MATRIX @ jnp.concatenate(params["z"])
    return jnp.mean(jnp.log1p(jnp.sum((vector[None] - batch) ** 2, axis=-1)))


def of_complex(params, batch):
    return of_real({"z": (params["z"].real, params["z"].imag)}, batch)


LOSSES = {"real": (of_real, REAL), "complex": (of_complex, COMPLEX)}


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    mesh = small.mesh(1)
    monkeypatch.setattr(parallel, "make_mesh", lambda *devices: mesh)


def both(function):
    """Results of a function of loss and points in the two formulations."""
    return function(*LOSSES["real"]), function(*LOSSES["complex"])


def pairs(tree):
    return jax.tree.leaves(derivatives.to_real(tree))


def test_complex_parameters_are_trained_downhill_as_the_pairs_of_reals_that_they_are():
    optimizers = {
        "real": optax.adam(0.02),
        "complex": optax.contrib.split_real_and_imaginary(optax.adam(0.02)),
    }

    def fit(loss, points):
        optimizer = optimizers["real" if loss is of_real else "complex"]
        return api.fit_curve(
            loss, *points[:2], DATA, optimizer=optimizer, epochs=20, batch_size=10,
            key=jax.random.key(1),
        )  # fmt: skip

    (real, real_losses), (found, losses) = both(fit)
    assert losses[-5:].mean() < losses[:5].mean()
    np.testing.assert_allclose(losses, real_losses, rtol=1e-4)
    for a, b in zip(pairs(found[1]), pairs(real[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    middle = 0.5 * (POINTS[0] + POINTS[1])
    assert max(np.abs(a - b).max() for a, b in zip(pairs(found[1]), middle, strict=True)) > 0.1


@pytest.mark.long
def test_the_hessian_of_complex_parameters_has_the_eigenvalues_of_the_real_one():
    real, found = both(lambda loss, points: api.sharpness(loss, points[0], DATA, count=2))
    flat = jnp.concatenate(POINTS[0].reshape(2, 3))
    matrix = jax.hessian(lambda w: of_real({"z": (w[:3], w[3:])}, DATA))(flat)
    expected = np.linalg.eigvalsh(matrix)
    assert abs(expected[-1] / expected[-2] - 1) > 0.01
    for one in (real, found):
        np.testing.assert_allclose(one.eigenvalues, expected[:-3:-1], rtol=1e-3, atol=1e-4)
        assert abs(one.trace - expected.sum()) < 4 * one.trace_error
    np.testing.assert_allclose(found.trace, real.trace, rtol=1e-3)
    np.testing.assert_allclose(found.loss, real.loss, rtol=1e-6)


@pytest.mark.slow
def test_gradient_norms_and_surfaces_of_complex_parameters():
    def norm(loss, points):
        rows = lambda data, rows, examples, weight, key: {"x": data[rows], "weight": weight}  # noqa: E731
        objective = objectives.from_loss(lambda w, batch: loss(w, batch["x"]))
        mesh = small.mesh(1)
        splits = parallel.replicate({"train": DATA}, mesh)
        return evaluation.Evaluator(objective, rows, splits, mesh).gradient_norm(points[0], {})

    real, found = both(norm)
    np.testing.assert_allclose(found, real, rtol=1e-5)
    chain = curves.polygonal_chain(2)
    real, found = both(
        lambda loss, points: api.surface(loss, points[:3], DATA, grid=(3, 2), curve=(chain, points))
    )
    found, real = found.to_arrays(), real.to_arrays()
    for name in ("x", "y", "train_loss", "curve_xy", "curve_distance"):
        np.testing.assert_allclose(found[name], real[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_directions_of_complex_parameters():
    real, found = directions.pca(REAL), directions.pca(COMPLEX)
    np.testing.assert_allclose(found.variance, real.variance, rtol=1e-6)
    for a, b in zip(found.directions, real.directions, strict=True):
        np.testing.assert_allclose(a["z"], jax.lax.complex(*b["z"]), rtol=1e-5)
    for draw in (directions.random, directions.filter_normalized):
        d = draw({"z": COMPLEX[0]["z"][None]}, jax.random.key(0))["z"]
        assert d.dtype == jnp.complex64
        np.testing.assert_allclose(jnp.linalg.norm(d), np.linalg.norm(POINTS[0]), rtol=1e-5)
        assert np.abs(d.imag).min() > 0
