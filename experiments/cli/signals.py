"""SIGTERM and SIGINT while a loop runs: it saves its state first."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def collect_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT; a second one of them has its usual effect."""
    received: list[int] = []
    before = {}

    def note(signum, _):
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
