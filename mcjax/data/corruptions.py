"""Corrupted copies of a split, each example from the seed and its position alone.

Noise, blur and contrast are defined as in CIFAR-10-C and ImageNet-C (Hendrycks & Dietterich, 2019),
with their parameter instead of a severity. Their severities 1 to 5 are

* CIFAR-10-C: noise 0.04, 0.06, 0.08, 0.09, 0.1; blur 0.4, 0.6, 0.7, 0.8, 1; contrast 0.75, 0.5,
  0.4, 0.3, 0.15;
* ImageNet-C: noise 0.08, 0.12, 0.18, 0.26, 0.38; blur 1, 2, 3, 4, 6; contrast 0.4, 0.3, 0.2, 0.1,
  0.05.

uint8 images are clipped and rounded (theirs are truncated); float images, in any range, are not
clipped, and their unit of noise is 1. Random numbers are made from the raw output of numpy's bit
generators, which never changes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy

from mcjax.data.splits import Split
from mcjax.typing import Float, Int, Integer, Num

_NOISE, _LABELS = 1, 2  # separate streams of random numbers


class Corruption(NamedTuple):
    """A kind of corruption with one number as its strength.

    Attributes:
      words: what strengths are allowed, for messages.
      allows: whether a strength is.
      apply: ``(split, strength, examples, seed, num_classes) -> split``; ``examples`` are the
        positions from which the randomness is derived.

    >>> CORRUPTIONS["noise"].allows(0.1), CORRUPTIONS["noise"].allows(-1)
    (True, False)
    """

    words: str
    allows: Callable[[float], bool]
    apply: Callable[[Split, float, np.ndarray, int, int], Split]


def noise(
    images: Num[np.ndarray, "n h w c"], std: float, examples: Integer[np.ndarray, " n"], seed: int
) -> Num[np.ndarray, "n h w c"]:
    """Adds Gaussian noise.

    Args:
      images: uint8 or float32.
      std: its standard deviation, in units of the full range of a pixel (255), or of the images
        themselves if they are float.
      examples: positions of the images in their split.
      seed: seed of the noise.

    >>> images = np.zeros((2, 2, 2, 1), np.float32)
    >>> one, other = noise(images, 0.1, np.array([7, 8]), seed=0)
    >>> bool((noise(images[:1], 0.1, np.array([8]), seed=0)[0] == other).all())
    True
    """

    def noisy(row: int, image: np.ndarray) -> np.ndarray:
        drawn = scipy.special.ndtri(_uniform(image.size, seed, _NOISE, examples[row]))
        return image + std * drawn.reshape(image.shape)

    return _each(images, noisy)


def blur(images: Num[np.ndarray, "n h w c"], sigma: float) -> Num[np.ndarray, "n h w c"]:
    """Blurs with a Gaussian of standard deviation ``sigma`` pixels; edges are extended.

    Args:
      images: uint8 or float32.
      sigma: in pixels.

    >>> image = np.zeros((1, 3, 3, 1), np.uint8)
    >>> image[0, 1, 1] = 255
    >>> blur(image, 0.5)[0, :, :, 0]
    array([[  3,  21,   3],
           [ 21, 158,  21],
           [  3,  21,   3]], dtype=uint8)
    """
    widths = (sigma, sigma, 0)
    return _each(
        images, lambda _, image: scipy.ndimage.gaussian_filter(image, widths, mode="nearest")
    )


def contrast(images: Num[np.ndarray, "n h w c"], factor: float) -> Num[np.ndarray, "n h w c"]:
    """Multiplies the deviation of each pixel from its image's mean in the channel by ``factor``.

    Args:
      images: uint8 or float32.
      factor: 1 changes nothing; 0 leaves the mean.

    >>> contrast(np.array([0, 100], np.uint8).reshape(1, 1, 2, 1), 0.5).ravel()
    array([25, 75], dtype=uint8)
    """

    def flat(_: int, image: np.ndarray) -> np.ndarray:
        mean = image.mean((0, 1))
        return mean + factor * (image - mean)

    return _each(images, flat)


def random_labels(
    labels: Int[np.ndarray, " n"],
    share: float,
    examples: Integer[np.ndarray, " n"],
    seed: int,
    num_classes: int,
) -> Int[np.ndarray, " n"]:
    """Replaces each label with probability ``share`` by one of all classes, uniformly.

    Args:
      labels: classes from 0.
      share: the probability.
      examples: positions of the examples in their split.
      seed: seed of the choice.
      num_classes: number of classes.

    >>> random_labels(np.zeros(8, np.int32), 0.5, np.arange(8), seed=0, num_classes=10)
    array([4, 0, 0, 0, 0, 0, 4, 0], dtype=int32)
    """
    drawn = np.array([_uniform(2, seed, _LABELS, example) for example in examples])
    others = (drawn[:, 1] * num_classes).astype(labels.dtype)
    return np.where(drawn[:, 0] < share, others, labels)


CORRUPTIONS = {
    "noise": Corruption(
        "a standard deviation above 0, such as 0.1 of a pixel's range",
        lambda x: 0 < x < np.inf,
        lambda split, x, rows, seed, _: split._replace(images=noise(split.images, x, rows, seed)),
    ),
    "blur": Corruption(
        "a standard deviation above 0 in pixels, such as 1",
        lambda x: 0 < x < np.inf,
        lambda split, x, *_: split._replace(images=blur(split.images, x)),
    ),
    "contrast": Corruption(
        "a factor from 0 to 1, such as 0.5",
        lambda x: 0 <= x <= 1,
        lambda split, x, *_: split._replace(images=contrast(split.images, x)),
    ),
    "random_labels": Corruption(
        "a probability above 0, up to 1",
        lambda x: 0 < x <= 1,
        lambda split, x, rows, seed, num: split._replace(
            labels=random_labels(split.labels, x, rows, seed, num)
        ),
    ),
}


def _each(
    images: Num[np.ndarray, "n h w c"], change: Callable[[int, np.ndarray], np.ndarray]
) -> Num[np.ndarray, "n h w c"]:
    """Applies ``change(row, image)`` to each image, with pixels from 0 to 1 if they are uint8."""
    changed = np.empty_like(images)
    if images.dtype == np.uint8:
        for row, image in enumerate(images):
            changed[row] = np.rint(255 * np.clip(change(row, image / 255), 0, 1))
    else:
        for row, image in enumerate(images):
            changed[row] = change(row, image)
    return changed


def _uniform(
    count: int, seed: int, stream: int, example: Integer[Any, ""]
) -> Float[np.ndarray, " count"]:
    """Numbers between 0 and 1, without either."""
    entropy = np.random.SeedSequence([seed, stream, int(example)])
    raw = np.random.PCG64(entropy).random_raw(count)
    return ((raw >> np.uint64(11)) + 0.5) * 2.0**-53
