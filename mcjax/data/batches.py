"""Batches of images, made on the device: index, augment, normalize."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mcjax.data import augmentation as augment
from mcjax.typing import Array, ArrayLike, Float, Int


def image_batches(
    mean: ArrayLike,
    std: ArrayLike,
    augmentation: augment.Augmentation | None = None,
) -> Callable[..., dict[str, jax.Array]]:
    """Returns the ``fetch`` of `mcjax.engine.training` and `mcjax.engine.evaluation` for images.

    Args:
      mean: mean of each channel, in units of the full range of a pixel.
      std: standard deviation of each channel, likewise.
      augmentation: drawn for each example and step; None for clean data.

    Returns:
      ``fetch(data, rows, examples, weight, key) -> batch``. ``data`` is a `mcjax.data.Split` (uint8
      images and labels), ``rows`` are int32 positions in it, and ``examples`` the numbers that the
      augmentation derives its randomness from. The batch is ``{"images", "labels", "weight"}``.

    >>> import numpy as np
    >>> from mcjax.data import Split
    >>> fetch = jax.jit(image_batches(mean=0.5, std=0.25))
    >>> split = Split(np.full((3, 1, 1, 1), 255, np.uint8), np.arange(3, dtype=np.int32))
    >>> batch = fetch(split, np.array([2, 0]), np.array([2, 0]), np.ones(2), jax.random.key(0))
    >>> batch["labels"].tolist(), batch["images"].shape
    ([2, 0], (2, 1, 1, 1))
    """

    def fetch(
        data: Any,
        rows: Int[Array, " b"],
        examples: Int[Array, " b"],
        weight: Float[Array, " b"],
        key: jax.Array,
    ) -> dict[str, jax.Array]:
        images = jnp.asarray(data.images)[rows]
        if augmentation is not None:
            images = augment.augment(augmentation, key, images, examples)
        return {
            "images": augment.normalize(images, mean, std),
            "labels": jnp.asarray(data.labels)[rows],
            "weight": weight,
        }

    return fetch
