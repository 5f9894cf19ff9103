"""Progress: a bar with the time left on a terminal; elsewhere lines, per epoch or half a minute.

Of several processes only the first one prints.
"""

import sys
import time

from tqdm import tqdm

from mcjax.engine import parallel

LINE_SECONDS = 30.0
"""Without a terminal, progress is printed at least this often."""


class Progress:
    """Progress of a task, on standard error.

    Args:
      name: of the task.
      total: number of units of work; None if it is unknown.
      unit: name of a unit.
      done: number of units that were done before.
    """

    def __init__(self, name: str, total: int | None, unit: str, done: int = 0) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._printed, self._printed_at = done, time.monotonic()
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
        """Shows the progress.

        Args:
          done: number of units done so far.
          text: shown next to it.
          line: whether to print a line without a terminal; otherwise one is printed if there is
            progress since the last line and that is over `LINE_SECONDS` old.
        """
        if not self._bar.disable:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        overdue = time.monotonic() - self._printed_at > LINE_SECONDS
        if line or (overdue and done > self._printed):
            self._printed, self._printed_at = done, time.monotonic()
            of = "" if self._total is None else f"/{self._total}"
            say(f"{self._name}: {self._unit} {done}{of} {text}".rstrip())

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def say(text: str) -> None:
    """Prints a message on standard error, above any progress bar."""
    if parallel.is_first():
        tqdm.write(text, file=sys.stderr)


def show(text: str) -> None:
    """Prints a result on standard output."""
    if parallel.is_first():
        print(text)
