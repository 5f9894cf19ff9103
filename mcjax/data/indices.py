"""Files of positions in a split: integers from 0, in lines of text or a ``.npy``.

A run records a `pinned` name, with the absolute path and a checksum of the file.
"""

import zlib
from pathlib import Path

import numpy as np

from mcjax.typing import Integer


def read(name: str) -> Integer[np.ndarray, " n"]:
    """Reads the positions.

    Args:
      name: a path, or a `pinned` name.

    Raises:
      ValueError: the file is missing, has changed, or does not hold positions, each once.
    """
    path, crc32 = _parse(name)
    if crc32 not in (None, _crc32(path)):
        raise ValueError(f"{path} has changed since the run recorded it: restore it")
    try:
        if path.suffix == ".npy":
            rows = np.load(path, allow_pickle=False)
        else:
            rows = np.array([int(word) for word in path.read_text().split()])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if rows.ndim != 1 or not rows.size or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"{path} has {rows.dtype} of shape {rows.shape}: use a list of integers")
    if rows.min() < 0 or len(np.unique(rows)) < len(rows):
        raise ValueError(f"{path}: use positions from 0, each once")
    return rows


def pinned(name: str) -> str:
    """Returns the absolute path with the checksum of the content; a checksum is kept.

    Raises:
      ValueError: the file cannot be read.
    """
    path, crc32 = _parse(name)
    return f"{path}#crc32={crc32 or _crc32(path)}"


def stem(name: str) -> str:
    """Returns the file's name without folder, suffix and checksum."""
    return _parse(name)[0].stem


def _parse(name: str) -> tuple[Path, str | None]:
    path, _, crc32 = name.partition("#crc32=")
    return Path(path).expanduser().absolute(), crc32 or None


def _crc32(path: Path) -> str:
    try:
        return f"{zlib.crc32(path.read_bytes()):08x}"
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
