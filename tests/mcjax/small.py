"""A small classification problem of two clouds of images, for tests of the engines."""

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import parallel, training
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy


def data(size=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size).astype(np.int32)
    images = rng.normal(size=(size, 8, 8, 1)) + labels[:, None, None, None] - 1.0
    return {"images": images.astype(np.float32), "labels": labels}


def fetch(data, rows, examples, weight, key):
    """Adds noise of its own to each example, so that randomness is part of the test."""
    noise = jax.vmap(lambda e: jax.random.normal(jax.random.fold_in(key, e), (8, 8, 1)))(examples)
    images = jnp.asarray(data["images"])[rows] + 0.1 * noise
    return {"images": images, "labels": jnp.asarray(data["labels"])[rows], "weight": weight}


def clean(data, rows, examples, weight, key):
    images = jnp.asarray(data["images"])[rows]
    return {"images": images, "labels": jnp.asarray(data["labels"])[rows], "weight": weight}


def network(name="vgg7", dropout=0.0, seed=0):
    """The objective, first parameters and state of a narrow network."""
    model = models.create(
        name, num_classes=3, width=0.125, dropout=dropout, axis_name=parallel.DATA_AXIS
    )
    variables = dict(model.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)), False))
    params = variables.pop("params")
    return cross_entropy(model), params, variables


def mesh(devices):
    return parallel.make_mesh(jax.devices()[:devices])


def train(trainer, state, data, fixed=(), epochs=2, seed=7, **options):
    """The state after the last epoch."""
    for chunk in training.chunks(
        trainer, state, fixed, data, epochs, jax.random.key(seed), **options
    ):
        state = chunk.state
    return state
