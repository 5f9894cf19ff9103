"""The runs that a loop trains: their checkpoints, metrics, progress and failures."""

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import checkpoints, parallel, training

from ..cli.errors import UsageError
from ..cli.progress import Progress, say
from ..runs.folder import Run
from . import problem as problems
from . import trackers

Reader = Callable[[], dict[str, float]]


class Members(contextlib.AbstractContextManager):
    """The run that is trained, or the runs: their checkpoints, metrics and failures.

    Each chunk's numbers are read when the next one is already running.

    Args:
      runs: opened.
      config: their flags.
      trainer: theirs.
      keep: epochs whose checkpoints stay.
      mesh: None where there is one run and its state has no leading axis.

    Attributes:
      alive: indices of the runs that have not failed.
      failures: why the others have.
      kept: steps of the kept checkpoints.
    """

    def __init__(self, runs, config, trainer, keep, mesh):
        self.runs, self.mesh, self.trainer = runs, mesh, trainer
        self.per_epoch = trainer.steps_per_epoch
        name = runs[0].path.name
        self._name = name if len(runs) == 1 else f"{name} and {len(runs) - 1} more"
        self.alive, self.failures = list(range(len(runs))), []
        self.kept = {e * self.per_epoch for e in (*keep, config.epochs)}
        self._config = config
        self._schedule = jax.jit(problems.make_schedule(config, self.per_epoch))
        self._row = None
        if mesh is not None:
            replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
            row = lambda tree, i: jax.tree.map(lambda x: x[i], tree)  # noqa: E731
            self._row = jax.jit(row, out_shardings=replicated)
        self._pending: tuple[training.Chunk, Reader | None] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        keep = tuple(self.kept)
        self._saved = [self._stack.enter_context(run.checkpoints(keep)) for run in self.runs]
        return self

    def __exit__(self, *details):
        return self._stack.__exit__(*details)

    def restore(self, state):
        """The newest state that every run has; its metrics are cut to it."""
        common = set.intersection(*(set(saved.steps()) for saved in self._saved))
        for step in sorted(common, reverse=True):
            try:
                each = [
                    saved.restore(step, like=self._pick(state, i))
                    for i, saved in enumerate(self._saved)
                ]
                break
            except checkpoints.Damaged as error:
                say(f"warning: {error}; going on from an older one, or from the start")
        else:
            step, each = 0, []
            if common and self._config.fork:
                raise UsageError(f"the checkpoints of --fork={self._config.fork} do not fit")
        if each:
            state = each[0]
            if self.mesh is not None:
                state = lay_out(each, self.trainer.runs, self.mesh)
        for run, saved in zip(self.runs, self._saved, strict=True):
            saved.drop_after(step)
            run.cut_metrics(step)
        self._trackers = [trackers.start(self._config.tracker, run) for run in self.runs]
        for tracker in itertools.chain(*self._trackers):
            self._stack.callback(tracker.close)
        self._bar = Progress(self._name, self._config.epochs, "epoch", step // self.per_epoch)
        self._stack.callback(self._bar.close)
        self._last = time.monotonic()
        return state

    def add(self, chunk, validation):
        """Takes a chunk's numbers; they are read with the next one's."""
        if self.mesh is not None:
            numbers = parallel.replicate((chunk.sums, chunk.bad_step), self.mesh)
            chunk = chunk._replace(sums=numbers[0], bad_step=numbers[1])
        pending, self._pending = self._pending, (chunk, validation)
        self._read(pending)

    def read(self):
        """Reads what is pending."""
        pending, self._pending = self._pending, None
        self._read(pending)

    def save(self, step, state):
        """Saves the runs that have not failed."""
        self.read()
        for i in self.alive:
            self._saved[i].save(step, self._pick(state, i))
            if self.mesh is not None and jax.process_count() > 1:
                self._saved[i].wait()  # orbax's barriers are not for several savings at once

    def prune(self):
        """Removes the checkpoints of interruptions from the runs that are trained."""
        for i in self.alive:
            self._saved[i].keep_only(self.kept)

    def _pick(self, state, i):
        """A run's own state, on every device."""
        return self._row(state, i) if self._row else state

    def _read(self, pending):
        if pending is None:
            return
        chunk, validation = pending
        bad = np.atleast_1d(chunk.bad_step)
        for i in list(self.alive):
            if bad[i] >= 0 and not self._config.keep_going:
                self._fail(i, int(bad[i]))
            elif bad[i] >= 0 and "first_bad_step" not in self.runs[i].info:
                self.runs[i].update(first_bad_step=int(bad[i]))
                say(f"warning: {self.runs[i].path}: not finite at step {bad[i]}; going on")
        epoch, rest = divmod(chunk.step, self.per_epoch)
        if rest:
            self._bar.update(epoch)
            return
        sums = {name: np.atleast_1d(x).astype(float) for name, x in chunk.sums.items()}
        means = {name: x / sums["count"] for name, x in sums.items() if name != "count"}
        now = time.monotonic()
        lines = []
        for i in self.alive:
            line = {
                "epoch": epoch,
                "step": chunk.step,
                "lr": float(self._schedule(chunk.step - 1)),
                "train": {name: float(x[i]) for name, x in means.items()},
            }
            if validation is not None:
                line["validation"] = validation()
            line["seconds"] = round(now - self._last, 3)
            self.runs[i].add_metrics(**line)
            for tracker in self._trackers[i]:
                tracker.add(line)
            lines.append(line)
        self._last = now
        self._bar.update(epoch, _text(lines), line=True)

    def _fail(self, i, step):
        steps = self._saved[i].steps()
        good = f"epoch {steps[-1] // self.per_epoch}" if steps else "none"
        reason = (
            f"the loss or its gradient was not finite at step {step} (epoch "
            f"{step // self.per_epoch + 1}, lr {float(self._schedule(step)):.3g}); "
            f"last good checkpoint: {good}"
        )
        self.alive.remove(i)
        self.failures.append(mark_failed(self.runs[i], reason))


def lay_out(trees: Sequence[Any], length: int, mesh: jax.sharding.Mesh) -> Any:
    """Pytrees of several runs stacked along a leading axis and divided over the mesh's rows.

    Args:
      trees: of equal structure; the last one is repeated up to ``length``.
      length: of the leading axis.
      mesh: its rows divide ``length``.
    """
    padded = [*trees, *[trees[-1]] * (length - len(trees))]
    return parallel.split(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded), mesh)


def mark_failed(run: Run, reason: str) -> str:
    """Marks a run failed and says so; returns the run and the reason in words."""
    run.update(status="failed", reason=reason)
    say(f"*** {run.path} FAILED: {reason} ***")
    return f"{run.path}: {reason}"


def _text(lines):
    """An epoch's losses in words: one run's, or the range of several."""

    def show(split, name, pattern, factor=1.0):
        values = [factor * line[split][name] for line in lines]
        low, high = (pattern.format(x) for x in (min(values), max(values)))
        return low if len(lines) == 1 else f"{low} to {high}"

    if not lines:
        return "all have failed"
    parts = [f"loss {show('train', 'loss', '{:.4f}')}"]
    for split in ("train", "validation"):
        if "accuracy" in lines[0].get(split, {}):
            parts.append(f"{split} accuracy {show(split, 'accuracy', '{:.2f}', 100)} %")
    return ", ".join(parts)
