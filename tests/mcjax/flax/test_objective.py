import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.engine import objectives
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy
from tests import nets

KEY = jax.random.key(5)


class Scaled(nn.Module):
    """Logits are the image's pixels, scaled and shifted."""

    @nn.compact
    def __call__(self, images, train):
        flat = images.reshape(len(images), -1)
        scale = self.param("scale", nn.initializers.ones, ())
        return flat * scale + self.param("bias", nn.initializers.zeros, (flat.shape[1],))[None]


PARAMS = {"scale": jnp.float32(1.7), "bias": jnp.array([0.3, -0.2, 0.1, 0.5], jnp.float32)}


def batch_of(logits, labels, weight):
    images = np.asarray(logits, np.float32).reshape(-1, 2, 2, 1)
    return {
        "images": jnp.asarray(images),
        "labels": jnp.asarray(labels, jnp.int32),
        "weight": jnp.asarray(weight, jnp.float32),
    }


def a_batch(size=7, seed=0):
    rng = np.random.default_rng(seed)
    return batch_of(rng.normal(size=(size, 4)), rng.integers(0, 4, size), np.ones(size))


def by_numpy(batch, params=PARAMS):
    """Losses and right answers of `Scaled`, in float64."""
    flat = np.asarray(batch["images"], np.float64).reshape(-1, 4)
    logits = flat * float(params["scale"]) + np.asarray(params["bias"], np.float64)
    labels = np.asarray(batch["labels"])
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
    return losses, logits.argmax(1) == labels


def without(batch, index):
    return jax.tree.map(lambda x: jnp.delete(x, index, axis=0), batch)


def test_cross_entropy_sums():
    objective, batch = cross_entropy(Scaled()), a_batch()
    losses, right = by_numpy(batch)
    assert 0 < right.sum() < 7
    sums = jax.jit(objective.evaluate)(PARAMS, {}, batch)
    assert set(sums) == {"loss", "accuracy", "count"}
    np.testing.assert_allclose(sums["loss"], losses.sum(), rtol=1e-5)
    assert float(sums["accuracy"]) == right.sum()
    assert sums["count"] == 7
    loss, (train_sums, state) = jax.jit(objective.train)(PARAMS, {}, batch, KEY)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(train_sums["loss"], losses.sum(), rtol=1e-5)
    assert state == {}


@pytest.mark.parametrize("pixel", [3.0, 1e30, 3e38, np.inf, np.nan])
def test_an_example_of_weight_zero_counts_for_nothing(pixel):
    batch = a_batch()
    images = batch["images"].at[4, 0, 0, 0].set(pixel)  # 3e38 overflows in the network
    labels = batch["labels"].at[4].set(0)  # the class that its logits are largest in
    weight = batch["weight"].at[4].set(0)
    padded = batch | {"images": images, "labels": labels, "weight": weight}
    objective = cross_entropy(Scaled())

    def loss(params, batch):
        value, (sums, _) = objective.train(params, {}, batch, KEY)
        return value, sums

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, sums), gradient = run(PARAMS, padded)
    (expected, expected_sums), expected_gradient = run(PARAMS, without(batch, 4))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), sums, expected_sums)
    if np.isfinite(pixel):  # a pixel that is not finite meets the gradient in the network itself
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            gradient,
            expected_gradient,
        )


def test_a_batch_of_padding_alone_is_zero_not_nan():
    batch = a_batch()
    loss, (sums, _) = cross_entropy(Scaled()).train(
        PARAMS, {}, batch | {"weight": jnp.zeros(7)}, KEY
    )
    assert loss == 0
    assert sums["count"] == 0


def test_logits_that_are_not_numbers_are_never_right():
    """argmax of four NaNs is class 0."""
    batch = batch_of(np.full((3, 4), np.nan), [0, 0, 1], np.ones(3))
    sums = jax.jit(cross_entropy(Scaled()).evaluate)(PARAMS, {}, batch)
    assert sums["accuracy"] == 0
    assert np.isnan(sums["loss"])
    assert sums["count"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_mixes_no_dtypes_under_x64(dtype):
    objective, batch = cross_entropy(Scaled()), a_batch()
    losses, right = by_numpy(batch)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
        wide = batch | {"images": batch["images"].astype(dtype)}
        decayed = objectives.with_l2(objective, 0.1)
        loss, (sums, _) = decayed.train(params, {}, wide, KEY)
        assert float(objective.evaluate(params, {}, wide)["accuracy"]) == right.sum()
        assert loss.dtype == sums["l2"].dtype == dtype
        np.testing.assert_allclose(sums["l2"], 7 * (1.7**2 + 0.39), rtol=1e-6)
        np.testing.assert_allclose(loss, losses.mean() + 0.05 * (1.7**2 + 0.39), rtol=1e-6)


class Normed(nn.Module):
    """Batch norm as a field, as a submodule and in a name of its own, with different momenta."""

    norm: nn.Module

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(len(images), -1)
        x = nn.relu(self.norm(x, use_running_average=not train))
        return nn.BatchNorm(not train, momentum=0.999, epsilon=1e-3, name="second")(x)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 1.0])
def test_statistics_are_the_batch_s_own(momentum):
    model = Normed(nn.BatchNorm(momentum=momentum, epsilon=1e-3))
    batch = a_batch(11, seed=3)
    batch["images"] = 2 * batch["images"] + 0.7
    variables = dict(model.init(jax.random.key(1), batch["images"], False))
    params = jax.tree.map(lambda x: x + 0.4, variables.pop("params"))
    state = jax.tree.map(lambda x: x + 5.0, variables)  # an old state, far from the batch's
    objective = cross_entropy(model)
    found = jax.jit(objective.statistics)(params, state, batch)["batch_stats"]

    first = np.asarray(batch["images"], np.float64).reshape(11, 4)
    normed = (first - first.mean(0)) / np.sqrt(first.var(0) + 1e-3)
    second = np.maximum(1.4 * normed + 0.4, 0)
    for name, x in (("norm", first), ("second", second)):
        np.testing.assert_allclose(found[name]["mean"], x.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[name]["var"], x.var(0), rtol=1e-5, atol=1e-6)

    # Training afterwards still has the model's momentum.
    _, (_, new) = jax.jit(objective.train)(params, state, batch, KEY)
    expected = momentum * 5.0 + (1 - momentum) * first.mean(0)
    np.testing.assert_allclose(new["batch_stats"]["norm"]["mean"], expected, rtol=1e-5)


def test_small_losses_keep_their_digits_under_large_logits():
    model = lambda shift: type("M", (), {"apply": lambda *_, **__: shift + LOGITS})  # noqa: E731
    batch = {"images": LOGITS, "labels": jnp.zeros(2, jnp.int32), "weight": jnp.ones(2)}
    losses = [cross_entropy(model(shift)).evaluate({}, {}, batch)["loss"] for shift in (0.0, 64.0)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


LOGITS = jnp.array([[8.0, 0.0], [9.0, 0.5]])


@pytest.mark.long
@pytest.mark.parametrize("model", [models.create("mlp", num_classes=4), nets.normed(4, None)])
def test_in_bfloat16_parameters_averages_and_sums_stay_float32(model):
    rng = np.random.default_rng(1)
    batch = {
        "images": jnp.asarray(rng.normal(size=(32, 8, 8, 1)), jnp.float32),
        "labels": jnp.asarray(rng.integers(0, 4, 32), jnp.int32),
        "weight": jnp.ones(32),
    }
    state = dict(model.init(KEY, batch["images"], False))
    params = state.pop("params")

    def results(objective):
        step = jax.value_and_grad(objective.train, has_aux=True)
        (loss, (sums, new)), gradient = jax.jit(step)(params, state, batch, KEY)
        averages = jax.jit(objective.statistics)(params, state, batch)
        logits = jax.jit(objective.logits)(params, state, batch)
        return loss, sums["loss"], gradient, new, averages, logits

    objective = cross_entropy(model, jnp.bfloat16)
    pairs = zip(results(objective), results(cross_entropy(model)), strict=True)
    for coarse, exact in pairs:
        assert {x.dtype for x in jax.tree.leaves(coarse)} <= {jnp.dtype("float32")}
        a, b = (np.array([0, *jax.flatten_util.ravel_pytree(t)[0]]) for t in (coarse, exact))
        assert 0 <= np.linalg.norm(a - b) <= 0.1 * np.linalg.norm(b)
    products = [
        [x.aval.dtype for x in equation.invars]
        for equation in jax.make_jaxpr(objective.logits)(params, state, batch).eqns
        if equation.primitive is jax.lax.dot_general_p
    ]
    assert len(products) >= 2
    assert all(dtypes == [jnp.bfloat16] * 2 for dtypes in products)


class Layered(nn.Module):
    """A convolution and a dense layer, both used twice; a state in the dtype of what comes by."""

    @nn.compact
    def __call__(self, images, train):
        mean = self.variable("stats", "mean", jnp.zeros, (8,))
        conv, dense = nn.Conv(8, (3, 3)), nn.Dense(8)
        x = conv(conv(images))
        if train:
            mean.value = jnp.mean(x, (0, 1, 2))
        return jnp.mean(dense(dense(x)), (1, 2))


@pytest.mark.slow
def test_in_bfloat16_gradients_of_biases_are_summed_in_float32():
    objective = cross_entropy(Layered(), jnp.bfloat16)
    exact = cross_entropy(Layered())
    rng = np.random.default_rng(0)
    batch = {
        "images": jnp.asarray(rng.normal(size=(16, 16, 16, 8)), jnp.float32),
        "labels": jnp.zeros(16, jnp.int32),  # so that the sums are not of mean zero
        "weight": jnp.ones(16),
    }
    state = dict(Layered().init(KEY, batch["images"], False))
    params = state.pop("params")
    (_, (_, new)), gradient = jax.value_and_grad(objective.train, has_aux=True)(
        params, state, batch, KEY
    )
    expected = jax.grad(exact.train, has_aux=True)(params, state, batch, KEY)[0]
    assert {x.dtype for x in jax.tree.leaves(new)} == {jnp.dtype("float32")}
    for layer in ("Conv_0", "Dense_0"):
        a, b = (g[layer]["bias"] for g in (gradient, expected))
        assert np.linalg.norm(a - b) <= 0.01 * np.linalg.norm(b), layer
    np.testing.assert_array_equal(
        objective.logits(params, state, batch),
        Layered().apply(
            {"params": jax.tree.map(lambda x: x.astype(jnp.bfloat16), params), **state},
            batch["images"].astype(jnp.bfloat16), False,
        ),
    )  # fmt: skip

    def hessian_times_itself(objective):
        slope = jax.grad(lambda p: objective.train(p, state, batch, KEY)[0])
        return jax.flatten_util.ravel_pytree(jax.jvp(slope, (params,), (params,))[1])[0]

    a, b = hessian_times_itself(objective), hessian_times_itself(exact)
    assert 0 < np.linalg.norm(a - b) <= 0.05 * np.linalg.norm(b)
