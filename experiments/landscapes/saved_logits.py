"""Logits of all examples at the points of paths and surfaces: ``logits/KEY.npz`` each."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mcjax import paths
from mcjax.analysis import ensembles
from mcjax.data import further

from ..cli import Progress, UsageError, say
from ..cli.configs import Measuring
from ..runs import Run, save_arrays
from ..training import Problem

FOLDER = "logits"
"""Within the run folder."""


def check_flags(config: Measuring) -> None:
    """Raises UsageError if --save_logits names data that are not evaluated."""
    names = (*config.splits, *(further.parse(text).name for text in config.also_evaluate))
    missing = [name for name in config.save_logits if name not in names]
    if missing:
        raise UsageError(
            f"--save_logits={missing[0]}: these data are not evaluated, but {', '.join(names)} are"
        )


def _free(folder: Path) -> float:
    """Free bytes on the disk of a folder; a bucket has no limit."""
    if paths.is_url(folder):
        return math.inf
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(parent).free


class SavedLogits:
    """Writes the logits that --save_logits asks for.

    Args:
      run: in whose folder to write.
      config: its flags.
      problem: its problem, with an evaluator for --splits and --also_evaluate.

    Attributes:
      splits: those of --save_logits.

    Raises:
      UsageError: the objective has no logits.
    """

    def __init__(self, run: Run, config: Measuring, problem: Problem) -> None:
        self._run, self.splits, self._evaluator = run, config.save_logits, problem.evaluator
        self._labels = {s: self._evaluator.splits[s].labels for s in self.splits}
        self._classes = problem.dataset.num_classes
        if self.splits and problem.objective.logits is None:
            raise UsageError(f"--save_logits: --objective={problem.mode.objective} has no logits")

    def announce(self, points: int) -> None:
        """Says how large the files will be.

        Raises:
          UsageError: the disk has no room for them.
        """
        if not self.splits:
            return
        examples = sum(map(len, self._labels.values()))
        size = 4 * points * examples * self._classes
        free = _free(self._run.path)
        words = (
            f"logits of {points:,} points, {examples:,} examples and {self._classes} classes take "
            f"up to {size / 2**20:,.1f} MiB"
        )
        if size > free:
            raise UsageError(f"--save_logits: {words}, and {free / 2**20:,.1f} MiB are free")
        say(f"note: {words} in {self._run.path / FOLDER}")

    def save(
        self,
        key: str,
        control: Any,
        rows: Any,
        state: Any,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Writes the logits at a list of points, unless their file exists.

        Args:
          key: the file's name.
          control: control points.
          rows: coefficients, as for the evaluator.
          state: the network's state.
          stop: called after each point; may raise an exception.
        """
        file = self._run.path / FOLDER / f"{key}.npz"
        if not self.splits or file.exists():
            return
        file.parent.mkdir(exist_ok=True)
        count = len(jax.tree.leaves(rows)[0])
        shapes = {s: (count, len(x), self._classes) for s, x in self._labels.items()}
        arrays = {split: np.empty(shape, np.float32) for split, shape in shapes.items()}
        bar = Progress(f"{self._run.path.name}: logits of {key}", count, "point")
        try:
            found = ensembles.logits(self._evaluator, control, rows, state, self.splits)
            for number, one in enumerate(found):
                for split, values in one.items():
                    arrays[split][number] = values
                bar.update(number + 1)
                stop()
        finally:
            bar.close()
        labels = {f"{split}_labels": np.asarray(x) for split, x in self._labels.items()}
        save_arrays(file, arrays | labels)
