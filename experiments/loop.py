"""The loop around the training engine: checkpoints, metrics, progress, failures, interruptions."""

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from experiments import problem as problems
from experiments.config import Training, UsageError
from experiments.progress import Progress, say
from experiments.runs import Run
from mcjax import checkpoints, parallel, schedules, training

Reader = Callable[[], dict[str, float]]


class RunFailed(RuntimeError):
    """A mode or curve that did not train."""


class Interrupted(RuntimeError):
    """SIGTERM or SIGINT came; the state is saved and the same command goes on."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on")
        self.signum = signum


class Start(NamedTuple):
    """What training starts from.

    Attributes:
      params: what is trained.
      fixed: what the training function takes beside them (a curve's ends), or ``()``.
      model_state: the network's state.
      seed: of data order, augmentation, dropout and ``t``.
    """

    params: Any
    fixed: Any
    model_state: Any
    seed: int


def train(
    run: Run,
    config: Training,
    problem: problems.Problem,
    function: Callable[..., Any],
    start: Start,
    *,
    strata: int = 1,
    keep: tuple[int, ...] = (),
    validate: Callable[[training.TrainState], Reader] | None = None,
) -> training.TrainState:
    """Trains a run to its last epoch, going on from its newest checkpoint.

    Args:
      run: opened.
      config: the run's flags.
      problem: data, network and objective.
      function: from `mcjax.objectives`: `at_point`, `on_curve` or `on_curve_with_free_ends`.
      start: what training starts from.
      strata: parts of the batch with a ``t`` of their own.
      keep: epochs whose checkpoints stay.
      validate: starts the validation of a state; the result is read later.

    Raises:
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal came.
    """
    trainer = _trainer(config, problem, function, problem.mesh, strata)
    params, fixed, model_state, seed = start
    state = trainer.init(params, fixed, model_state, problem.train)
    fixed = parallel.replicate(fixed, problem.mesh)
    with _Members([run], config, trainer, keep, None) as members:
        key = jax.random.key(seed)
        state = _loop(members, config, problem, trainer, state, fixed, key, validate)
    if members.failures:
        raise RunFailed(members.failures[0])
    return state


def train_together(
    runs: Sequence[Run],
    config: Training,
    problem: problems.Problem,
    function: Callable[..., Any],
    starts: Sequence[Start],
    *,
    strata: int = 1,
    keep: tuple[int, ...] = (),
) -> None:
    """Trains several runs at once, divided over the devices, as `train` does each.

    They go on from the newest checkpoint that all of them have. A run whose loss is not finite is
    marked failed; the others go on.

    Args:
      runs: opened; of flags that differ in the seed only.
      config: any one's flags.
      problem: shared by all.
      function: shared by all.
      starts: one for each run.
      strata: parts of the batch with a ``t`` of their own.
      keep: epochs whose checkpoints stay.

    Raises:
      Interrupted: a signal came.
    """
    devices, count = problem.mesh.size, len(runs)
    rows = max(r for r in range(1, devices + 1) if devices % r == 0 and r <= count)
    padded = [*starts, *[starts[-1]] * (-count % rows)]  # equal parts: what is over is not kept
    mesh = parallel.with_rows(problem.mesh, rows)
    trainer = _trainer(config, problem, function, mesh, strata, runs=len(padded))
    params, fixed, model_state = (
        parallel.split(stack([one[i] for one in padded]), mesh) for i in range(3)
    )
    state = trainer.init(params, fixed, model_state, problem.train)
    keys = jnp.stack([jax.random.key(one.seed) for one in padded])
    with _Members(runs, config, trainer, keep, mesh) as members:
        _loop(members, config, problem, trainer, state, fixed, keys, None)


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of equal structure, their leaves stacked along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _trainer(config, problem, function, mesh, strata, runs=None):
    per_epoch = len(problem.dataset.train.labels) // config.batch_size
    schedule = jax.jit(problems.make_schedule(config, per_epoch))
    return training.make_trainer(
        function,
        problems.train_batches(problem, config),
        schedules.optimizer(config.optimizer, schedule, config.momentum, config.weight_decay),
        size=len(problem.dataset.train.labels),
        batch_size=config.batch_size,
        mesh=mesh,
        strata=strata,
        runs=runs,
    )


def _loop(members, config, problem, trainer, state, fixed, key, validate):
    """Trains chunk by chunk: metrics, checkpoints, signals."""
    per_epoch, every = trainer.steps_per_epoch, config.eval_every
    validated = {*range(every, config.epochs, every), config.epochs} if every else set()
    with signals() as received:
        state = members.restore(state)
        saved_at = time.monotonic()
        chunks = training.chunks(trainer, state, fixed, problem.train, config.epochs, key)
        if config.profile:
            chunks = _profiled(chunks, members.runs[0].path / "profile")
        for chunk in chunks:
            state = chunk.state
            epoch, rest = divmod(chunk.step, per_epoch)
            due = rest == 0 and epoch in validated
            members.add(chunk, validate(state) if validate and due else None)
            now = time.monotonic()
            signum = parallel.any_says(received[0] if received else 0)
            late = parallel.first_says(now - saved_at > config.checkpoint_seconds)
            if chunk.step in members.kept or late or signum:
                members.save(chunk.step, state)
                saved_at = now
            if signum:
                raise Interrupted(signum)
            if not members.alive:
                break
        members.read()
    return state


def _profiled(chunks, folder):
    """The chunks; while the third is computed, which compiles nothing, a trace is recorded."""
    for number in itertools.count():
        if number == 2:
            jax.profiler.start_trace(folder, create_perfetto_trace=True)
        chunk = next(chunks, None)
        if number == 2:
            jax.block_until_ready(chunk and chunk.sums)
            jax.profiler.stop_trace()
            say(f"profile: {folder}")
        if chunk is None:
            return
        yield chunk


class _Members(contextlib.AbstractContextManager):
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
                padded = [*each, *[each[-1]] * (self.trainer.runs - len(each))]
                state = parallel.split(stack(padded), self.mesh)
        for run, saved in zip(self.runs, self._saved, strict=True):
            saved.drop_after(step)
            run.cut_metrics(step)
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
            self.runs[i].add_metrics(**line, seconds=round(now - self._last, 3))
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


def mark_failed(run: Run, reason: str) -> str:
    """Marks a run failed and says so; returns the run and the reason in words."""
    run.update(status="failed", reason=reason)
    say(f"*** {run.path} FAILED: {reason} ***")
    return f"{run.path}: {reason}"


def fail(run: Run, reason: str) -> NoReturn:
    """Marks a run failed, says so, and raises RunFailed."""
    raise RunFailed(mark_failed(run, reason))


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


@contextlib.contextmanager
def signals():
    """Collects SIGTERM and SIGINT; a second one of them has its usual effect."""
    received, before = [], {}

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
