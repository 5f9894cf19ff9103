"""A data set from arrays of one's own, checked."""

from typing import Any

import numpy as np

from mcjax.data.splits import Source, Split, fixed_order

HELD_OUT = 0.2
"""The share of the images that is the test split if there are no test images."""


def from_arrays(
    images: Any, labels: Any, test_images: Any = None, test_labels: Any = None
) -> Source:
    """Makes a source from arrays; `mcjax.data.load` splits it.

    The images are put into a fixed shuffled order, because arrays are often sorted by class. Given
    test images keep their order.

    Args:
      images: ``[n, height, width]`` or ``[n, height, width, channels]``, uint8 with pixels 0..255,
        or float in any range.
      labels: ``[n]`` or ``[n, 1]``, integers, classes from 0.
      test_images: likewise; None to hold out a fifth of the images.
      test_labels: likewise.

    Returns:
      Images as uint8 or float32, labels as int32. The number of classes is the largest label + 1.

    Raises:
      ValueError: an array has a wrong shape, dtype or value, or images and labels do not match.

    >>> source = from_arrays(np.zeros((10, 4, 4)), np.arange(10) % 2)
    >>> source.train.images.shape, source.test.images.shape, source.num_classes
    ((8, 4, 4, 1), (2, 4, 4, 1), 2)
    """
    train = _split(images, labels, "")
    order = fixed_order(len(train.labels))
    train = Split(train.images[order], train.labels[order])
    if test_images is None and test_labels is None:
        train, test = _held_out(train)
    else:
        test = _split(test_images, test_labels, "test_")
        _check_alike(train, test)
    classes, count = num_classes(train, test), len(order)
    if classes > count:
        raise ValueError(f"label {classes - 1} with {count} images: number the classes from 0")
    train, test = (Split(x.images, x.labels.astype(np.int32)) for x in (train, test))
    return Source(train, test, classes)


def unshuffled(source: Source, has_test: bool) -> dict[str, Split]:
    """Returns the arrays of `from_arrays` in their order.

    Args:
      source: from `from_arrays`.
      has_test: whether it was called with test images.

    Returns:
      ``train`` and ``test``, or ``all`` of them.

    >>> source = from_arrays(np.zeros((10, 4, 4)), np.arange(10) % 3)
    >>> unshuffled(source, has_test=False)["all"].labels
    array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], dtype=int32)
    """
    shuffled = source.train
    if not has_test:
        shuffled = Split(*map(np.concatenate, zip(source.train, source.test, strict=True)))
    back = np.argsort(fixed_order(len(shuffled.labels)))
    given = Split(shuffled.images[back], shuffled.labels[back])
    return {"train": given, "test": source.test} if has_test else {"all": given}


def num_classes(train: Split, test: Split) -> int:
    """Returns the largest label + 1.

    >>> source = from_arrays(np.zeros((10, 4, 4)), np.arange(10) % 3)
    >>> num_classes(source.train, source.test)
    3
    """
    return 1 + max(int(x.labels.max()) for x in (train, test))


def _held_out(whole: Split) -> tuple[Split, Split]:
    size = len(whole.labels)
    cut = size - max(1, round(size * HELD_OUT))
    if not cut:
        raise ValueError("one image cannot be split; give more, or test_images and test_labels")
    train, test = (Split(*(x[part] for x in whole)) for part in (slice(cut), slice(cut, None)))
    return train, test


def _check_alike(train: Split, test: Split) -> None:
    kinds = [(x.images.shape[1:], x.images.dtype.name) for x in (train, test)]
    if kinds[0] != kinds[1]:
        (here, own), (there, other) = kinds
        raise ValueError(
            f"test_images are {other} of shape {there} each, but the training images {own} of "
            f"shape {here}; use one shape and dtype"
        )


def _split(images: Any, labels: Any, prefix: str) -> Split:
    split = Split(
        _images(np.asarray(images), f"{prefix}images"),
        _labels(np.asarray(labels), f"{prefix}labels"),
    )
    if len(split.images) != len(split.labels):
        raise ValueError(
            f"{len(split.images)} {prefix}images but {len(split.labels)} {prefix}labels: give one "
            "label per image"
        )
    return split


def _images(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"{name} are {images.dtype}: use uint8 with pixels 0..255, or float32")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"{name} have shape {images.shape}: use [n, height, width] or "
            "[n, height, width, channels]"
        )
    images = images if images.ndim == 4 else images[..., None]
    _, height, width, channels = images.shape
    if height in (1, 3) and width == channels > 4:
        raise ValueError(
            f"{name} have shape {images.shape}, which looks like channels first: use "
            f"{name}.transpose(0, 2, 3, 1)"
        )
    if images.dtype == np.uint8:
        return images
    with np.errstate(over="ignore"):
        images = images.astype(np.float32)
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not finite.all():
        raise ValueError(f"{name}[{finite.argmin()}] is not finite in float32; replace it")
    return images


def _labels(labels: np.ndarray, name: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"{name} have shape {labels.shape}: use [n] (of one-hot rows, their argmax)"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name} are {labels.dtype}: use integers, classes from 0")
    if labels.min() < 0:
        raise ValueError(f"{name}[{labels.argmin()}] is {labels.min()}: use classes from 0")
    return labels
