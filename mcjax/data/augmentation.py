"""Augmentation and normalization of images, on the device.

Each example's draws depend only on the key and the example's number in the data set, not on its
position in the batch, the other examples, or the devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.data.splits import Split
from mcjax.typing import Array, ArrayLike, Float, Int, Num

NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
"""Means and deviations in PyTorch code; Garipov's uses imagenet for VGG, cifar for ResNets."""

_FLIP = 0x666C6970  # a separate stream, far from the small numbers that splitting a key uses
Statistics = tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]
"""Mean and standard deviation of each channel."""


class Augmentation(NamedTuple):
    """How training images are augmented.

    Attributes:
      padding: largest shift of a crop, in pixels; 0 for no crop.
      flip: whether to mirror left and right with probability 1/2.
    """

    padding: int = 0
    flip: bool = False


def augment(
    augmentation: Augmentation,
    key: jax.Array,
    images: Num[Array, "b h w c"],
    examples: Int[Array, " b"],
) -> Num[Array, "b h w c"]:
    """Mirrors, then crops (the faster order on CPU).

    Args:
      augmentation: static under jit.
      key: key of the step.
      images: uint8, before `normalize`.
      examples: numbers of the examples in the data set.

    Raises:
      ValueError: the padding is negative.
    """
    if augmentation.flip:
        images = random_flip(key, images, examples)
    return random_crop(key, images, examples, augmentation.padding)


def random_crop(
    key: jax.Array, images: Num[Array, "b h w c"], examples: Int[Array, " b"], padding: int
) -> Num[Array, "b h w c"]:
    """Pads with zeros on all sides, then crops to the original size at a random offset.

    Both offsets are uniform on ``0..2*padding``; at ``padding`` the image is unchanged.

    Args:
      key: key of the step.
      images: uint8.
      examples: numbers of the examples in the data set.
      padding: pixels on each side; static under jit.

    Raises:
      ValueError: the padding is negative.
    """
    if padding < 0:
        raise ValueError(f"padding={padding}: use 0 (no crop) or a number of pixels")
    if padding == 0:
        return images

    def crop(
        image: Num[Array, "h_padded w_padded c"], example: Int[Array, ""]
    ) -> Num[Array, "h w c"]:
        offset = jax.random.randint(jax.random.fold_in(key, example), (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(image, (*offset, 0), images.shape[1:])

    margin = (padding, padding)
    return jax.vmap(crop)(jnp.pad(images, ((0, 0), margin, margin, (0, 0))), examples)


def random_flip(
    key: jax.Array, images: Num[Array, "b h w c"], examples: Int[Array, " b"]
) -> Num[Array, "b h w c"]:
    """Mirrors left and right with probability 1/2, independently of `random_crop` with this key.

    Args:
      key: key of the step.
      images: uint8.
      examples: numbers of the examples in the data set.
    """

    def draw(example: Int[Array, ""]) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, example), _FLIP))

    flips = jax.vmap(draw)(examples)[:, None, None, None]
    return jnp.where(flips, images[:, :, ::-1], images)


def statistics(split: Split, chunk: int = 1024) -> Statistics:
    """Computes each channel's mean and standard deviation over all pixels of a split, on the host.

    Pixels are counted by value, so the sums are exact and the images are not copied.

    Args:
      split: usually the training split.
      chunk: number of images at a time.

    Returns:
      float32, in units of the full range of a pixel (255). The deviation of a constant channel is
      1, so that `normalize` makes it zero.
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


def fixed_statistics(text: str, channels: int) -> Statistics:
    """Parses each channel's mean and standard deviation, in the units of `statistics`.

    Args:
      text: one of `NORMALIZATIONS`, or ``MEAN,...,MEAN/STD,...,STD``.
      channels: number of channels.

    Raises:
      ValueError: the text is neither, or has another number of channels.

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
            f"normalization={text!r} for {channels}-channel images: use "
            f"{' or '.join(NORMALIZATIONS)} (3 channels), or as many means and deviations as "
            "channels, MEAN,.../STD,..."
        )
    if not (np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"normalization={text!r}: deviations must be positive numbers")
    return mean, std


def check_statistics(text: str) -> None:
    """Checks the text for `fixed_statistics` before the number of channels is known.

    Raises:
      ValueError: the text is neither a name nor as many means as deviations.
    """
    channels = 3 if text in NORMALIZATIONS else text.partition("/")[0].count(",") + 1
    fixed_statistics(text, channels)


def normalize(
    images: Num[ArrayLike, "... c"], mean: ArrayLike, std: ArrayLike
) -> Float[Array, "... c"]:
    """Returns ``(images / 255 - mean) / std`` as float32.

    Args:
      images: uint8.
      mean: one number per channel, from `statistics` or `fixed_statistics`.
      std: likewise.
    """
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    images = jnp.asarray(images).astype(jnp.float32) / 255
    mean, std = (jnp.expand_dims(x, range(images.ndim - x.ndim)) for x in (mean, std))
    return (images - mean) / std
