"""The loop around the training engine, for one run or several: traces, interruptions."""

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mcjax.engine import parallel, schedules, training
from mcjax.engine.objectives import StratumLoss

from ..cli import Interrupted, RunFailed, Training, collect_signals, first_signal, say
from ..runs import Run
from .optimization import make_schedule, steps_per_epoch, train_batches
from .problem import Problem
from .run_group import Reader, RunGroup, lay_out


class Validate(Protocol):
    """Starts the validation of a state on the devices, and returns without waiting for it."""

    def __call__(self, state: training.TrainState, /) -> Reader:
        """Returns the function that waits for the metrics and reads them."""
        ...


class Start(NamedTuple):
    """The start of a training.

    Attributes:
      params: the trained parameters: of a mode, or the bends of a curve.
      fixed: further parameters of the training function (the ends of a curve), or ``()``.
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
    problem: Problem,
    function: StratumLoss,
    start: Start,
    *,
    strata: int = 1,
    keep: tuple[int, ...] = (),
    validate: Validate | None = None,
) -> training.TrainState:
    """Trains a run to its last epoch, resuming from its newest checkpoint.

    Args:
      run: opened.
      config: the run's flags.
      problem: data, network and objective.
      function: from `mcjax.engine.objectives`: `at_point`, `on_curve` or `on_curve_with_free_ends`.
      start: where training starts if there is no checkpoint.
      strata: number of parts of the batch, each with its own ``t``.
      keep: epochs whose checkpoints to keep.
      validate: validates a state; None for no validation.

    Returns:
      The state after the last epoch.

    Raises:
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal arrived; the state is saved.
    """
    trainer = _trainer(config, problem, function, problem.mesh, strata)
    params, fixed, model_state, seed = start
    state = trainer.init(params, fixed, model_state, problem.train)
    fixed = parallel.replicate(fixed, problem.mesh)
    with RunGroup([run], config, trainer, keep, None) as group:
        key = jax.random.key(seed)
        state = _loop(group, problem, state, fixed, key, validate)
    if group.failures:
        raise RunFailed(group.failures[0])
    return state


def train_together(
    runs: Sequence[Run],
    config: Training,
    problem: Problem,
    function: StratumLoss,
    starts: Sequence[Start],
    *,
    strata: int = 1,
    keep: tuple[int, ...] = (),
    validate: Validate | None = None,
) -> None:
    """Trains several runs at once, divided over the devices, as `train` does each.

    They resume from the newest checkpoint that all of them have. A run whose loss is not finite is
    marked failed; the others continue.

    Args:
      runs: opened; their flags differ in nothing but the seed.
      config: the flags of any of them.
      problem: shared by all.
      function: shared by all, as in `train`.
      starts: one per run.
      strata: number of parts of the batch, each with its own ``t``.
      keep: epochs whose checkpoints to keep.
      validate: validates the state of one run; None for no validation.

    Raises:
      Interrupted: a signal arrived; the states are saved.
    """
    devices, count = problem.mesh.size, len(runs)
    rows = max(r for r in range(1, devices + 1) if devices % r == 0 and r <= count)
    length = -(-count // rows) * rows  # rows get equal parts; surplus copies are discarded
    mesh = parallel.with_rows(problem.mesh, rows)
    trainer = _trainer(config, problem, function, mesh, strata, runs=length)
    params, fixed, model_state = (
        lay_out([one[i] for one in starts], length, mesh) for i in range(3)
    )
    state = trainer.init(params, fixed, model_state, problem.train)
    keys = jnp.stack([jax.random.key(starts[min(i, count - 1)].seed) for i in range(length)])
    with RunGroup(runs, config, trainer, keep, mesh) as group:
        _loop(group, problem, state, fixed, keys, validate)


def _trainer(
    config: Training,
    problem: Problem,
    function: StratumLoss,
    mesh: jax.sharding.Mesh,
    strata: int,
    runs: int | None = None,
) -> training.Trainer:
    """The trainer of one run, or of ``runs`` runs at once."""
    schedule = jax.jit(make_schedule(config, steps_per_epoch(problem, config)))
    return training.make_trainer(
        function,
        train_batches(problem, config),
        schedules.optimizer(config.optimizer, schedule, config.momentum, config.weight_decay),
        size=len(problem.dataset.train.labels),
        batch_size=config.batch_size,
        mesh=mesh,
        strata=strata,
        runs=runs,
    )


def _loop(
    group: RunGroup,
    problem: Problem,
    state: training.TrainState,
    fixed: Any,
    key: jax.Array,
    validate: Validate | None = None,
) -> training.TrainState:
    """Trains chunk by chunk, with metrics, checkpoints and signals in between."""
    config, trainer = group.config, group.trainer
    per_epoch, every = trainer.steps_per_epoch, config.eval_every
    validated = {*range(every, config.epochs, every), config.epochs} if every else set()
    with collect_signals() as received:
        state = group.restore(state)
        if 0 in group.kept and training.steps_done(state) == 0:
            group.save(0, state)
        saved_at = time.monotonic()
        chunks = training.chunks(
            trainer, state, fixed, problem.train, config.epochs, key, stops=group.kept
        )
        if config.profile:
            chunks = _profiled(chunks, group.runs[0].path / "profile")
        for chunk in chunks:
            state = chunk.state
            epoch, rest = divmod(chunk.step, per_epoch)
            due = group.alive if validate and rest == 0 and epoch in validated else ()
            group.add(chunk, {i: validate(group.pick(state, i)) for i in due if validate})
            now = time.monotonic()
            signum = first_signal(received)
            late = parallel.broadcast_from_first(now - saved_at > config.checkpoint_seconds)
            if chunk.step in group.kept or late or signum:
                group.save(chunk.step, state)
                saved_at = now
            if signum:
                raise Interrupted(signum)
            if not group.alive:
                break
        group.read()
    group.prune()
    return state


def _profiled(chunks: Iterator[training.Chunk], folder: Path) -> Iterator[training.Chunk]:
    """The chunks; records a trace of the third, during which nothing is compiled."""
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
