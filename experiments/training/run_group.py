"""Runs that are trained together: their checkpoints, metrics, progress and failures."""

import contextlib
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import checkpoints, parallel, training

from ..cli import Progress, Training, UsageError, say
from ..runs import Run, add_metrics, checkpoint_steps, cut_metrics, open_checkpoints
from . import trackers
from .failures import mark_failed
from .optimization import make_schedule


class Reader(Protocol):
    """A validation in progress."""

    def __call__(self) -> dict[str, float]:
        """Waits for the metrics and returns them, by name."""
        ...


Readers = Mapping[int, Reader]
"""Validations in progress, by the index of the run."""


class RunGroup(contextlib.AbstractContextManager["RunGroup"]):
    """One or several runs in training: their checkpoints, metrics and failures.

    The metrics of a chunk are read while the next chunk runs.

    Args:
      runs: opened.
      config: their flags.
      trainer: their trainer.
      keep: epochs whose checkpoints to keep.
      mesh: None for a single run, whose state has no leading axis.

    Attributes:
      runs: all runs.
      config: their flags.
      trainer: their trainer.
      alive: indices of the runs that have not failed.
      failures: a message for each run that has.
      kept: steps of the kept checkpoints.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        config: Training,
        trainer: training.Trainer,
        keep: Sequence[int],
        mesh: jax.sharding.Mesh | None,
    ) -> None:
        self.runs, self.mesh, self.trainer = runs, mesh, trainer
        self.per_epoch = trainer.steps_per_epoch
        name = runs[0].path.name
        self._name = name if len(runs) == 1 else f"{name} and {len(runs) - 1} more"
        self.alive = list(range(len(runs)))
        self.failures: list[str] = []
        self.kept = {e * self.per_epoch for e in (*keep, config.epochs)} | {*config.keep_steps}
        self.config = config
        self._schedule = jax.jit(make_schedule(config, self.per_epoch))
        self._row: Callable[[training.TrainState, int], training.TrainState] | None = None
        if mesh is not None:
            replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
            row = lambda tree, i: jax.tree.map(lambda x: x[i], tree)  # noqa: E731
            self._row = jax.jit(row, out_shardings=replicated)
        self._pending: tuple[training.Chunk, Readers] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        keep = tuple(self.kept)
        self._saved = [self._stack.enter_context(open_checkpoints(run, keep)) for run in self.runs]
        return self

    def __exit__(self, *details: Any) -> bool | None:
        return self._stack.__exit__(*details)

    def restore(self, state: training.TrainState) -> training.TrainState:
        """Restores the newest state that every run has, and cuts the metrics back to it."""
        step, each = self._newest(state)
        if each:
            state = each[0]
            if self.mesh is not None and self.trainer.runs is not None:
                state = lay_out(each, self.trainer.runs, self.mesh)
        for run, checkpoint in zip(self.runs, self._saved, strict=True):
            checkpoint.drop_after(step)
            cut_metrics(run.path, step, self.per_epoch)
        self._trackers = [trackers.start(self.config.tracker, run) for run in self.runs]
        for tracker in itertools.chain(*self._trackers):
            self._stack.callback(tracker.close)
        self._bar = Progress(self._name, self.config.epochs, "epoch", step // self.per_epoch)
        self._stack.callback(self._bar.close)
        self._last = time.monotonic()
        return state

    def _newest(self, state: training.TrainState) -> tuple[int, list[training.TrainState]]:
        """The newest step for which every run has an intact state, and these states."""
        common = set.intersection(*(set(checkpoint.steps()) for checkpoint in self._saved))
        for step in sorted(common, reverse=True):
            try:
                return step, [
                    checkpoint.restore(step, like=self.pick(state, i))
                    for i, checkpoint in enumerate(self._saved)
                ]
            except checkpoints.Damaged as error:
                say(f"warning: {error}; resuming from an older one, or from the start")
        info = self.runs[0].info
        if common and "forked_from" in info and "fork_weights" not in info:
            raise UsageError(
                f"the checkpoints of --fork={info['forked_from']} do not fit this model"
            )
        return 0, []

    def add(self, chunk: training.Chunk, validation: Readers) -> None:
        """Takes a chunk; its metrics are read when the next one is added.

        Args:
          chunk: of all runs.
          validation: for each run that has not failed, if this chunk is validated.
        """
        if self.mesh is not None:
            numbers = parallel.replicate((chunk.sums, chunk.bad_step), self.mesh)
            chunk = chunk._replace(sums=numbers[0], bad_step=numbers[1])
        pending, self._pending = self._pending, (chunk, validation)
        self._read(pending)

    def read(self) -> None:
        """Reads the metrics of the last chunk."""
        pending, self._pending = self._pending, None
        self._read(pending)

    def save(self, step: int, state: training.TrainState) -> None:
        """Saves the runs that have not failed."""
        self.read()
        for i in self.alive:
            self._saved[i].save(step, self.pick(state, i))
            if self.mesh is not None and jax.process_count() > 1:
                self._saved[i].wait()  # orbax's barriers do not support concurrent saves

    def prune(self) -> None:
        """Removes the checkpoints that are not kept from the runs that have not failed."""
        for i in self.alive:
            self._saved[i].keep_only(self.kept)

    def pick(self, state: training.TrainState, i: int) -> training.TrainState:
        """The state of run ``i``, on every device."""
        return self._row(state, i) if self._row else state

    def _read(self, pending: tuple[training.Chunk, Readers] | None) -> None:
        """Reads a chunk's metrics, and at the end of an epoch records them."""
        if pending is None:
            return
        chunk, validation = pending
        self._judge(chunk)
        epoch, rest = divmod(chunk.step, self.per_epoch)
        if rest:
            self._bar.update(epoch)
            return
        lines = self._lines(epoch, chunk, validation)
        for i, line in zip(self.alive, lines, strict=True):
            add_metrics(self.runs[i].path, **line)
            for tracker in self._trackers[i]:
                tracker.add(line)
        self._bar.update(epoch, _text(lines), line=True)

    def _judge(self, chunk: training.Chunk) -> None:
        """Fails runs whose loss or gradient was not finite; with --keep_going, warns instead."""
        bad = np.atleast_1d(chunk.bad_step)
        for i in list(self.alive):
            if bad[i] >= 0 and not self.config.keep_going:
                self._fail(i, int(bad[i]))
            elif bad[i] >= 0 and "first_bad_step" not in self.runs[i].info:
                self.runs[i].update(first_bad_step=int(bad[i]))
                say(f"warning: {self.runs[i].path}: not finite at step {bad[i]}; continuing")

    def _lines(
        self, epoch: int, chunk: training.Chunk, validation: Readers
    ) -> list[dict[str, Any]]:
        """The epoch's line of ``metrics.jsonl`` for each run that has not failed."""
        sums = {name: np.atleast_1d(x).astype(float) for name, x in chunk.sums.items()}
        means = {name: x / sums["count"] for name, x in sums.items() if name != "count"}
        now = time.monotonic()
        seconds, self._last = round(now - self._last, 3), now
        shared = {"epoch": epoch, "step": chunk.step, "lr": float(self._schedule(chunk.step - 1))}
        lines = []
        for i in self.alive:
            line = shared | {"train": {name: float(x[i]) for name, x in means.items()}}
            if validation:
                line["validation"] = validation[i]()
            lines.append(line | {"seconds": seconds})
        return lines

    def _fail(self, i: int, step: int) -> None:
        """Marks run ``i`` failed at a step."""
        steps = self._saved[i].steps()
        good = f"epoch {steps[-1] // self.per_epoch}" if steps else "none"
        reason = (
            f"the loss or its gradient was not finite at step {step} (epoch "
            f"{step // self.per_epoch + 1}, lr {float(self._schedule(step)):.3g}); "
            f"last good checkpoint: {good}"
        )
        self.alive.remove(i)
        self.failures.append(mark_failed(self.runs[i], reason))


def groups(runs: Collection[Run]) -> list[list[Run]]:
    """Groups of runs that resume from a common checkpoint, or that all have none yet."""
    steps = {run.path: set(checkpoint_steps(run)) for run in runs}
    fresh = [run for run in runs if not steps[run.path]]
    begun = [run for run in runs if steps[run.path]]
    if begun and not set.intersection(*(steps[run.path] for run in begun)):
        return [group for group in (fresh, *([run] for run in begun)) if group]
    return [group for group in (fresh, begun) if group]


def lay_out(trees: Sequence[Any], length: int, mesh: jax.sharding.Mesh) -> Any:
    """Stacks pytrees along a leading axis and divides it over the rows of the mesh.

    Args:
      trees: of equal structure, one per run; the last is repeated up to ``length``.
      length: of the leading axis, a multiple of the number of rows.
      mesh: with rows, from `mcjax.engine.parallel.with_rows`.
    """
    padded = [*trees, *[trees[-1]] * (length - len(trees))]
    return parallel.split(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded), mesh)


def _text(lines: Sequence[dict[str, Any]]) -> str:
    """The losses and accuracies of an epoch as text: of one run, or the range of several."""

    def show(split: str, name: str, pattern: str, factor: float = 1.0) -> str:
        values = [factor * line[split][name] for line in lines]
        low, high = (pattern.format(x) for x in (min(values), max(values)))
        return low if len(lines) == 1 else f"{low} to {high}"

    if not lines:
        return "all runs failed"
    parts = [f"loss {show('train', 'loss', '{:.4f}')}"]
    for split in ("train", "validation"):
        if "accuracy" in lines[0].get(split, {}):
            parts.append(f"{split} accuracy {show(split, 'accuracy', '{:.2f}', 100)} %")
    return ", ".join(parts)
