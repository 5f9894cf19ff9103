"""Networks and their layers' names in PyTorch, for the tests of checkpoints."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from mcjax.exchange import torch_names
from mcjax.flax import models

RECORDED = Path(__file__).parent / "recorded"


@functools.cache
def network(name, width=1.0, pixels=32, classes=7):
    model = models.create(name, num_classes=classes, width=width)
    images = jnp.zeros((1, pixels, pixels, 3))
    template = jax.eval_shape(lambda k: model.init(k, images, False), jax.random.key(0))
    return model, template, torch_names.layers_of(model)
