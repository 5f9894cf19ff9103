"""The losses of nearly certain predictions keep four digits in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax.analysis import ensembles
from mcjax.engine import objectives
from mcjax.flax.objective import cross_entropy

RNG = np.random.default_rng(2)
LOGITS = RNG.normal(size=(9, 5)) * 3
LABELS = RNG.integers(0, 5, 9)


def exact(logits, labels):
    """In float64, by the sum of the others."""
    below = np.float64(logits) - np.take_along_axis(np.float64(logits), labels[:, None], 1)
    np.put_along_axis(below, labels[:, None], -np.inf, 1)
    return np.log1p(np.exp(below).sum(1))


class Model:
    """The images are the logits."""

    def apply(self, variables, images, train, **options):
        return (images, {}) if train else images


def objective():
    return cross_entropy(Model())


@pytest.mark.parametrize("margin", [2.0, 12.26, 16.26, 40.0])  # 4.7e-6 and 8.7e-8 at two of them
def test_evaluation_keeps_four_digits_of_small_losses(margin):
    logits = np.array([[margin, 0.0], [-1.0, margin - 1.0], [7.0, 7.0 + margin]], np.float32)
    labels = np.array([0, 1, 1])
    batch = {"images": logits, "labels": labels, "weight": jnp.ones(3)}
    sums = objective().evaluate({}, {}, batch)
    np.testing.assert_allclose(sums["loss"], exact(logits, labels).sum(), rtol=1e-5)
    found = ensembles.log_probabilities(logits)[np.arange(3), labels]
    np.testing.assert_allclose(-found, exact(logits, labels), rtol=1e-10)


@pytest.mark.long
def test_large_losses_gradients_and_hessians_are_those_of_optax():
    def mean(loss, logits):
        return loss(logits, jnp.asarray(LABELS)).mean()

    logits, loss = jnp.asarray(LOGITS, jnp.float32), objectives.exact_cross_entropy
    assert (LOGITS.argmax(1) != LABELS).any()
    assert (LOGITS.argmax(1) == LABELS).any()
    reference = optax.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(loss(logits, LABELS), exact(LOGITS, LABELS), rtol=1e-5)
    for derivative in (jax.grad, jax.hessian):
        found, expected = (derivative(lambda x, f=f: mean(f, x))(logits) for f in (loss, reference))
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("label", [-6, -1, 5])
def test_a_label_that_is_not_a_class_gives_nan_and_spares_the_others(label):
    logits = jnp.asarray(LOGITS, jnp.float32)
    for dtype in (jnp.int8, jnp.int32):
        labels = jnp.asarray(LABELS, dtype).at[3].set(label)
        losses = objectives.exact_cross_entropy(logits, labels)
        np.testing.assert_array_equal(np.isnan(losses), np.arange(9) == 3)


def test_the_training_loss_has_not_moved_a_bit():
    batch = {"images": jnp.asarray(LOGITS, jnp.float32), "labels": jnp.asarray(LABELS)}
    batch["weight"] = jnp.ones(9)
    shifted = batch["images"] - batch["images"].max(-1, keepdims=True)
    expected = optax.softmax_cross_entropy_with_integer_labels(shifted, batch["labels"])
    sums = objective().train({}, {}, batch, jax.random.key(0))[1][0]
    assert sums["loss"] == jnp.sum(expected * batch["weight"])
