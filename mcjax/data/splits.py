"""What a data set is here, and the steps from an official one to the splits of a run."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images and labels, in a fixed order.

    Attributes:
      images: uint8 ``[n, H, W, C]``, pixels 0..255.
      labels: int32 ``[n]``, classes from 0.
    """

    images: np.ndarray
    labels: np.ndarray


class Source(NamedTuple):
    """A data set as its publisher divides it."""

    train: Split
    test: Split
    num_classes: int


class Dataset(NamedTuple):
    """A data set as a run uses it.

    Attributes:
      name: as given to `mcjax.data.load`.
      train: what is trained on.
      validation: what is reported; the test images with ``use_test``.
      test: the official test images.
      num_classes: number of classes.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int


def divide(source: Source, use_test: bool, validation_fraction: float) -> tuple[Split, Split]:
    """Training and validation split, as Garipov et al. (2018) divide CIFAR-10.

    Args:
      source: the official data set.
      use_test: the whole training set, and the test images as validation.
      validation_fraction: else, the share of the training images that is validation: the last.

    Raises:
      ValueError: a split would be empty.
    """
    if use_test:
        return source.train, source.test
    size = len(source.train.labels)
    held_out = round(size * validation_fraction) if 0 < validation_fraction < 1 else 0
    if not 0 < held_out < size:
        raise ValueError(
            f"validation_fraction={validation_fraction} of {size} training images leaves a split "
            "empty; use a value between 0 and 1, e.g. 0.1, or use_test=True"
        )
    images, labels = source.train
    cut = size - held_out
    return Split(images[:cut], labels[:cut]), Split(images[cut:], labels[cut:])


def first(split: Split, size: int | None, argument: str) -> Split:
    """The first ``size`` examples, or all of them for None.

    Raises:
      ValueError: the split has fewer, or ``size`` is not positive; named as ``argument``.
    """
    if size is None:
        return split
    if not 0 < size <= len(split.labels):
        raise ValueError(
            f"{argument}={size}: the split has {len(split.labels)} examples; "
            f"use 1 to {len(split.labels)}, or None for all"
        )
    return Split(split.images[:size], split.labels[:size])


def downsample(images: np.ndarray, factor: int) -> np.ndarray:
    """Averages squares of ``factor`` x ``factor`` pixels, rounded to uint8 (halves to even).

    Args:
      images: uint8 ``[n, H, W, C]``.
      factor: must divide H and W; 1 changes nothing.

    Returns:
      uint8 ``[n, H / factor, W / factor, C]``.

    Raises:
      ValueError: it does not divide them, or is not positive.
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
    return np.rint(squares.sum(axis=(2, 4), dtype=np.uint32) / factor**2).astype(np.uint8)


def pad(images: np.ndarray, size: int | None) -> np.ndarray:
    """Surrounds images with zeros, the same on all sides; an odd pixel goes below and right.

    Args:
      images: uint8 ``[n, H, W, C]``.
      size: height and width of the result; None changes nothing.

    Raises:
      ValueError: the images are larger.
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
