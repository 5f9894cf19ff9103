"""SIGTERM and SIGINT for loops that save their state before they stop.

The processes of a launch must stop at the same place, since a process that goes on alone waits for
the others in its next sum. So they ask together whether any of them has received a signal.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from mcjax.engine import parallel

from .errors import Interrupted


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


def first_signal(received: list[int]) -> int:
    """The first signal that a process of this launch has received, or 0.

    Every process must call this at the same places of the program.
    """
    return parallel.max_over_processes(received[0] if received else 0)


def stop_if_signalled(received: list[int]) -> None:
    """Stops all processes if one has received a signal; call it as `first_signal`.

    Raises:
      Interrupted: a signal came.
    """
    if signum := first_signal(received):
        raise Interrupted(signum)
