"""Locks that keep other processes out of a run folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mcjax import paths
from mcjax.engine import parallel

from ..cli import UsageError, say

_LOCKED: set[Path] = set()
"""Folders that this process has locked."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes; reentrant within a process.

    Raises:
      UsageError: another process holds the lock, or the folder cannot be written.
    """
    place = folder.resolve()
    if not parallel.is_first() or place in _LOCKED:
        yield
        return
    check_writable(folder)
    with _leased(folder) if paths.is_url(folder) else _flocked(folder):
        _LOCKED.add(place)
        try:
            yield
        finally:
            _LOCKED.discard(place)


@contextlib.contextmanager
def _flocked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("a") as file:
        if not _lock(file):
            raise UsageError(f"{folder} is in use by another process")
        yield


@contextlib.contextmanager
def _leased(folder: Path) -> Iterator[None]:
    from mcjax.buckets import leases

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(leases.Lease(folder, say))
        except (leases.InUse, leases.Unsafe) as error:
            raise UsageError(str(error)) from None
        yield


def in_use(folder: Path) -> bool:
    """Whether another process holds the folder's lock."""
    if folder.resolve() in _LOCKED:
        return False
    try:
        with (folder / ".lock").open("a") as file:
            return not _lock(file)
    except OSError:
        return False


def check_writable(folder: Path) -> None:
    """Creates the folder; raises UsageError if it cannot be written."""
    if not parallel.is_first():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").write_bytes(b"")
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        message = f"--workdir={folder} cannot be written: {error.strerror}"
        raise UsageError(message) from None


def _lock(file: IO[Any]) -> bool:
    """Locks an open file until it is closed; returns False if another process holds the lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass  # the system or the file system has no locks
    return True
