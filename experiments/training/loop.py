"""The loop around the training engine: one run or several, traces, interruptions."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from mcjax.engine import parallel, schedules, training

from ..cli.configs import Training
from ..cli.errors import Interrupted, RunFailed
from ..cli.progress import say
from ..cli.signals import signals
from ..runs.folder import Run
from . import problem as problems
from .members import Members, Reader, lay_out, mark_failed


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
      function: from `mcjax.engine.objectives`: `at_point`, `on_curve` or `on_curve_with_free_ends`.
      start: what training starts from.
      strata: parts of the batch with a ``t`` of their own.
      keep: epochs whose checkpoints stay.
      validate: starts the validation of a state; the result is read later.

    Returns:
      The state after the last epoch.

    Raises:
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal came.
    """
    trainer = _trainer(config, problem, function, problem.mesh, strata)
    params, fixed, model_state, seed = start
    state = trainer.init(params, fixed, model_state, problem.train)
    fixed = parallel.replicate(fixed, problem.mesh)
    with Members([run], config, trainer, keep, None) as members:
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
    length = -(-count // rows) * rows  # equal parts: what is over is not kept
    mesh = parallel.with_rows(problem.mesh, rows)
    trainer = _trainer(config, problem, function, mesh, strata, runs=length)
    params, fixed, model_state = (
        lay_out([one[i] for one in starts], length, mesh) for i in range(3)
    )
    state = trainer.init(params, fixed, model_state, problem.train)
    keys = jnp.stack([jax.random.key(starts[min(i, count - 1)].seed) for i in range(length)])
    with Members(runs, config, trainer, keep, mesh) as members:
        _loop(members, config, problem, trainer, state, fixed, keys, None)


def _trainer(config, problem, function, mesh, strata, runs=None):
    schedule = jax.jit(problems.make_schedule(config, problems.steps_per_epoch(problem, config)))
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
    members.prune()
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


def fail(run: Run, reason: str) -> NoReturn:
    """Marks a run failed, says so, and raises RunFailed."""
    raise RunFailed(mark_failed(run, reason))
