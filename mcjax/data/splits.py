"""Data sets, and the steps from an official one to the splits of a run."""

from typing import NamedTuple

import numpy as np

from mcjax.typing import Int, Num


class Split(NamedTuple):
    """Images and labels, in a fixed order.

    Attributes:
      images: uint8, pixels 0..255; or float32 in any range, from `mcjax.data.from_arrays`.
      labels: int32, classes from 0.

    >>> split = Split(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10, dtype=np.int32))
    >>> split.images.shape, len(split.labels)
    ((10, 8, 8, 1), 10)
    """

    images: Num[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]


class Source(NamedTuple):
    """A data set with its official splits.

    Attributes:
      train: the official training images.
      test: the official test images.
      num_classes: number of classes.

    >>> split = Split(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10, dtype=np.int32))
    >>> Source(train=split, test=split, num_classes=10).num_classes
    10
    """

    train: Split
    test: Split
    num_classes: int


class Dataset(NamedTuple):
    """A data set as used in a run.

    Attributes:
      name: the name passed to `mcjax.data.load`.
      train: the training split.
      validation: the split that is reported; the test images with ``use_test``.
      test: the official test images.
      num_classes: number of classes.

    >>> from mcjax import data
    >>> dataset = data.load(data.from_arrays(np.zeros((20, 8, 8)), np.arange(20) % 2))
    >>> len(dataset.train.labels), len(dataset.validation.labels), len(dataset.test.labels)
    (14, 2, 4)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int


def divide(source: Source, use_test: bool, validation_fraction: float) -> tuple[Split, Split]:
    """Returns the training and validation split, as Garipov et al. (2018) divide CIFAR-10.

    Args:
      source: the official data set.
      use_test: whether to train on all training images and validate on the test images.
      validation_fraction: otherwise, the share of training images, at the end, for validation.

    Raises:
      ValueError: a split would be empty.

    >>> split = Split(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10, dtype=np.int32))
    >>> train, validation = divide(Source(split, split, 10), False, validation_fraction=0.2)
    >>> validation.labels
    array([8, 9], dtype=int32)
    """
    if use_test:
        return source.train, source.test
    size = len(source.train.labels)
    held_out = round(size * validation_fraction) if 0 < validation_fraction < 1 else 0
    if not 0 < held_out < size:
        raise ValueError(
            f"validation_fraction={validation_fraction} of {size} training images leaves a split "
            "empty; use a value between 0 and 1, such as 0.1, or use_test=True"
        )
    images, labels = source.train
    cut = size - held_out
    return Split(images[:cut], labels[:cut]), Split(images[cut:], labels[cut:])


def fixed_order(size: int) -> np.ndarray:
    """Returns ``0..size-1`` in a shuffled order that is always the same.

    It sorts the raw output of a bit generator, which numpy guarantees never to change; what its
    methods draw may change.

    >>> fixed_order(5)
    array([3, 2, 1, 0, 4])
    """
    return np.argsort(np.random.PCG64(0).random_raw(size), kind="stable")


def first(split: Split, size: int | None, argument: str) -> Split:
    """Returns the first ``size`` examples, or all if None.

    Args:
      split: the split.
      size: number of examples; None for all.
      argument: the argument's name for the message.

    Raises:
      ValueError: the split has fewer, or ``size`` is not positive; the message has ``argument``.

    >>> split = Split(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10, dtype=np.int32))
    >>> len(first(split, 3, "train_size").labels)
    3
    >>> first(split, 20, "train_size")
    Traceback (most recent call last):
    ValueError: train_size=20: the split has 10 examples; use 1 to 10, or None for all
    """
    if size is None:
        return split
    if not 0 < size <= len(split.labels):
        raise ValueError(
            f"{argument}={size}: the split has {len(split.labels)} examples; "
            f"use 1 to {len(split.labels)}, or None for all"
        )
    return Split(split.images[:size], split.labels[:size])


def downsample(
    images: Num[np.ndarray, "n h w c"], factor: int
) -> Num[np.ndarray, "n h_small w_small c"]:
    """Averages squares of ``factor`` x ``factor`` pixels.

    Args:
      images: uint8 or float32.
      factor: must divide height and width; 1 returns the images unchanged.

    Returns:
      The same dtype, height and width divided by ``factor``; uint8 is rounded (halves to even).

    Raises:
      ValueError: the factor does not divide them, or is not positive.

    >>> images = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    >>> downsample(images, 2)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    n, height, width, channels = images.shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"downsample={factor} does not divide images of {height}x{width} pixels; "
            "use a common divisor of both"
        )
    if factor == 1:
        return images
    squares = images.reshape(n, height // factor, factor, width // factor, factor, channels)
    if images.dtype == np.float32:
        return squares.mean(axis=(2, 4))
    return np.rint(squares.sum(axis=(2, 4), dtype=np.uint32) / factor**2).astype(np.uint8)


def pad(
    images: Num[np.ndarray, "n h w c"], size: int | None
) -> Num[np.ndarray, "n size_h size_w c"]:
    """Pads images with zeros equally on all sides; an odd pixel goes to the bottom and right.

    Args:
      images: uint8 or float32.
      size: height and width of the result; None returns the images unchanged.

    Raises:
      ValueError: the images are larger.

    >>> pad(np.ones((1, 2, 2, 1), np.uint8), 3)[0, :, :, 0]
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]], dtype=uint8)
    """
    if size is None:
        return images
    height, width = images.shape[1:3]
    if size < max(height, width):
        raise ValueError(
            f"pad_to={size}: the images have {height}x{width} pixels; "
            f"use at least {max(height, width)}, or downsample"
        )
    margins = [((size - s) // 2, (size - s + 1) // 2) for s in (height, width)]
    return np.pad(images, [(0, 0), *margins, (0, 0)])
