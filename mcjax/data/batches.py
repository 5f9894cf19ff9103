"""Batches of images, made on the device: look up, augment, normalize."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcjax.data import augmentation as augment


def image_batches(
    mean: jax.typing.ArrayLike,
    std: jax.typing.ArrayLike,
    augmentation: augment.Augmentation | None = None,
) -> Callable[..., dict[str, jax.Array]]:
    """The ``fetch`` of `mcjax.engine.training` and `mcjax.engine.evaluation` for an image data set.

    Args:
      mean: per channel, in units of the full range of a pixel.
      std: per channel, likewise.
      augmentation: what is drawn anew for each example and step; None for clean data.

    Returns:
      ``fetch(data, rows, examples, weight, key) -> batch``. ``data`` is a `Split` (uint8 images and
      labels), ``rows`` are int32 positions in it, ``examples`` the numbers that the augmentation's
      randomness belongs to. The batch is ``{"images", "labels", "weight"}``.
    """

    def fetch(data: Any, rows, examples, weight, key):
        images = jnp.asarray(data.images)[rows]
        if augmentation is not None:
            images = augment.augment(augmentation, key, images, examples)
        return {
            "images": augment.normalize(images, mean, std),
            "labels": jnp.asarray(data.labels)[rows],
            "weight": weight,
        }

    return fetch
