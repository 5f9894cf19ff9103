"""Data sets of one's own, ``npz:FILE`` and ``folder:DIR``.

A run records a `pinned` name, with the absolute path and a checksum of the content:
``npz:/data/mine.npz#crc32=1a2b3c4d``. Reading it fails if the content has changed.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mcjax import paths
from mcjax.data import cache, folder, npz
from mcjax.data.arrays import num_classes, unshuffled
from mcjax.data.splits import Source, Split
from mcjax.paths import AnyPath


class Kind(NamedTuple):
    """A form that data of one's own may have; each function takes the path.

    >>> sorted(KINDS)
    ['folder', 'npz']
    """

    check: Callable[[AnyPath], None]
    has_test: Callable[[AnyPath], bool]
    crc32: Callable[[AnyPath], int]
    read: Callable[[AnyPath], Source]


class Own(NamedTuple):
    """A parsed name; ``crc32`` is None unless it is pinned.

    Attributes:
      kind: ``npz`` or ``folder``.
      path: absolute.
      crc32: the checksum of the content in hexadecimal digits.

    >>> parse("npz:/data/mine.npz#crc32=1a2b3c4d").crc32
    '1a2b3c4d'
    """

    kind: str
    path: AnyPath
    crc32: str | None


KINDS = {
    "npz": Kind(npz.check, npz.has_test, npz.crc32, npz.read),
    "folder": Kind(folder.check, folder.has_test, folder.crc32, folder.read),
}
_NAME = re.compile(rf"({'|'.join(KINDS)}):(.+?)(?:#crc32=([0-9a-f]{{8}}))?", re.DOTALL)


def parse(name: str, data_dir: str | None = None) -> Own | None:
    """Parses a name; None if it is not one of data of one's own.

    Args:
      name: as in `mcjax.data.load`.
      data_dir: where a relative path starts, by default the current folder; also the folder of a
        file that was moved, if it has that file.

    >>> own = parse("npz:/data/mine.npz")
    >>> own.kind, str(own.path), own.crc32
    ('npz', '/data/mine.npz', None)
    >>> parse("digits") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    path = paths.at(os.path.expanduser(match[2]))
    if data_dir is not None:
        there = paths.at(data_dir) / (path.name if path.is_absolute() else path)
        path = there if there.exists() else path
    return Own(match[1], path if paths.is_url(path) else Path(os.path.abspath(path)), match[3])


def check(own: Own) -> None:
    """Checks that the data are there, without reading images.

    Raises:
      ValueError: there are none, or their names are not the expected ones.
      MissingExtraError: Pillow is not installed, for a folder of images.

    >>> check(parse("npz:/nowhere/mine.npz"))
    Traceback (most recent call last):
    ValueError: there is no file /nowhere/mine.npz; if it was moved, pass its folder as ...
    """
    with _readable(own):
        KINDS[own.kind].check(own.path)


def read(own: Own, cache_dir: str | None = None) -> Source:
    """Reads the data; a pinned name only if they have not changed.

    Decoded images of a folder are cached by their checksum.

    Args:
      own: from `parse`.
      cache_dir: as in `mcjax.data.load`.

    Raises:
      ValueError: they have changed, are damaged, or do not fit.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", images=np.zeros((10, 8, 8)), labels=np.arange(10) % 2)
    ...     source = read(parse(f"npz:{folder}/mine.npz"))
    >>> source.num_classes, source.test.images.shape
    (2, (2, 8, 8, 1))
    """
    crc32 = _crc32(own)
    if own.crc32 not in (None, crc32):
        raise ValueError(
            f"{own.path} has changed since the run recorded it (CRC-32 {crc32}, not {own.crc32}): "
            "restore it, or start again in another folder"
        )
    with _readable(own):
        if own.kind != "folder":
            return KINDS[own.kind].read(own.path)
        title = f"folder {own.path.name[:40]} {crc32}"
        build = lambda: folder.read(own.path)[:2]  # noqa: E731
        train, test = cache.cached(title, [], build, cache_dir)
        return Source(train, test, num_classes(train, test))


def read_in_order(own: Own, cache_dir: str | None = None) -> dict[str, Split]:
    """Reads the data in the order of the files: ``train`` and ``test``, or ``all`` of them.

    Raises:
      ValueError: as `read`.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", images=np.zeros((10, 8, 8)), labels=np.arange(10) % 3)
    ...     found = read_in_order(parse(f"npz:{folder}/mine.npz"))
    >>> found["all"].labels
    array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], dtype=int32)
    """
    source = read(own, cache_dir)
    with _readable(own):
        return unshuffled(source, KINDS[own.kind].has_test(own.path))


def classes(name: str, data_dir: str | None = None) -> list[str] | None:
    """Returns the names of the classes of a folder of images; None for any other data set.

    Args:
      name: as in `mcjax.data.load`.
      data_dir: likewise.

    Raises:
      ValueError: there is no such folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path:
    ...     for name in ("cats", "dogs"):
    ...         Path(path, name).mkdir()
    ...     classes(f"folder:{path}"), classes("digits")
    (['cats', 'dogs'], None)
    """
    own = parse(name, data_dir)
    if own is None or own.kind != "folder":
        return None
    with _readable(own):
        return folder.classes(own.path)


def pinned(name: str, data_dir: str | None = None) -> str:
    """Returns the name of a data set as a run should record it.

    Args:
      name: as in `mcjax.data.load`.
      data_dir: likewise.

    Returns:
      The name, for data of one's own with the absolute path and the checksum of the content. A name
      that has a checksum keeps it.

    Raises:
      ValueError: the data are not there.

    >>> pinned("digits")
    'digits'
    >>> pinned("npz:/data/mine.npz#crc32=1a2b3c4d")
    'npz:/data/mine.npz#crc32=1a2b3c4d'
    """
    own = parse(name, data_dir)
    if own is None:
        return name
    return f"{own.kind}:{own.path}#crc32={own.crc32 or _crc32(own)}"


def without_folder(name: str) -> str:
    """Returns the name without the folder: data that were moved have the same.

    >>> without_folder("npz:/data/mine.npz#crc32=1a2b3c4d"), without_folder("digits")
    ('npz:mine.npz#crc32=1a2b3c4d', 'digits')
    """
    match = _NAME.fullmatch(name)
    if match is None or match[3] is None:
        return name
    return f"{match[1]}:{Path(match[2]).name}#crc32={match[3]}"


def _crc32(own: Own) -> str:
    with _readable(own):
        return f"{KINDS[own.kind].crc32(own.path):08x}"


@contextlib.contextmanager
def _readable(own: Own) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(f"{own.path} cannot be read: {error}") from None
