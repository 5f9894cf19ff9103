"""Paths of files on this machine, and at buckets: ``gs://BUCKET/NAME`` and ``s3://BUCKET/NAME``.

A bucket's path has the methods of `pathlib.Path` that mcjax uses. Local paths are `pathlib.Path`;
what buckets need is imported when the first of them is named.

>>> at("runs/A"), is_url("s3://bucket/runs/A")
(PosixPath('runs/A'), True)
"""

import os
import shutil
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    AnyPath = Path
else:
    AnyPath = PurePath  # a bucket's path is not a pathlib.Path
"""A path on this machine or at a bucket."""
SCHEMES = ("gs://", "s3://")


def is_url(path: PurePath | str) -> bool:
    """Whether a path is at a bucket."""
    return str(path).startswith(SCHEMES)


def at(text: PurePath | str) -> AnyPath:
    """The path that a text names.

    Args:
      text: of a path, as a user writes it; the bucket of a URL is checked once.

    Raises:
      ValueError: there is no such bucket, it cannot be reached within
        `mcjax.buckets.requests.TIMEOUT` seconds, or access to it is denied.
      MissingExtraError: the package for this kind of bucket is not installed.
    """
    if not is_url(text):
        return Path(text)
    from mcjax.buckets import url_paths

    found: Any = url_paths.at(str(text))
    return found


def write_atomically(path: AnyPath, content: bytes) -> None:
    """Writes a file that has either its old or its new content, whenever it is read.

    A local file is written under another name and renamed; at a bucket one upload replaces it.

    Raises:
      OSError: it cannot be written.
    """
    if is_url(path):
        path.write_bytes(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def append(path: AnyPath, content: bytes) -> None:
    """Appends to a file, which need not exist; at a bucket it is read and written as a whole.

    Raises:
      OSError: it cannot be written.
    """
    if is_url(path):
        path.write_bytes((path.read_bytes() if path.exists() else b"") + content)
        return
    with path.open("ab") as file:
        file.write(content)


def remove_tree(path: AnyPath) -> None:
    """Deletes a folder and all in it; does nothing if there is none.

    Raises:
      OSError: a bucket cannot be reached. What cannot be deleted on this machine is left.
    """
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.rmtree(missing_ok=True)


def copy(source: AnyPath, target: AnyPath) -> None:
    """Copies a file, or a folder and all in it; either may be at a bucket."""
    if not source.is_dir():
        target.write_bytes(source.read_bytes())
        return
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
