"""Image data sets: reading, splitting and resizing on the host, `augmentation` on the device.

>>> dataset = load("digits", downsample=2, pad_to=6)
>>> dataset.train.images.shape, dataset.validation.images.shape, dataset.test.images.shape
((1293, 6, 6, 1), (144, 6, 6, 1), (360, 6, 6, 1))
"""

from mcjax.data import further, sources, splits
from mcjax.data.arrays import from_arrays
from mcjax.data.own import pinned, without_folder
from mcjax.data.reachable import DataUnavailable
from mcjax.data.sources import check, names
from mcjax.data.splits import Dataset, Source, Split

__all__ = [
    "DataUnavailable", "Dataset", "Source", "Split", "check", "from_arrays", "further", "load",
    "names", "pinned", "without_folder",
]  # fmt: skip


def load(
    name: str | Source,
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
    """Reads a data set and splits it.

    Args:
      name: one of `names`: ``tfds:NAME`` is any image classification data set of tfds. ``npz:FILE``
        is a numpy file with the arrays ``train_images``, ``train_labels``, ``test_images`` and
        ``test_labels``, or ``images`` and ``labels``, as in `from_arrays`. ``folder:DIR`` is a
        folder with the images ``CLASS/*.png``, or ``train/CLASS/*.png`` and ``test/CLASS/*.png``.
        Or a source from `from_arrays`.
      data_dir: folder with the official files, directly or in a subfolder named after the data
        set, with prepared tfds data sets, or with your own data. Ignored for digits.
      cache_dir: cache folder for data sets that are slow to read; see `mcjax.data.cache`.
      use_test: train on all training images and validate on the test images. Otherwise, the last
        ``validation_fraction`` of the training images is the validation split.
      validation_fraction: see ``use_test``.
      train_size: number of training examples to keep, from the first; None for all.
      validation_size: likewise for the validation split.
      downsample: averages squares of this many pixels per side.
      pad_to: pads images with zeros to this height and width, after ``downsample``.

    Raises:
      ValueError: an argument is invalid, a file is damaged, or the content of a `pinned` name has
        changed.
      DataUnavailable: (a ValueError) the data are not on this machine and cannot be downloaded.
      ImportError: scikit-learn, which ships the digits, or Pillow, which reads a folder of images,
        is not installed.

    >>> import numpy as np
    >>> source = from_arrays(np.zeros((20, 8, 8)), np.arange(20) % 2)
    >>> dataset = load(source, downsample=2)
    >>> dataset.train.images.shape, dataset.num_classes
    ((14, 4, 4, 1), 2)
    >>> load("digits", train_size=9999)
    Traceback (most recent call last):
    ValueError: train_size=9999: the split has 1293 examples; use 1 to 1293, or None for ...
    """
    source = sources.read(name, data_dir, cache_dir) if isinstance(name, str) else name
    train, validation = splits.divide(source, use_test, validation_fraction)
    chosen = (
        splits.first(train, train_size, "train_size"),
        splits.first(validation, validation_size, "validation_size"),
        source.test,
    )

    def resized(split: Split) -> Split:
        return Split(splits.pad(splits.downsample(split.images, downsample), pad_to), split.labels)

    train, validation, test = map(resized, chosen)
    title = name if isinstance(name, str) else "arrays"
    return Dataset(title, train, validation, test, source.num_classes)
