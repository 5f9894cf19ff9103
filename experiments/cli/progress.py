"""Progress: a bar with time left on a terminal; elsewhere a line an epoch, or every half minute.

Of several processes only the first one speaks.
"""

import sys
import time

from tqdm import tqdm

from mcjax.engine import parallel

LINE_SECONDS = 30.0
"""Off a terminal there is a line at least this often, as long as there is progress."""


class Progress:
    """Progress of one piece of work, on standard error.

    Args:
      name: what is being done.
      total: units of work.
      unit: their name.
      done: units that were done before.
    """

    def __init__(self, name: str, total: int, unit: str, done: int = 0):
        self._name, self._total, self._unit = name, total, unit
        self._said_at = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            unit=unit,
            disable=None if parallel.is_first() else True,
            leave=False,
            smoothing=0.1,
        )

    def update(self, done: int, text: str = "", line: bool = False) -> None:
        """Shows how much is done; off a terminal where ``line`` asks for it or one is due."""
        if not self._bar.disable:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
        elif line or time.monotonic() - self._said_at > LINE_SECONDS:
            self._said_at = time.monotonic()
            say(f"{self._name}: {self._unit} {done}/{self._total} {text}".rstrip())

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def say(text: str) -> None:
    """A line on standard error, above any bar."""
    if parallel.is_first():
        tqdm.write(text, file=sys.stderr)


def show(text: str) -> None:
    """A result, on standard output."""
    if parallel.is_first():
        print(text)
