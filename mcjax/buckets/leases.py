"""Locks of folders at buckets: an object that its owner renews, and that expires if it does not.

The server creates and replaces the object on conditions, which it checks atomically: nobody else
can create it while it exists, and a renewal succeeds only if nobody has taken it over. Whoever
finds one watches it: if it is renewed, its owner lives; if it is not for `EXPIRY` seconds, it is
taken over. Clocks are not compared.
"""

import contextlib
import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from mcjax.buckets import requests

HEARTBEAT = 10.0
"""Seconds between two renewals."""
EXPIRY = 60.0
"""Seconds without a renewal after which a lock is taken over."""
POLL = 1.0
"""Seconds between two looks at another owner's lock."""
FILE = ".lock"
NOBODYS = "1"
"""A tag that no file has."""
_HELD: dict[str, "Lease"] = {}
"""The leases of this process, by the folder's URL."""


class InUse(RuntimeError):
    """Another process holds the lock; the message names it."""


class Unsafe(RuntimeError):
    """The server ignores conditions, so that nothing can be locked there."""


class Lease(contextlib.AbstractContextManager["Lease", None]):
    """The lock of a folder, held while in the context.

    Args:
      folder: at a bucket.
      note: called with a line if the lock of another process has to be watched.

    Raises:
      InUse: another process renews the lock.
      Unsafe: the server does not support locks.
      OSError: the bucket cannot be written.
    """

    def __init__(self, folder: PurePath, note: Callable[[str], None]) -> None:
        self.folder, self._url, self._note = str(folder), f"{folder}/{FILE}", note
        self._owner, self._count = uuid.uuid4().hex, 0
        self._tag: str | None = None
        self._renewed, self._lost = 0.0, False
        self._ended, self._one_at_a_time = threading.Event(), threading.Lock()

    def __enter__(self) -> "Lease":
        self._acquire()
        for tag in (None, NOBODYS):
            if requests.put_if(self._url, self._content(), tag) is not None:
                requests.call(self._url, "rm_file")
                raise Unsafe(
                    f"{self.folder} cannot be locked: its server ignores the conditions of a "
                    "write, so two commands could write there at once; use a local folder"
                )
        _HELD[self.folder] = self
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()
        del _HELD[self.folder]
        with contextlib.suppress(OSError):  # it expires
            self.renew()
            if not self._lost:
                requests.call(self._url, "rm_file")

    def renew(self) -> None:
        """Renews the lock, and notices if another process has taken it over.

        Raises:
          OSError: the server does not answer.
        """
        with self._one_at_a_time:
            if self._lost:
                return
            tag = requests.put_if(self._url, self._content(), self._tag)
            if tag is None:  # an answer may have been lost, and the request repeated
                tag = requests.tag_of(self._url)
                self._lost = self._read().get("owner") != self._owner
            self._tag, self._renewed = tag, time.monotonic()

    def check(self) -> None:
        """Raises OSError if another process has the lock, or may have it."""
        if not self._lost and time.monotonic() - self._renewed > EXPIRY:
            self.renew()
        if self._lost:
            raise OSError(errno.EIO, "another process has taken over the lock", self.folder)

    def _acquire(self) -> None:
        """Creates the lock, or takes over one that is not renewed."""
        seen, since = None, 0.0
        while True:
            there = requests.tag_of(self._url)
            expired = there == seen and time.monotonic() - since > EXPIRY
            if there is None or expired:
                if self._take(there):
                    return
            elif seen is None:
                seen, since = there, time.monotonic()
                self._note(
                    f"{self.folder} is locked by {self._words()}: watching whether it lives, up to "
                    f"{EXPIRY:g} s"
                )
            elif there != seen:
                raise InUse(f"{self.folder} is in use by another process: {self._words()}")
            time.sleep(POLL)

    def _take(self, tag: str | None) -> bool:
        """Writes the lock if it still has this tag; returns whether it is ours."""
        self._tag = requests.put_if(self._url, self._content(), tag)
        if self._tag is None and self._read().get("owner") == self._owner:
            self._tag = requests.tag_of(self._url)  # the answer was lost, the request repeated
        self._renewed = time.monotonic()
        return self._tag is not None

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                self.renew()

    def _content(self) -> bytes:
        """Different each time, and with it the tag."""
        self._count += 1
        who = {"owner": self._owner, "host": platform.node(), "process": os.getpid()}
        return json.dumps(who | {"renewals": self._count}).encode()

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(requests.call(self._url, "cat_file"))
        except (FileNotFoundError, ValueError):
            return {}

    def _words(self) -> str:
        there = self._read()
        return f"process {there.get('process', '?')} on {there.get('host', 'an unknown host')}"


def check(path: PurePath) -> None:
    """Checks that the lock of the folder of a path, if this process has locked it, is still held.

    Raises:
      OSError: it is not.
    """
    for folder in (path, *path.parents):
        if lease := _HELD.get(str(folder)):
            lease.check()
