"""Data sets of images: read from what is at hand, split, resized; `augmentation` is on the device.

>>> dataset = load("digits", downsample=2, pad_to=6)
>>> dataset.train.images.shape, dataset.validation.images.shape, dataset.test.images.shape
((1293, 6, 6, 1), (144, 6, 6, 1), (360, 6, 6, 1))
"""

from mcjax.data import sources, splits
from mcjax.data.reachable import DataUnavailable
from mcjax.data.sources import check, names
from mcjax.data.splits import Dataset, Split

__all__ = ["DataUnavailable", "Dataset", "Split", "check", "load", "names"]


def load(
    name: str,
    *,
    data_dir: str | None = None,
    cache_dir: str | None = None,
    use_test: bool = False,
    validation_fraction: float = 0.1,
    train_size: int | None = None,
    validation_size: int | None = None,
    downsample: int = 1,
    pad_to: int | None = None,
) -> Dataset:
    """Reads a data set and divides it.

    Args:
      name: one of `names`, with a data set's name for ``NAME`` in ``tfds:NAME``.
      data_dir: folder with the official files (or a subfolder of the data set's name with them),
        or with prepared tfds data sets. Ignored for digits.
      cache_dir: where arrays of sets that are slow to read are kept; see `mcjax.data.cache`.
      use_test: train on all training images and validate on the test images. Otherwise the last
        ``validation_fraction`` of the training images is the validation split.
      validation_fraction: see ``use_test``.
      train_size: only the first so many examples of the training split.
      validation_size: likewise of the validation split.
      downsample: averages squares of so many pixels a side.
      pad_to: surrounds images with zeros up to this height and width, after ``downsample``.

    Returns:
      The splits, as numpy arrays.

    Raises:
      ValueError: an argument does not fit, or a file is damaged.
      DataUnavailable: (a ValueError) the data are not here and cannot be downloaded.
      ImportError: scikit-learn, which ships the digits, is not installed.
    """
    source = sources.read(name, data_dir, cache_dir)
    train, validation = splits.divide(source, use_test, validation_fraction)
    chosen = (
        splits.first(train, train_size, "train_size"),
        splits.first(validation, validation_size, "validation_size"),
        source.test,
    )

    def resized(split: Split) -> Split:
        return Split(splits.pad(splits.downsample(split.images, downsample), pad_to), split.labels)

    train, validation, test = map(resized, chosen)
    return Dataset(name, train, validation, test, source.num_classes)
