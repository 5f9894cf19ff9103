"""Data sets in a numpy file: ``npz:FILE``."""

import zipfile
import zlib

import numpy as np

from mcjax.data.arrays import from_arrays
from mcjax.data.splits import Source
from mcjax.paths import AnyPath

_NEEDED = "train_images and train_labels (and test_images and test_labels), or images and labels"


def check(path: AnyPath) -> None:
    """Checks the names of a file's arrays; reads none.

    Raises:
      ValueError: the file is missing or damaged, or lacks an array.
    """
    _members(path)


def has_test(path: AnyPath) -> bool:
    """Whether a file has test images."""
    return "test_images" in _members(path)


def crc32(path: AnyPath) -> int:
    """The checksum of the arrays, from those in the zip archive's directory.

    The arrays are not read here; `read` compares each with its checksum.
    """
    entries = (f"{name} {crc} {size}\n" for name, (crc, size) in _members(path).items())
    return zlib.crc32("".join(entries).encode())


def read(path: AnyPath) -> Source:
    """Reads the arrays.

    Raises:
      ValueError: the file is damaged, or `from_arrays` refuses its arrays.
    """
    names = _members(path)
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
    except Exception as error:  # whatever zipfile and numpy raise for damaged files
        raise ValueError(f"{path} cannot be read ({error}); save it again") from None
    try:
        return from_arrays(*arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _members(path: AnyPath) -> dict[str, tuple[int, int]]:
    """CRC-32 and size of each array of the data set, by name, in the order of `from_arrays`."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; if it was moved, pass its folder as data_dir")
    try:
        with path.open("rb") as content, zipfile.ZipFile(content) as file:
            found = {i.filename.removesuffix(".npy"): (i.CRC, i.file_size) for i in file.infolist()}
    except Exception as error:  # whatever zipfile raises for damaged files
        raise ValueError(f"{path} cannot be read ({error}); write it with numpy.savez") from None
    prefix = "train_" if {"train_images", "train_labels"} & found.keys() else ""
    wanted = [f"{prefix}images", f"{prefix}labels"]
    if {"test_images", "test_labels"} & found.keys():
        wanted += ["test_images", "test_labels"]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it has {', '.join(found) or 'no arrays'}, and "
            f"needs {_NEEDED}"
        )
    return {name: found[name] for name in wanted}
