"""Caches data sets that are slow to read as plain ``.npy`` files.

An entry is one file per array and a JSON file with their SHA-256, written last. Its key includes
path, size and modification time of every source file, so a changed source is read again. A damaged
entry is rebuilt with a warning; if the folder cannot be written, nothing is cached.
"""

import functools
import hashlib
import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mcjax.data.splits import Split
from mcjax.paths import AnyPath

_FORMAT = 1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def default_dir() -> Path:
    """``$MCJAX_CACHE/data``, else ``$XDG_CACHE_HOME/mcjax/data``, else ``~/.cache/mcjax/data``.

    Raises:
      RuntimeError: neither variable is set, and the user has no home folder.
    """
    if root := os.environ.get("MCJAX_CACHE"):
        return Path(root) / "data"
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "mcjax" / "data"


def cached(
    name: str,
    files: Iterable[AnyPath],
    build: Callable[[], tuple[Split, Split]],
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[Split, Split]:
    """Returns the result of ``build``, from the cache if possible.

    Args:
      name: the data set's name.
      files: the source files that ``build`` reads.
      build: reads the training and test split.
      cache_dir: folder of the cache; None for `default_dir`.
    """
    try:
        folder = Path(cache_dir or default_dir())
    except RuntimeError as error:
        words = f"{name} is not cached: {error}; set MCJAX_CACHE to a folder"
        warnings.warn(words, stacklevel=2)
        return build()
    stem = folder / _entry_name(name, files)
    try:
        return _read(stem)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"cache {stem}.json is damaged and will be rebuilt: {error!r}", stacklevel=2)
    train, test = build()
    try:
        _write(stem, (*train, *test))
    except OSError as error:
        warnings.warn(f"cache {stem}.json cannot be written: {error}", stacklevel=2)
    return train, test


def _entry_name(name: str, files: Iterable[AnyPath]) -> str:
    stats = [(str(path.resolve()), path.stat()) for path in sorted(files)]
    key = [_FORMAT, name, [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name)}-{digest[:16]}"


def _read(stem: Path) -> tuple[Split, Split]:
    digests = json.loads(Path(f"{stem}.json").read_text())
    arrays = []
    for name in _ARRAYS:
        path = Path(f"{stem}.{name}.npy")
        if not path.is_file() or _digest(path) != digests[name]:
            raise ValueError(f"{path} is missing or has changed")
        arrays.append(np.load(path, allow_pickle=False))
    return Split(*arrays[:2]), Split(*arrays[2:])


def _digest(path: Path | str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(stem: Path, arrays: Sequence[np.ndarray]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, array in zip(_ARRAYS, arrays, strict=True):
        write = functools.partial(np.save, arr=array, allow_pickle=False)
        digests[name] = _replace(Path(f"{stem}.{name}.npy"), write)
    _replace(Path(f"{stem}.json"), lambda file: file.write(json.dumps(digests).encode()))


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> str:
    """Writes a file atomically, under a temporary name first; returns its SHA-256."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with open(descriptor, "wb") as file:
            write(file)
        digest = _digest(temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return digest
