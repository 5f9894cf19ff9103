import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mcjax.analysis import hessian
from mcjax.engine import evaluation, objectives, parallel
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy
from tests import nets
from tests.mcjax import small

long = pytest.mark.long  # whole networks, whose Hessian as a matrix takes long to compile

SIZE = 45  # batches of 16 leave a ragged one
DATA = small.data(SIZE, seed=1)


def make(model, devices=1, batch_size=16):
    mesh = small.mesh(devices)
    return evaluation.Evaluator(
        cross_entropy(model),
        small.clean,
        {"train": parallel.replicate(DATA, mesh)},
        mesh,
        batch_size=batch_size,
        statistics_batch_size=SIZE,
    )


def point(model, seed=0):
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 1)), False))
    variables = dict(init(jax.random.key(seed)))
    return jax.tree.map(lambda x: x + 0.05, variables.pop("params")), variables


def whole(model, params, state):
    """The Hessian as a matrix, by `jax.hessian` of the loss over all examples at once."""
    matrix = second_derivative(model)(ravel_pytree(params)[0], state)
    return np.asarray(matrix, np.float64)


@functools.cache
def second_derivative(model):
    _, unravel = ravel_pytree(point(model)[0])

    def loss(vector, state):
        logits = model.apply({"params": unravel(vector), **state}, DATA["images"], False)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(SIZE), DATA["labels"]])

    return jax.jit(jax.hessian(loss))


PLAIN = models.create("mlp", num_classes=3, width=0.06)


@pytest.fixture(scope="module")
def plain():
    params, state = point(PLAIN)
    return make(PLAIN), params, whole(PLAIN, params, state)


def flat(tree):
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])


X = np.random.default_rng(6).normal(0.3, 1, (SIZE, 5)).astype(np.float32)
W = {"a": np.float32([0.5, -1.0]), "b": np.float32([[0.3], [0.8], [-0.6]])}
OTHER = {"a": np.float32([-0.2, 0.4]), "b": np.float32([[0.9], [-0.5], [0.1]])}


@pytest.fixture(scope="module")
def quartic():
    """The loss ``(w . x - mean)^4 / 4`` on eight devices, which share each batch.

    The mean of all ``w . x`` is a state: recomputed at each point, then held.
    """

    def rest(params, state, batch):
        w = jnp.concatenate([params["a"], params["b"][:, 0]])
        return jnp.dot(batch["x"], w, precision="highest") - state["mean"]

    def evaluate(params, state, batch):
        losses = rest(params, state, batch) ** 4 / 4
        return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}

    def statistics(params, state, batch):
        mean = jnp.mean(rest(params, {"mean": 0.0}, batch))
        return {"mean": jax.lax.pmean(mean, parallel.DATA_AXIS)}

    def fetch(data, rows, examples, weight, key):
        return {"x": data["x"][rows], "weight": weight}

    mesh = small.mesh(8)
    return evaluation.Evaluator(
        objectives.Objective(None, evaluate, statistics),
        fetch,
        parallel.replicate({"train": {"x": X}}, mesh),
        mesh,
        batch_size=16,
        statistics_batch_size=SIZE,
    )


def quartic_hessian(w, mean):
    """``E 3 (w . x - mean)^2 x x^T``, and the loss, in float64."""
    x = X.astype(np.float64)
    rest = x @ flat(w) - mean
    return (3 * rest**2 * x.T) @ x / SIZE, np.mean(rest**4) / 4


def test_products_of_a_quartic_in_closed_form(quartic):
    product = hessian.make_product(quartic)
    matrix, _ = quartic_hessian(W, 0.4)
    found = flat(product(W, {"mean": np.float32(0.4)}, OTHER))
    np.testing.assert_allclose(found, matrix @ flat(OTHER), rtol=1e-4)


def test_sharpness_of_a_quartic_in_closed_form(quartic):
    rows, old = [[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]], {"mean": np.float32(50)}
    found = dict(hessian.sharpness(quartic, (W, OTHER), rows, old, 2, skip={2}))
    assert found.keys() == {0, 1}
    for (a, b), point in zip(rows[:2], found.values(), strict=True):
        w = jax.tree.map(lambda x, y, a=a, b=b: a * x + b * y, W, OTHER)
        matrix, loss = quartic_hessian(w, (X.astype(np.float64) @ flat(w)).mean())
        expected = np.linalg.eigvalsh(matrix)[::-1][:2]
        assert expected[0] > 1.1 * expected[1] > 0
        np.testing.assert_allclose(point.eigenvalues, expected, rtol=1e-4)
        np.testing.assert_allclose(point.loss, loss, rtol=1e-4)
        assert point.residuals.max() < 1e-3 * expected[0]


def test_quadratic_has_its_own_eigenvalues():
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values = np.concatenate([[7.5, 3.25, 3.25, 1.5], rng.uniform(-9, 1, 36)])
    matrix = (basis * values) @ basis.T
    done = []

    def product(v):
        x = matrix @ np.concatenate([v["a"].ravel(), v["b"]])
        return {"a": x[:30].reshape(5, 6), "b": x[30:]}

    like = {"a": np.zeros((5, 6)), "b": np.zeros(10)}
    found = hessian.eigenpairs(product, like, 4, seed=3, progress=done.append)
    np.testing.assert_allclose(found.values, values[:4], rtol=1e-5)
    assert done == list(range(1, len(done) + 1))
    vectors = np.stack([flat(v) for v in found.vectors])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=1e-5)
    assert abs(vectors[0] @ basis[:, 0]) == pytest.approx(1, abs=1e-4)
    residuals = np.linalg.norm(matrix @ vectors.T - vectors.T * found.values, axis=0)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-6)
    assert found.residuals.max() < 1e-3


@long
@pytest.mark.parametrize(("devices", "batch_size"), [(1, 16), (8, 16), (3, 500)])
def test_products_are_those_of_the_whole_matrix(plain, devices, batch_size):
    _, params, matrix = plain
    product = hessian.make_product(make(PLAIN, devices, batch_size))
    vector, unravel = ravel_pytree(params)
    v = np.random.default_rng(0).normal(size=len(vector)).astype(np.float32)
    expected = matrix @ v
    found = flat(product(params, {}, unravel(jnp.asarray(v))))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@long
def test_eigenpairs_are_those_of_the_whole_matrix(plain):
    evaluator, params, matrix = plain
    product = hessian.make_product(evaluator)
    found = hessian.eigenpairs(lambda v: product(params, {}, v), params, 3)
    expected = np.linalg.eigvalsh(matrix)[::-1]
    assert expected[0] > 1.01 * expected[1]
    np.testing.assert_allclose(found.values, expected[:3], rtol=1e-4)
    assert found.residuals.max() < 1e-3 * expected[0]


@long
def test_batch_norm_is_recomputed_and_held():
    model = nets.Normed(3, parallel.DATA_AXIS, ((4, 0.7),))
    params, state = point(model)
    evaluator = make(model)
    old = jax.tree.map(lambda x: x + 3.0, state)  # an old state: must not matter
    held = evaluator.statistics(params, old)
    named = held["batch_stats"]["BatchNorm_0"]
    x = DATA["images"].reshape(SIZE, -1) @ np.asarray(params["Dense_0"]["kernel"])
    x += np.asarray(params["Dense_0"]["bias"])
    np.testing.assert_allclose(named["mean"], x.mean(0), rtol=1e-4, atol=1e-5)
    found = dict(hessian.sharpness(evaluator, (params,), [[1.0]], old, 2))[0]
    expected = np.linalg.eigvalsh(whole(model, params, held))[::-1]
    np.testing.assert_allclose(found.eigenvalues, expected[:2], rtol=1e-3)
    assert abs(np.linalg.eigvalsh(whole(model, params, old))[-1] / expected[0] - 1) > 0.05


@long
def test_sharpness_at_points(plain):
    evaluator, params, _ = plain
    other, _ = point(PLAIN, seed=4)
    rows = np.array([[1.0, 0.0], [0.3, 0.7], [1e30, 0.0]])
    told = []
    found = dict(
        hessian.sharpness(
            evaluator, (params, other), rows, {}, 2, progress=lambda *x: told.append(x)
        )
    )
    middle = jax.tree.map(lambda a, b: 0.3 * a + 0.7 * b, params, other)
    expected = np.linalg.eigvalsh(whole(PLAIN, middle, {}))[::-1][:2]
    np.testing.assert_allclose(found[1].eigenvalues, expected, rtol=1e-4)
    losses = evaluator((params, other), rows, {})["train"]["loss"]
    np.testing.assert_allclose([found[i].loss for i in range(2)], losses[:2], rtol=1e-6)
    assert np.isnan(found[2].eigenvalues).all()  # and the others are as they were
    assert np.isnan(found[2].residuals).all()
    assert told[0] == (0, 1)
    assert {index for index, _ in told} == {0, 1}
    alone = dict(hessian.sharpness(evaluator, (params, other), rows, {}, 2, skip={0, 2}))
    assert alone.keys() == {1}
    np.testing.assert_array_equal(alone[1].eigenvalues, found[1].eigenvalues)


@pytest.mark.parametrize("count", [0, 4, 9])
def test_count_out_of_range(count):
    with pytest.raises(
        ValueError, match=f"{count} eigenvalues of a matrix of 4 rows: ask for 1 to 3"
    ):
        hessian.eigenpairs(lambda v: v, {"w": np.zeros(4)}, count)


def test_no_eigenvalues():
    with pytest.raises(hessian.NoEigenvaluesError, match="not finite"):
        hessian.eigenpairs(lambda v: {"w": np.nan * v["w"]}, {"w": np.zeros(4)}, 1)
    close = np.linspace(0, 1, 300, dtype=np.float32)
    with pytest.raises(hessian.NoEigenvaluesError, match=r"after \d\d products: .*No convergence"):
        hessian.eigenpairs(lambda v: {"w": close * v["w"]}, {"w": close}, 4, restarts=2)


def test_tolerance():
    close = np.linspace(0, 1, 300, dtype=np.float32)
    loose, tight = (
        hessian.eigenpairs(lambda v: {"w": close * v["w"]}, {"w": close}, 1, tolerance=t)
        for t in (0.1, 1e-5)
    )
    assert tight.residuals[0] < 1e-4 < loose.residuals[0] < 0.1
