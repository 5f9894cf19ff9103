"""Shapes and generic variables of networks, for their tests."""

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.flax import models


def shapes_of(name, images, num_classes=10, **settings):
    model = models.create(name, num_classes=num_classes, **settings)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(images), False))


def count(name, images, **settings):
    return sum(x.size for x in jax.tree.leaves(shapes_of(name, images, **settings)["params"]))


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(0.2, 1, shape).astype(np.float32)


def draw_variables(model, images, seed=1):
    """Generic parameters, no bias zero; by numpy, since compiling an initialisation takes long."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, False))
    rng = np.random.default_rng(seed)

    def one(leaf):
        size = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.3
        return rng.normal(0.1 * size, size, leaf.shape).astype(np.float32)

    def averages(leaf):
        return np.ones(leaf.shape, np.float32)

    return {k: jax.tree.map(one if k == "params" else averages, v) for k, v in shapes.items()}
