"""Augmentation and normalization of images, on the device.

What is drawn for an example is a function of the key and of the example's number in the data set
alone: not of its place in the batch, nor of the rest of the batch, nor of the devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.data.splits import Split

NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
"""Means and deviations of PyTorch code; Garipov's has imagenet for VGG and cifar for ResNets."""

_FLIP = 0x666C6970  # a stream of its own, far from the small numbers that splitting a key uses


class Augmentation(NamedTuple):
    """What is done to training images.

    Attributes:
      padding: crops start up to so many pixels away; 0 for none.
      flip: mirror left and right, every second time.
    """

    padding: int = 0
    flip: bool = False


def augment(
    augmentation: Augmentation, key: jax.Array, images: jax.Array, examples: jax.Array
) -> jax.Array:
    """Applies an augmentation: mirrors, then crops (that order is the faster one on CPU).

    Args:
      augmentation: what to do; static under jit.
      key: of the step.
      images: uint8 ``[B, H, W, C]``, before `normalize`.
      examples: int32 ``[B]``, the examples' numbers in the data set.

    Returns:
      uint8 ``[B, H, W, C]``.

    Raises:
      ValueError: the padding is negative.
    """
    if augmentation.flip:
        images = random_flip(key, images, examples)
    return random_crop(key, images, examples, augmentation.padding)


def random_crop(key: jax.Array, images: jax.Array, examples: jax.Array, padding: int) -> jax.Array:
    """Pads with zeros on all sides, then cuts out the original size anywhere.

    Both offsets are uniform on ``0..2*padding``; at ``padding`` the image is unchanged.

    Args:
      key: of the step.
      images: uint8 ``[B, H, W, C]``.
      examples: int32 ``[B]``, the examples' numbers in the data set.
      padding: pixels on each side; static under jit.

    Returns:
      uint8 ``[B, H, W, C]``.

    Raises:
      ValueError: the padding is negative.
    """
    if padding < 0:
        raise ValueError(f"padding={padding}: use 0 (no crop) or a number of pixels")
    if padding == 0:
        return images

    def crop(image, example):
        offset = jax.random.randint(jax.random.fold_in(key, example), (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(image, (*offset, 0), images.shape[1:])

    margin = (padding, padding)
    return jax.vmap(crop)(jnp.pad(images, ((0, 0), margin, margin, (0, 0))), examples)


def random_flip(key: jax.Array, images: jax.Array, examples: jax.Array) -> jax.Array:
    """Mirrors left and right with probability 1/2; independent of `random_crop` with that key.

    Args:
      key: of the step.
      images: uint8 ``[B, H, W, C]``.
      examples: int32 ``[B]``, the examples' numbers in the data set.

    Returns:
      uint8 ``[B, H, W, C]``.
    """

    def draw(example):
        return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, example), _FLIP))

    flips = jax.vmap(draw)(examples)[:, None, None, None]
    return jnp.where(flips, images[:, :, ::-1], images)


def statistics(split: Split, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all pixels of a split, on the host.

    Pixels are counted by value, so the sums are exact and no copy of the images is made.

    Args:
      split: usually the training split.
      chunk: images at a time.

    Returns:
      float32 ``[C]`` each, in units of the full range of a pixel (255). The deviation of a channel
      that is constant is given as 1, so that `normalize` makes it zero.
    """
    channels = split.images.shape[-1]
    counts = np.zeros((channels, 256))
    for start in range(0, len(split.images), chunk):
        images = split.images[start : start + chunk]
        for c in range(channels):
            counts[c] += np.bincount(images[..., c].ravel(), minlength=256)
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * np.square(values - mean[:, None])).sum(1))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def fixed_statistics(text: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel by name or in numbers, as `statistics` gives.

    Args:
      text: one of `NORMALIZATIONS`, or ``MEAN,...,MEAN/STD,...,STD``.
      channels: how many of each are needed.

    Raises:
      ValueError: it is neither, or not of so many channels.

    >>> fixed_statistics("0.5/0.25", channels=1)
    (array([0.5], dtype=float32), array([0.25], dtype=float32))
    """
    try:
        both = NORMALIZATIONS.get(text) or [map(float, p.split(",")) for p in text.split("/")]
        mean, std = (np.array(list(numbers), np.float32) for numbers in both)
    except ValueError:
        mean = std = np.zeros(0, np.float32)
    if not (mean.shape == std.shape == (channels,) and np.isfinite(mean).all()):
        raise ValueError(
            f"normalization={text!r} of images with {channels} channels: use "
            f"{' or '.join(NORMALIZATIONS)} (3 channels), or as many means and deviations as "
            "channels, MEAN,.../STD,..."
        )
    if not (np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization={text!r}: deviations must be positive numbers")
    return mean, std


def check_statistics(text: str) -> None:
    """Checks what `fixed_statistics` takes, where the number of channels is not yet known.

    Raises:
      ValueError: it is neither a name nor as many means as deviations.
    """
    channels = 3 if text in NORMALIZATIONS else text.partition("/")[0].count(",") + 1
    fixed_statistics(text, channels)


def normalize(
    images: jax.Array, mean: jax.typing.ArrayLike, std: jax.typing.ArrayLike
) -> jax.Array:
    """``(images / 255 - mean) / std``.

    Args:
      images: uint8 ``[..., C]``.
      mean: ``[C]``, from `statistics` or `fixed_statistics`.
      std: ``[C]``, likewise.

    Returns:
      float32 ``[..., C]``.
    """
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    images = jnp.asarray(images).astype(jnp.float32) / 255
    mean, std = (jnp.expand_dims(x, range(images.ndim - x.ndim)) for x in (mean, std))
    return (images - mean) / std
