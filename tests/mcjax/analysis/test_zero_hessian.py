import jax
import jax.numpy as jnp
import numpy as np

from mcjax.analysis import hessian
from mcjax.engine import evaluation, objectives
from tests.mcjax import small

DATA = {
    "x": np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32),
    "y": np.linspace(-1, 2, 9, dtype=np.float32),
}


def evaluate(params, state, batch):
    """Piecewise linear in ``w``, quadratic in ``b``."""
    off = jax.nn.relu(batch["x"] @ params["w"]) - batch["y"]
    losses = jnp.abs(off) + 3e-9 * jnp.sum(params["b"] ** 2)
    return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}


def fetch(data, rows, examples, weight, key):
    return {name: jnp.asarray(value)[rows] for name, value in data.items()} | {"weight": weight}


def test_piecewise_linear_losses_have_eigenvalues_of_zero():
    evaluator = evaluation.Evaluator(
        objectives.Objective(None, evaluate), fetch, {"train": DATA}, small.mesh(1)
    )
    flat = {"w": jnp.ones(4), "b": jnp.zeros(0)}
    ((_, found),) = hessian.sharpness(evaluator, (flat,), [[1.0]], {}, 2)
    np.testing.assert_array_equal(found.eigenvalues, [0, 0])
    np.testing.assert_array_equal(found.residuals, [0, 0])
    assert found.loss > 0
    curved = flat | {"b": jnp.ones(3)}  # however little
    ((_, found),) = hessian.sharpness(evaluator, (curved,), [[1.0]], {}, 4)
    np.testing.assert_allclose(found.eigenvalues, [6e-9, 6e-9, 6e-9, 0], rtol=1e-5, atol=1e-14)


def test_zero_matrix_has_vectors_of_unit_length():
    like = {"a": np.zeros((2, 3), np.float32), "b": np.float32(0)}
    found = hessian.eigenpairs(lambda v: jax.tree.map(np.zeros_like, v), like, 3)
    np.testing.assert_array_equal(found.values, np.zeros(3))
    vectors = np.stack([np.concatenate([v["a"].ravel(), [v["b"]]]) for v in found.vectors])
    np.testing.assert_array_equal(vectors @ vectors.T, np.eye(3))


def test_eigenvalues_far_below_one_are_those_of_the_matrix_scaled():
    diagonal = np.linspace(0, 1, 200, dtype=np.float32) ** 2
    for scale in np.float32([1e-10, 1e-30, 1e30]):
        found = hessian.eigenpairs(lambda v, s=scale: {"w": s * diagonal * v["w"]},
                                   {"w": diagonal}, 2)  # fmt: skip
        np.testing.assert_allclose(found.values / scale, diagonal[:-3:-1], rtol=1e-5)
