"""`UrlPath`: a path at a bucket with the methods of `pathlib.Path` that mcjax uses."""

import errno
import fnmatch
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from etils.epath.gpath import PosixGPath

from mcjax.buckets import leases, requests

BLOCK = 8 * 2**20
"""Bytes that a file which is opened reads at once."""


class UrlPath(PosixGPath):
    """A path at a bucket, such as ``s3://bucket/runs/A``.

    A file is read and written in one request, so it has either its old or its new content. There
    are no folders, only names with slashes: making one does nothing. All raise `OSError` if the
    server does not answer.
    """

    def exists(self) -> bool:
        """Whether there is a file of this name, or files below it."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        """Whether there are files below it."""
        return self._kind() == "directory"

    def is_file(self) -> bool:
        """Whether there is a file of this name."""
        return self._kind() == "file"

    def _kind(self) -> str | None:
        try:
            return requests.call(str(self), "info")["type"]
        except FileNotFoundError:
            return None

    def iterdir(self) -> Iterator["UrlPath"]:
        """What is directly in this folder."""
        names = requests.call(str(self), "ls", detail=False)
        return (self / name.rstrip("/").rpartition("/")[2] for name in sorted(names))

    def glob(self, pattern: str) -> Iterator["UrlPath"]:
        """The paths that match; only the last part of the pattern may have wildcards."""
        place = self / pattern
        found = place.parent.iterdir() if place.parent.is_dir() else ()
        return (path for path in found if fnmatch.fnmatchcase(path.name, place.name))

    def rglob(self, pattern: str) -> Iterator["UrlPath"]:
        """All files below this folder whose names match."""
        names = requests.call(str(self), "find")
        scheme = str(self).partition(":")[0]
        found = (type(self)(f"{scheme}://{name}") for name in sorted(names))
        return (path for path in found if fnmatch.fnmatchcase(path.name, pattern))

    def stat(self) -> Any:
        """Size and time of a file."""
        info = requests.call(str(self), "info")
        time = info.get("LastModified") or info.get("updated")
        return SimpleNamespace(st_size=info["size"], st_mtime_ns=str(time))

    def open(self, mode: str = "rb", **_: Any) -> Any:
        """Opens a file for reading of bytes."""
        if mode != "rb":
            raise ValueError(f"{self} cannot be opened with {mode}, only with rb")
        return requests.call(str(self), "open", mode, block_size=BLOCK)

    def read_bytes(self) -> bytes:
        """The content of a file."""
        return requests.call(str(self), "cat_file")

    def read_text(self, encoding: str | None = None) -> str:
        """The content of a file, by default UTF-8."""
        return self.read_bytes().decode(encoding or "utf-8")

    def write_bytes(self, data: bytes) -> int:
        """Creates a file or replaces its content.

        Raises:
          OSError: also if another process has taken over the lock of the folder.
        """
        leases.check(self)
        try:
            requests.call(str(self), "pipe_file", bytes(data))
        except FileNotFoundError as error:  # of the bucket
            raise OSError(errno.EIO, str(error), str(self)) from error
        return len(data)

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Does nothing: there are no folders."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Deletes a file."""
        try:
            requests.call(str(self), "rm_file")
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmtree(self, missing_ok: bool = False) -> None:
        """Deletes all files below this folder."""
        leases.check(self)
        try:
            requests.call(str(self), "rm", recursive=True)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: Any) -> Any:
        """Copies a file, or all files below a folder, and deletes the old ones; not atomic."""
        leases.check(self)
        for file in [self] if self.is_file() else list(self.rglob("*")):
            requests.call(str(file), "copy", str(target / file.relative_to(self)))
            file.unlink()
        return target

    replace = rename

    def resolve(self, strict: bool = False) -> "UrlPath":
        """Itself: a URL is absolute."""
        del strict
        return self

    def absolute(self) -> "UrlPath":
        """Itself."""
        return self

    expanduser = absolute


def at(url: str) -> UrlPath:
    """The path of a URL, whose bucket is checked the first time it is named.

    Raises:
      ValueError: there is no such bucket, or no access to it.
    """
    scheme, bucket, _ = requests.parts(url)
    if not bucket:
        raise ValueError(f"the bucket is missing: write {scheme}://BUCKET/NAME")
    requests.check(scheme, bucket)
    return UrlPath(url.rstrip("/"))
