"""The loop around the training engine: checkpoints, metrics, progress, failures, interruptions."""

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any

import jax

from experiments import problem as problems
from experiments.config import Training
from experiments.progress import Progress, say
from experiments.runs import Run
from mcjax import parallel, schedules, training

Reader = Callable[[], dict[str, float]]


class RunFailed(RuntimeError):
    """A mode or curve that did not train."""


class Interrupted(RuntimeError):
    """SIGTERM or SIGINT came; the state is saved and the same command goes on."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on")
        self.signum = signum


def train(
    run: Run,
    config: Training,
    problem: problems.Problem,
    train_function: Callable[..., Any],
    params: Any,
    fixed: Any,
    model_state: Any,
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
      train_function: from `mcjax.objectives`: `at_point`, `on_curve` or `on_curve_with_free_ends`.
      params: where training starts from.
      fixed: what the training function takes beside them.
      model_state: the network's state.
      strata: parts of the batch with a ``t`` of their own.
      keep: epochs whose checkpoints stay.
      validate: starts the validation of a state; the result is read later.

    Returns:
      The state after the last epoch.

    Raises:
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal came.
    """
    size, per_epoch = len(problem.dataset.train.labels), _steps_per_epoch(problem, config)
    schedule = jax.jit(problems.make_schedule(config, per_epoch))
    trainer = training.make_trainer(
        train_function,
        problems.train_batches(problem, config),
        schedules.optimizer(config.optimizer, schedule, config.momentum, config.weight_decay),
        size=size,
        batch_size=config.batch_size,
        mesh=problem.mesh,
        strata=strata,
    )
    every = config.eval_every
    validated = {*range(every, config.epochs, every), config.epochs} if every else set()
    kept = {e * per_epoch for e in (*keep, config.epochs)}
    state = trainer.init(params, fixed, model_state, problem.train)
    fixed = parallel.replicate(fixed, problem.mesh)
    with run.checkpoints(tuple(kept)) as saved, signals() as received:
        if saved.steps():
            state = saved.restore(saved.steps()[-1], like=state)
        run.cut_metrics(int(state.step))
        recorder = _Recorder(run, config, schedule, per_epoch, int(state.step), saved)
        saved_at = time.monotonic()
        for chunk in training.chunks(
            trainer, state, fixed, problem.train, config.epochs, jax.random.key(config.seed),
        ):  # fmt: skip
            state = chunk.state
            epoch, rest = divmod(chunk.step, per_epoch)
            due = rest == 0 and epoch in validated
            recorder.add(chunk, validate(state) if validate and due else None)
            now = time.monotonic()
            signum = parallel.any_says(received[0] if received else 0)
            late = parallel.first_says(now - saved_at > config.checkpoint_seconds)
            if chunk.step in kept or late or signum:
                recorder.flush()
                saved.save(chunk.step, state)
                saved_at = now
            if signum:
                recorder.close()
                raise Interrupted(signum)
        recorder.flush()
        recorder.close()
    return state


class _Recorder:
    """Reads each chunk's numbers when the next one is already running."""

    def __init__(self, run, config, schedule, per_epoch, step, saved):
        self._run, self._schedule, self._per_epoch = run, schedule, per_epoch
        self._saved, self._last = saved, time.monotonic()
        self._pending: tuple[training.Chunk, Reader | None] | None = None
        self._bar = Progress(run.path.name, config.epochs, "epoch", step // per_epoch)

    def add(self, chunk, validation):
        pending, self._pending = self._pending, (chunk, validation)
        self._read(pending)

    def flush(self):
        pending, self._pending = self._pending, None
        self._read(pending)

    def close(self):
        self._bar.close()

    def _read(self, pending):
        if pending is None:
            return
        chunk, validation = pending
        bad = int(chunk.bad_step)
        if bad >= 0:
            self._fail(bad)
        epoch, rest = divmod(chunk.step, self._per_epoch)
        if rest:
            self._bar.update(epoch)
            return
        sums = {name: float(x) for name, x in chunk.sums.items()}
        line = {
            "epoch": epoch,
            "step": chunk.step,
            "lr": float(self._schedule(chunk.step - 1)),
            "train": {n: x / sums["count"] for n, x in sums.items() if n != "count"},
        }
        if validation is not None:
            line["validation"] = validation()
        now = time.monotonic()
        self._run.add_metrics(**line, seconds=round(now - self._last, 3))
        self._last = now
        self._bar.update(epoch, _text(line), line=True)

    def _fail(self, step):
        self._bar.close()
        steps = self._saved.steps()
        good = f"epoch {steps[-1] // self._per_epoch}" if steps else "none"
        fail(
            self._run,
            f"the loss or its gradient was not finite at step {step} (epoch "
            f"{step // self._per_epoch + 1}, lr {float(self._schedule(step)):.3g}); "
            f"last good checkpoint: {good}",
        )


def fail(run: Run, reason: str) -> None:
    """Marks a run failed, says so, and raises RunFailed."""
    run.update(status="failed", reason=reason)
    say(f"*** {run.path} FAILED: {reason} ***")
    raise RunFailed(f"{run.path}: {reason}")


def _text(line):
    parts = [f"loss {line['train']['loss']:.4f}"]
    for split in ("train", "validation"):
        if "accuracy" in line.get(split, {}):
            parts.append(f"{split} accuracy {100 * line[split]['accuracy']:.2f} %")
    return ", ".join(parts)


def _steps_per_epoch(problem, config):
    return len(problem.dataset.train.labels) // config.batch_size


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
