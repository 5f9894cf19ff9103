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

    >>> Augmentation(padding=4, flip=True)  # usual for CIFAR-10
    Augmentation(padding=4, flip=True)
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
      images: uint8 or float32, before `normalize`.
      examples: numbers of the examples in the data set.

    Raises:
      ValueError: the padding is negative.

    >>> image = jnp.zeros((1, 8, 8, 1))
    >>> augment(Augmentation(), jax.random.key(0), image, jnp.arange(1)) is image  # none
    True
    >>> augment(Augmentation(padding=-1), jax.random.key(0), image, jnp.arange(1))
    Traceback (most recent call last):
    ValueError: padding=-1: use 0 (no crop) or a number of pixels
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
      images: uint8 or float32.
      examples: numbers of the examples in the data set.
      padding: pixels on each side; static under jit.

    Raises:
      ValueError: the padding is negative.

    >>> key, image = jax.random.key(0), np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    >>> crop = jax.jit(random_crop, static_argnames="padding")
    >>> crop(key, image, np.array([0]), padding=1).reshape(3, 3)
    Array([[2, 3, 0],
           [5, 6, 0],
           [8, 9, 0]], dtype=uint8)
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
      images: uint8 or float32.
      examples: numbers of the examples in the data set.

    >>> images = np.tile(np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1), (4, 1, 1, 1))
    >>> jax.jit(random_flip)(jax.random.key(0), images, np.arange(4)).reshape(4, 3)
    Array([[0, 1, 2],
           [0, 1, 2],
           [2, 1, 0],
           [2, 1, 0]], dtype=uint8)
    """

    def draw(example: Int[Array, ""]) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, example), _FLIP))

    flips = jax.vmap(draw)(examples)[:, None, None, None]
    return jnp.where(flips, images[:, :, ::-1], images)


def statistics(split: Split, chunk: int = 1024) -> Statistics:
    """Computes each channel's mean and standard deviation over all pixels of a split, on the host.

    The pixels of uint8 images are counted by value, so the sums are exact and the images are not
    copied.

    Args:
      split: usually the training split.
      chunk: number of images at a time.

    Returns:
      float32, in units of the full range of a pixel (255), or of the images themselves if they are
      float. The deviation of a constant channel is 1, so that `normalize` makes it zero.

    >>> pixels = np.array([[0, 255], [0, 255]], np.uint8).reshape(1, 2, 2, 1)
    >>> statistics(Split(pixels, np.zeros(1, np.int32)))
    (array([0.5], dtype=float32), array([0.5], dtype=float32))
    """
    if split.images.dtype != np.uint8:
        mean, std = _float_statistics(split.images)
    else:
        mean, std = _counted_statistics(split.images, chunk)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _float_statistics(images: np.ndarray) -> Statistics:
    mean = images.mean((0, 1, 2), np.float64)
    squares = [np.square(x - mean).mean((0, 1)) for x in images]
    return mean, np.sqrt(np.mean(squares, 0))


def _counted_statistics(pixels: np.ndarray, chunk: int) -> Statistics:
    channels = pixels.shape[-1]
    counts = np.zeros((channels, 256))
    for start in range(0, len(pixels), chunk):
        images = pixels[start : start + chunk]
        for c in range(channels):
            counts[c] += np.bincount(images[..., c].ravel(), minlength=256)
    values, shares = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt((shares * np.square(values - mean[:, None])).sum(1))


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

    >>> check_statistics("0.5,0.5/0.25")
    Traceback (most recent call last):
    ValueError: normalization='0.5,0.5/0.25' for 2-channel images: use imagenet or cifar ...
    """
    channels = 3 if text in NORMALIZATIONS else text.partition("/")[0].count(",") + 1
    fixed_statistics(text, channels)


def full_range(images: Num[ArrayLike, "... c"]) -> int:
    """The pixel value that `normalize` takes as 1: 255 for uint8 images, 1 for float ones.

    >>> full_range(np.zeros((2, 2, 1), np.uint8)), full_range(np.zeros((2, 2, 1), np.float32))
    (255, 1)
    """
    return 255 if jnp.asarray(images).dtype == jnp.uint8 else 1


def normalize(
    images: Num[ArrayLike, "... c"], mean: ArrayLike, std: ArrayLike
) -> Float[Array, "... c"]:
    """Returns ``(images / 255 - mean) / std`` as float32; float images are not divided by 255.

    Args:
      images: uint8 or float32.
      mean: one number per channel, from `statistics` or `fixed_statistics`.
      std: likewise.

    >>> pixels = np.array([[0], [255]], np.uint8)
    >>> np.asarray(jax.jit(normalize)(pixels, mean=0.5, std=0.25)).round(3)
    array([[-2.],
           [ 2.]], dtype=float32)
    """
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    images = jnp.asarray(images)
    images = images.astype(jnp.float32) / full_range(images)
    mean, std = (jnp.expand_dims(x, range(images.ndim - x.ndim)) for x in (mean, std))
    return (images - mean) / std
