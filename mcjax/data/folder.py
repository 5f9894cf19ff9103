"""Data sets in a folder of images: ``folder:DIR``, with a folder per class."""

import functools
import itertools
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcjax import extras
from mcjax.data.arrays import from_arrays
from mcjax.data.splits import Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
TESTS = ("test", "val", "validation")
"""Folders of test images, beside ``train``; the first that exists is used."""
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
"""From Pillow's modes, without transparency and more than 8 bits, to grey or colour."""


class Images(NamedTuple):
    """The image files of a split and their labels."""

    files: list[Path]
    labels: list[int]


def check(path: Path) -> None:
    """Checks the layout and that Pillow is installed; reads no image.

    Raises:
      ValueError: there is no such folder, or it has another layout.
      MissingExtraError: Pillow is not installed.
    """
    _pillow()
    _find(path)


def has_test(path: Path) -> bool:
    """Whether a folder has test images."""
    return len(_find(path)) > 1


def crc32(path: Path) -> int:
    """The checksum of all images and of their names."""
    total = 0
    for file in itertools.chain(*(images.files for images in _find(path))):
        total = zlib.crc32(file.relative_to(path).as_posix().encode(), total)
        total = zlib.crc32(file.read_bytes(), total)
    return total


def read(path: Path) -> Source:
    """Reads the images.

    Raises:
      ValueError: an image cannot be read, or has another size than the first.
    """
    splits = _find(path)
    first = splits[0].files[0]
    shape = _pixels(first).shape
    arrays: list[Any] = []
    for images in splits:
        pixels = np.empty((len(images.files), *shape), np.uint8)
        for row, file in enumerate(images.files):
            image = _pixels(file)
            if image.shape != shape:
                raise ValueError(
                    f"{file} has {_size(image.shape)}, but {first} has {_size(shape)}: all images "
                    "need one size, and all grey or all colour"
                )
            pixels[row] = image
        arrays += [pixels, images.labels]
    try:
        return from_arrays(*arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def classes(path: Path) -> list[str]:
    """The names of the classes, in the order of their numbers."""
    return [folder.name for folder in _folders(_parts(path)[0])]


def _parts(path: Path) -> list[Path]:
    """The folders of the training images and, if there are any, of the test images."""
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}; if it was moved, pass its parent as data_dir")
    parts = [path]
    if _folders(path / "train"):
        parts = [path / "train", *[path / name for name in TESTS if (path / name).is_dir()][:1]]
    if not _folders(parts[0]):
        raise ValueError(
            f"{path} has no folders of classes: use DIR/CLASS/*.png, or DIR/train/CLASS/*.png and "
            "DIR/test/CLASS/*.png"
        )
    return parts


def _find(path: Path) -> list[Images]:
    """Finds the training images and, if the folder has them, the test images."""
    return [_images(part, classes(path)) for part in _parts(path)]


def _images(path: Path, classes: Sequence[str]) -> Images:
    found = Images([], [])
    folders = _folders(path)
    for folder in folders:
        if folder.name not in classes:
            raise ValueError(f"{folder}: the training images do not have this class")
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(
                f"{folder} has no images ({', '.join(SUFFIXES)}): add some or remove it"
            )
        found.files.extend(files)
        found.labels.extend([classes.index(folder.name)] * len(files))
    if not folders:
        raise ValueError(f"{path} has no folders of classes; add them or remove it")
    return found


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, without hidden ones; none if it does not exist."""
    if not path.is_dir():
        return []
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _pixels(path: Path) -> np.ndarray:
    """The pixels of an image, uint8 ``[height, width, channels]`` with 1 or 3 channels."""
    try:
        with _pillow().open(path) as image:
            known = image.mode in _MODES and "transparency" not in image.info
            pixels = np.asarray(image.convert(_MODES[image.mode])) if known else None
            mode = image.mode
    except Exception as error:  # whatever Pillow's readers raise for damaged files
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read ({message}); replace or remove it") from None
    if pixels is None:
        raise ValueError(
            f"{path} has Pillow's mode {mode} or transparency: save it with 8-bit grey or RGB "
            "pixels without transparency"
        )
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _size(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'colour'} pixels"


@functools.cache
def _pillow() -> Any:
    with extras.needed_by("a data set in a folder of images"):
        from PIL import Image
    return Image
