"""SIGTERM and SIGINT for loops that save their state before they stop."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT in a list; a second signal of a kind has its usual effect."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(signum: int, frame: FrameType | None) -> None:
        del frame
        received.append(signum)
        signal.signal(signum, before[signum])

    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        for signum in (signal.SIGTERM, signal.SIGINT):
            before[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
