"""The IDX format of MNIST and its drop-in replacements (yann.lecun.com/exdb/mnist).

A file has a big-endian magic number whose last byte is the number of dimensions, the dimensions as
32-bit integers, and the bytes. It may be compressed with gzip.
"""

import gzip
import math
import zlib
from collections.abc import Mapping

import numpy as np

from mcjax.data.splits import Source, Split
from mcjax.paths import AnyPath

NUM_CLASSES = 10
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find(folder: AnyPath) -> dict[str, AnyPath]:
    """Finds the four official files in a folder, compressed or not.

    Returns:
      Their paths by official name; empty if the folder has none of them.

    Raises:
      ValueError: the folder has only some of them.
    """
    candidates = ((name, folder / (name + end)) for end in (".gz", "") for name in FILES)
    found = {name: path for name, path in candidates if path.is_file()}
    missing = [name for name in FILES if name not in found]
    if found and missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)} (with or without .gz): add it")
    return found


def read(paths: Mapping[str, AnyPath]) -> Source:
    """Reads the data set from the four files.

    Args:
      paths: by official name, from `find`.

    Raises:
      ValueError: a file is not what its name says.
    """
    train, test = (_read_split(paths[FILES[i]], paths[FILES[i + 1]]) for i in (0, 2))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{paths[FILES[2]]}: images of shape {test.images.shape[1:]}, those of "
            f"{paths[FILES[0]]} have {train.images.shape[1:]}; replace one of them"
        )
    return Source(train, test, NUM_CLASSES)


def _read_split(images_path: AnyPath, labels_path: AnyPath) -> Split:
    images, labels = read_array(images_path, 3), read_array(labels_path, 1)
    if len(images) != len(labels):
        raise ValueError(
            f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}; "
            "replace one of them"
        )
    if labels.max() >= NUM_CLASSES:
        raise ValueError(
            f"{labels_path}: label {labels.max()} is not below {NUM_CLASSES}; replace the file"
        )
    return Split(images[..., None], labels.astype(np.int32))


def read_array(path: AnyPath, ndim: int) -> np.ndarray:
    """Reads the array in one file.

    Args:
      path: the file; compressed if its name ends in ``.gz``.
      ndim: expected number of dimensions.

    Returns:
      uint8, read-only.

    Raises:
      ValueError: the file is damaged or holds something else.
    """
    content = _content(path)
    magic, header = 0x0800 + ndim, 4 + 4 * ndim
    if len(content) < header or int.from_bytes(content[:4], "big") != magic:
        raise ValueError(
            f"{path} is not an IDX file of bytes in {ndim} dimensions: it starts with "
            f"0x{content[:4].hex()} instead of 0x{magic:08x}, or ends too early; replace it"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, offset=4))
    if 0 in shape or len(content) != header + math.prod(shape):
        raise ValueError(
            f"{path}: {len(content)} bytes, where its header says {header} and {shape}; replace it"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: AnyPath) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); replace it") from None
