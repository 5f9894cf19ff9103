"""Metrics of paths by key, each saved when it is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mcjax import paths
from mcjax.analysis import interpolation
from mcjax.engine import evaluation, parallel
from mcjax.results import Interpolation, Layers, Soups, Values

from ..cli import Progress, UsageError, stop_if_signalled
from ..runs import Run, load_arrays, save_arrays
from ..training import alignment
from . import saved_logits
from .saved_logits import SavedLogits

FOLDER = "paths"
"""Within the run folder, until all paths are evaluated."""
FOLDERS = (FOLDER, saved_logits.FOLDER)
_Result = TypeVar("_Result", Interpolation, Layers, Soups)


def checksums(folder: Run, networks: Sequence[Any], words: str) -> list[int]:
    """Checksums of the networks' parameters, recorded as ``control_crc32`` of the run.

    Raises:
      UsageError: they differ from those of the run; ``words`` says which flags name the networks.
    """
    found = [alignment.checksum(x) for x in networks]
    if folder.info.get("control_crc32", found) != found:
        raise UsageError(
            f"{words} was retrained since {folder.path} was begun: use another --workdir, or "
            "delete it"
        )
    return found


def completed(folder: Run, file: str, evaluated: Callable[[], _Result]) -> _Result:
    """Evaluates all paths and writes the arrays, which replace the saved paths."""
    began = time.monotonic()
    found = evaluated()
    save_arrays(folder.path / file, found.to_arrays())
    if parallel.is_first():
        paths.remove_tree(folder.path / FOLDER)
    folder.update(evaluate_seconds=time.monotonic() - began)
    return found


class SavedPaths:
    """The metrics of all paths: those saved by an interrupted run, and those evaluated now.

    Args:
      run: the run, in whose folder ``paths`` they are saved.
      evaluator: for the network and data.
      state: the network's state.
      total: the number of points of all paths, if it is known.
      received: signals, as they come.
      logits: writes the logits of each path, before its metrics.

    Attributes:
      arrays: the arrays of each path, by key.
    """

    def __init__(
        self,
        run: Run,
        evaluator: evaluation.Evaluator,
        state: Any,
        total: int | None,
        received: list[int],
        logits: SavedLogits | None = None,
    ) -> None:
        self._folder = run.path / FOLDER
        self._folder.mkdir(exist_ok=True)
        self._evaluator, self._state, self._received = evaluator, state, received
        self._logits = logits
        if logits is not None and total is not None:
            logits.announce(total)
        files = sorted(self._folder.glob("*.npz"))
        self.arrays = {file.stem: load_arrays(file) for file in files}
        self._done = sum(len(one["l2"]) for one in self.arrays.values())
        self.bar = Progress(f"{run.path.name}: paths", total, "point", self._done)

    def evaluate(self, control: Any, rows: Mapping[str, Any], **more: Any) -> None:
        """Evaluates and saves the paths that are not there; ``more`` is saved with each.

        Raises:
          Interrupted: a signal came; finished paths are saved.
        """
        before = self._done
        left = {key: one for key, one in rows.items() if key not in self.arrays}

        def progress(done: int) -> None:
            self._done = before + done
            self.bar.update(self._done)
            self.stop_if_signalled()

        if self._logits is not None:
            for key, own in left.items():
                self._logits.save(key, control, own, self._state, self.stop_if_signalled)
        found = interpolation.evaluate(self._evaluator, control, left, self._state, progress)
        for key, values in found:
            self.arrays[key] = values.to_arrays() | {k: np.asarray(x) for k, x in more.items()}
            save_arrays(self._folder / f"{key}.npz", self.arrays[key])

    def stop_if_signalled(self) -> None:
        """Raises Interrupted if a signal came, in every process."""
        stop_if_signalled(self._received)

    def values(self, key: str) -> Values:
        """The metrics of a path."""
        return Values.from_arrays(self.arrays[key])
