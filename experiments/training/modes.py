"""Training modes, and the metrics of a trained or imported one."""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax

from mcjax import curves
from mcjax.engine import objectives, parallel

from ..cli import ModeConfig, RunFailed, UsageError
from ..runs import (
    MADE,
    Point,
    Run,
    Status,
    checkpoint_steps,
    forks,
    load_point,
    parse_name,
    restore,
)
from . import failures, loop, optimization, run_group
from .problem import Problem, check_batch, check_problem, for_mode, init, pin_data

LAST = "the last epoch's network"


def check_flags(config: ModeConfig) -> ModeConfig:
    """Checks a mode's flags and run folder, without loading data.

    Returns:
      The flags, with the user's own data completed by `pin_data`.

    Raises:
      UsageError: one of them is wrong.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    optimization.check_training(config)
    late = [e for e in config.keep if not 0 <= e <= config.epochs]
    if late:
        epochs = ",".join(map(str, late))
        raise UsageError(
            f"--keep={epochs}: the run has epochs 1 to {config.epochs}, and 0 before them; give "
            "another --keep"
        )
    check_problem(config)
    config = pin_data(config)
    folder = Run(config.workdir)
    folder.check_same("mode", config)
    if folder.is_made:
        made = next(words for key, words in MADE.items() if key in folder.info)
        raise UsageError(
            f"{folder.path} holds {made}, which was not trained there: use another "
            f"--workdir, and --fork={folder.path} to train on from it"
        )
    forks.check(folder, "mode", config)
    return config


def train(config: ModeConfig, problem: Problem) -> Run:
    """Trains a mode, or resumes it; a finished mode is left unchanged.

    Args:
      config: its flags, checked.
      problem: its problem, or that of a mode that it can be connected to.

    Returns:
      The run.

    Raises:
      UsageError: the batch size does not fit the data or the devices.
      RunFailed: it did not train; the run is marked failed.
      Interrupted: a signal arrived; the state is saved.
    """
    problem = for_mode(problem, config)
    check_data(problem, config)
    folder = Run(config.workdir)
    with folder.locked():
        if _begin(folder, config, problem):
            state = loop.train(
                folder,
                config,
                problem,
                _function(config, problem),
                _start(folder, config, problem),
                keep=config.keep,
                validate=_validate(problem),
            )
            finish(folder, problem, state.params, state.model_state, LAST)
    return folder


def train_together(configs: Sequence[ModeConfig], problem: Problem) -> None:
    """Trains modes whose flags differ in the seed alone, divided over the devices, as `train` does.

    Finished modes are left unchanged; the others resume from a checkpoint that they share.

    Args:
      configs: their flags, checked.
      problem: their problem.

    Raises:
      UsageError: the batch size does not fit the data or the devices.
      RunFailed: one of them did not train; it is marked failed.
      Interrupted: a signal arrived; the states are saved.
    """
    problem = for_mode(problem, configs[0])
    check_data(problem, configs[0])
    with contextlib.ExitStack() as locks:
        by_path = {Run(config.workdir).path: config for config in configs}
        for path in by_path:
            locks.enter_context(Run(path).locked())
        begun = [path for path, config in by_path.items() if _begin(Run(path), config, problem)]
        for runs in run_group.groups([Run(path) for path in begun]):
            own = [by_path[run.path] for run in runs]
            starts = [_start(run, one, problem) for run, one in zip(runs, own, strict=True)]
            loop.train_together(
                runs,
                own[0],
                problem,
                _function(own[0], problem),
                starts,
                keep=own[0].keep,
                validate=_validate(problem),
            )
            for run in runs:
                if run.status == Status.FAILED:
                    raise RunFailed(f"{run.path} failed: {run.info['reason']}")
                point = parallel.replicate(load_trained(run), problem.mesh)
                finish(run, problem, point.params, point.state, LAST)


def load_trained(run: Run) -> Point:
    """The network of a run's last epoch, which need not be marked done."""
    tree = restore(run, run.info["flags"]["epochs"])
    return Point(tree["params"], tree["model_state"])


def check_data(problem: Problem, config: ModeConfig) -> None:
    """Checks what depends on the data, before any long work.

    Raises:
      UsageError: the batch size, a step of --keep_steps or the network of --fork_weights does not
        fit.
    """
    check_batch(problem, config, config.batch_size)
    optimization.check_steps(problem, config)
    if config.fork and not Run(config.workdir).info and forks.takes_weights(config):
        _network(config.fork, init(problem, config, jax.random.key(0)))


def _begin(folder: Run, config: ModeConfig, problem: Problem) -> bool:
    """Opens a mode's locked folder; returns whether the mode is to be trained.

    Raises:
      UsageError: the run cannot continue from --fork.
      RunFailed: it failed before.
    """
    steps = optimization.steps_per_epoch(problem, config)
    facts = forks.begin(folder, config, steps)
    folder.open("mode", config, steps_per_epoch=steps, **facts)
    if folder.status == Status.FAILED:
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    return folder.status != Status.DONE


def _function(config: ModeConfig, problem: Problem) -> objectives.StratumLoss:
    return objectives.at_point(optimization.with_weight_decay(config, problem.objective))


def _validate(problem: Problem) -> loop.Validate:
    return lambda s: problem.evaluator.dispatch(s.params, s.model_state, "validation")


def _start(folder: Run, config: ModeConfig, problem: Problem) -> loop.Start:
    """Where a run without checkpoints starts: a new network, or that of a fork."""
    params, model_state = init(problem, config, jax.random.key(config.seed))
    info = folder.info
    if info.get("fork_weights") and not checkpoint_steps(folder):
        params, model_state = _network(info["forked_from"], (params, model_state))
    return loop.Start(params, (), model_state, config.seed)


def _network(source: str, like: tuple[Any, Any]) -> Point:
    """Loads the network of a fork; raises UsageError if it is of another model."""
    point = load_point(parse_name(source))
    try:
        curves.check_matching((like, tuple(point)))
    except ValueError as error:
        raise UsageError(
            f"the checkpoints of --fork={source} do not fit this model: {error}"
        ) from None
    return point


def finish(
    folder: Run, problem: Problem, params: Any, model_state: Any, network: str, hint: str = ""
) -> None:
    """Records a mode's metrics on data without augmentation, and marks it done or failed.

    Args:
      folder: the mode's run.
      problem: its problem.
      params: its parameters, on all devices.
      model_state: its state, on all devices.
      network: what to call it in a message.
      hint: appended to the reason if it did not train.

    Raises:
      RunFailed: it did not train; the run is marked failed.
    """
    facts = evaluate(problem, params, model_state)
    folder.update(**facts)
    reason = failures.failure(problem, facts["final"], network)
    if reason:
        failures.fail(folder, reason + hint)
    folder.move_to(Status.DONE)


def evaluate(problem: Problem, params: Any, model_state: Any) -> dict[str, Any]:
    """A mode's metrics on data without augmentation, as ``run.json`` records them.

    Returns:
      ``final``, with batch norm's statistics recomputed, and for a network with batch norm
      ``final_with_running_averages``, each by split and name.
    """
    clean = problem.evaluator((params,), [[1.0]], model_state)
    final = {s: {n: float(v[0]) for n, v in named.items()} for s, named in clean.items()}
    facts: dict[str, Any] = {"final": final}
    if jax.tree.leaves(model_state):
        facts["final_with_running_averages"] = {
            split: problem.evaluator.with_state(params, model_state, split)
            for split in ("train", "validation")
        }
    return facts


def result(folder: Run) -> str:
    """The line that reports a finished mode and its metrics."""
    return f"{folder.path}: {describe(folder.info['final'])}"


def describe(final: dict[str, dict[str, float]]) -> str:
    """A mode's final metrics as text."""
    return ", ".join(
        f"{split} {name} {100 * m[name]:.2f} %"
        if name == "accuracy"
        else f"{split} {name} {m[name]:.4g}"
        for split, m in final.items()
        if split != "params"
        for name in m
    )
