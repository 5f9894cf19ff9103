"""Evaluates the rows of a surface's grid, and saves each, so that an interrupted run resumes."""

import time
from pathlib import Path

import numpy as np

from mcjax import planes
from mcjax.analysis import surfaces
from mcjax.engine import parallel
from mcjax.results import Values

from ..cli import Interrupted, Progress, collect_signals, first_signal, stop_if_signalled
from ..runs import Run, load_arrays, save_arrays
from .saved_logits import SavedLogits
from .surface_inputs import Inputs

ROW_SECONDS = 10.0
"""After a signal, a row gets this long to finish; otherwise it is evaluated again later."""


def evaluate(
    folder: Run, inputs: Inputs, x: np.ndarray, y: np.ndarray, logits: SavedLogits
) -> list[Values]:
    """Evaluates the grid; each row is saved when it is done, after its logits.

    Raises:
      Interrupted: a signal came; finished rows are saved.
    """
    saved = folder.path / "rows"
    saved.mkdir(exist_ok=True)
    rows = _saved_rows(saved, x, y)
    progress, every = _RowProgress(folder.path.name, len(x), len(y), len(rows)), -(-len(y) // 10)
    with collect_signals() as received:
        progress.received = received
        try:
            for index, row in surfaces.evaluate(
                inputs.problem.evaluator, inputs.points, inputs.plane, x, y, inputs.state,
                progress.point, rows,
            ):  # fmt: skip
                if logits.splits:
                    _save_logits(logits, index, inputs, x, y[index])
                rows[index] = row
                save_arrays(saved / f"{index:04d}.npz", row.to_arrays() | {"x": x, "y": y[index]})
                progress.row(len(rows), line=len(rows) % every == 0 or len(rows) == len(y))
                stop_if_signalled(received)
        finally:
            progress.close()
    return [rows[i] for i in range(len(y))]


def _save_logits(logits: SavedLogits, index: int, inputs: Inputs, x: np.ndarray, y: float) -> None:
    frame = planes.frame(inputs.plane, inputs.points)
    xy = np.stack([x, np.full(len(x), y)], axis=-1)
    coefficients = planes.frame_coefficients(inputs.plane, xy)
    logits.save(f"row-{index:04d}", tuple(frame), coefficients, inputs.state)


def _saved_rows(folder: Path, x: np.ndarray, y: np.ndarray) -> dict[int, Values]:
    """Loads the rows that an interrupted run saved, if they are of the same grid."""
    rows = {}
    for index in range(len(y)):
        file = folder / f"{index:04d}.npz"
        if not file.exists():
            continue
        row = load_arrays(file)
        if np.array_equal(row.pop("x"), x) and row.pop("y") == y[index]:
            rows[index] = Values.from_arrays(row)
    return rows


class _RowProgress:
    """Progress over the grid; interrupts a row that takes too long after a signal."""

    def __init__(self, name: str, width: int, height: int, done: int) -> None:
        self._bar = Progress(f"{name}: surface", width * height, "point", width * done)
        self._width, self._height, self._before = width, height, done
        self._began, self._deadline = time.monotonic(), np.inf
        self.received: list[int] = []

    def point(self, done: int) -> None:
        self._bar.update(done)
        if not (signum := first_signal(self.received)):
            return
        now = time.monotonic()
        self._deadline = min(self._deadline, now + ROW_SECONDS)
        late = parallel.broadcast_from_first(now > self._deadline)
        if late and done % self._width:
            raise Interrupted(signum)

    def row(self, done: int, line: bool) -> None:
        each = (time.monotonic() - self._began) / (done - self._before)
        left = each * (self._height - done)
        self._bar.update(self._width * done, f"row {done}, {left:.0f} s left", line)

    def close(self) -> None:
        self._bar.close()
