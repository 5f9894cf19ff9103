import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.engine import objectives

KEY = jax.random.key(5)
PARAMS = {"scale": jnp.float32(1.7), "bias": jnp.array([0.3, -0.2, 0.1, 0.5], jnp.float32)}


def test_l2_is_in_the_gradient_and_not_in_the_metric():
    plain = objectives.from_loss(
        lambda p, b: jnp.mean((p["scale"] * b["x"] + p["bias"][None]) ** 2)
    )
    batch, decay = {"x": jnp.array([[0.4, -1.3, 2.0, 0.7]] * 3)}, 0.07
    decayed = objectives.with_l2(plain, decay)

    def run(objective):
        train = lambda p: objective.train(p, {}, batch, KEY)  # noqa: E731
        return jax.jit(jax.value_and_grad(train, has_aux=True))(PARAMS)

    (loss, (sums, _)), gradient = run(decayed)
    (plain_loss, (plain_sums, _)), plain_gradient = run(plain)
    norm = 1.7**2 + 0.3**2 + 0.2**2 + 0.1**2 + 0.5**2
    np.testing.assert_allclose(loss - plain_loss, 0.5 * decay * norm, rtol=1e-5)
    for name in PARAMS:  # the bias is penalised too
        np.testing.assert_allclose(
            gradient[name] - plain_gradient[name], decay * PARAMS[name], rtol=1e-4, atol=1e-6
        )
    assert sums["loss"] == plain_sums["loss"]
    np.testing.assert_allclose(sums["l2"] / sums["count"], norm, rtol=1e-6)
    assert decayed.evaluate is plain.evaluate


@pytest.mark.parametrize("takes_key", [False, True])
def test_from_loss(takes_key):
    def loss(params, batch):
        return jnp.mean((params - batch["x"]) ** 2)

    def with_key(params, batch, key):
        return loss(params, batch) + jax.random.uniform(key)

    batch = {"x": jnp.array([1.0, 2.0, 4.0])}
    objective = objectives.from_loss(with_key if takes_key else loss)
    value, (sums, state) = objective.train(jnp.float32(0.5), {"kept": 1}, batch, KEY)
    expected = (0.25 + 2.25 + 12.25) / 3 + (float(jax.random.uniform(KEY)) if takes_key else 0)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(sums["loss"], 3 * expected, rtol=1e-6)
    assert sums["count"] == 3
    assert state == {"kept": 1}
    evaluated = objective.evaluate(jnp.float32(0.5), {}, batch)
    assert set(evaluated) == {"loss", "count"}
    assert objective.statistics is None


@pytest.mark.parametrize("loss", [lambda p: 0.0, lambda p, b, k, more: 0.0])
def test_from_loss_says_what_it_takes(loss):
    with pytest.raises(ValueError, match=r"loss takes \(p.*\): expected \(params, batch"):
        objectives.from_loss(loss)


def test_from_loss_weighs_examples_of_a_padded_batch():
    """Copies of weight zero, as the evaluator pads with, change nothing."""
    objective = objectives.from_loss(lambda w, batch: jnp.mean((w - batch["x"]) ** 2))
    x = jnp.array([1.0, 4.0, -2.0])
    padded = {"x": jnp.append(x, jnp.nan), "weight": jnp.array([1.0, 1.0, 1.0, 0.0])}
    sums = objective.evaluate(jnp.float32(0.5), {}, padded)
    np.testing.assert_allclose(sums["loss"], ((0.5 - x) ** 2).sum(), rtol=1e-6)
    assert sums["count"] == 3
    loss, _ = objective.train(jnp.float32(0.5), {}, padded, jax.random.key(0))
    np.testing.assert_allclose(loss, ((0.5 - x) ** 2).mean(), rtol=1e-6)


def test_from_loss_gives_an_example_the_key_of_its_place_in_the_whole_batch():
    noise = lambda params, batch, key: jax.random.uniform(key) * jnp.mean(batch["x"])  # noqa: E731
    objective = objectives.from_loss(noise, "data")
    batch = {"x": jnp.array([1.0, 4.0, -2.0, 7.0]), "weight": jnp.ones(4)}

    def total(batch):
        return jax.lax.psum(objective.train(0.0, {}, batch, KEY)[1][0]["loss"], "data")

    shares = lambda n: jax.tree.map(lambda x: x.reshape(n, -1), batch)  # noqa: E731
    found = [jax.jit(jax.vmap(total, axis_name="data"))(shares(n))[0] for n in (1, 2)]
    keys = [jax.random.fold_in(KEY, i) for i in range(4)]
    expected = sum(jax.random.uniform(k) * x for k, x in zip(keys, batch["x"], strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_loss_whose_model_is_bound_by_name_takes_no_key():
    def loss(params, batch, scale):
        return jnp.mean(scale * params * batch)

    mean = objectives.with_key(functools.partial(loss, scale=3.0))
    assert mean(2.0, jnp.array([1.0, 2.0]), KEY) == 9.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_from_loss_mixes_no_dtypes_under_x64(dtype):
    with jax.enable_x64(True):
        mean = lambda scale, batch, key: scale * jax.random.uniform(key, dtype=dtype)  # noqa: E731
        noise = objectives.from_loss(mean, "data")
        share, scale = {"weight": jnp.ones((1, 7), jnp.float32)}, jnp.asarray(1.7, dtype)
        step = jax.vmap(lambda b: noise.train(scale, {}, b, KEY)[0], axis_name="data")
        assert step(share).dtype == dtype
