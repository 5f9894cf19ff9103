"""Modes: networks that are trained, or imported, with the metrics of their last epoch."""

from typing import Any

import jax

from mcjax.engine import objectives

from ..cli import ModeConfig, RunFailed, UsageError
from ..runs import Run, Status
from . import failures, loop, optimization
from .problem import Problem, check_batch, check_problem, for_mode, init


def check_flags(config: ModeConfig) -> Run:
    """Checks a mode's flags and its run folder; no data are read.

    Returns:
      The run folder.

    Raises:
      UsageError: something is wrong with them.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    optimization.check_training(config)
    late = [e for e in config.keep if not 0 < e <= config.epochs]
    if late:
        words = ",".join(map(str, late))
        raise UsageError(
            f"--keep={words}: the run has epochs 1 to {config.epochs}; give another --keep"
        )
    check_problem(config)
    folder = Run(config.workdir)
    folder.check_same("mode", config)
    return folder


def train(config: ModeConfig, problem: Problem) -> Run:
    """Trains a mode, or resumes it, or finds it done.

    Args:
      config: its flags, checked.
      problem: its problem, or that of a mode which it can be connected to.

    Raises:
      UsageError: the batch size does not fit the data or the devices.
      RunFailed: it did not train; the run is marked so.
      Interrupted: a signal came.
    """
    problem = for_mode(problem, config)
    check_batch(problem, config, config.batch_size)
    folder = Run(config.workdir)
    with folder.locked():
        _train(folder, config, problem)
    return folder


def _train(folder: Run, config: ModeConfig, problem: Problem) -> None:
    folder.open("mode", config, steps_per_epoch=optimization.steps_per_epoch(problem, config))
    if folder.status == Status.FAILED:
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    if folder.status == Status.DONE:
        return
    params, model_state = init(problem, config, jax.random.key(config.seed))
    objective = optimization.with_weight_decay(config, problem.objective)
    state = loop.train(
        folder,
        config,
        problem,
        objectives.at_point(objective),
        loop.Start(params, (), model_state, config.seed),
        keep=config.keep,
        validate=lambda s: problem.evaluator.dispatch(s.params, s.model_state, "validation"),
    )
    finish(folder, problem, state.params, state.model_state, "the last epoch's network")


def finish(
    folder: Run, problem: Problem, params: Any, model_state: Any, network: str, hint: str = ""
) -> None:
    """Records a network's own metrics, on clean data, and judges whether it trained.

    Args:
      folder: the mode's.
      problem: its problem.
      params: the network's, on all devices.
      model_state: likewise.
      network: what it is, in words.
      hint: follows the reason where it did not train.

    Raises:
      RunFailed: it did not train; the run is marked so.
    """
    facts = evaluate(problem, params, model_state)
    folder.update(**facts)
    reason = failures.failure(problem, facts["final"], network)
    if reason:
        failures.fail(folder, reason + hint)
    folder.move_to(Status.DONE)


def evaluate(problem: Problem, params: Any, model_state: Any) -> dict[str, Any]:
    """A mode's own metrics on clean data, as ``run.json`` has them.

    ``final`` with batch-norm statistics recomputed, ``final_with_running_averages`` where there is
    batch norm.
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
    """A finished mode's metrics in words."""
    return f"{folder.path}: {describe(folder.info['final'])}"


def describe(final: dict[str, dict[str, float]]) -> str:
    """A mode's final metrics in words."""
    return ", ".join(
        f"{split} {name} {100 * m[name]:.2f} %"
        if name == "accuracy"
        else f"{split} {name} {m[name]:.4g}"
        for split, m in final.items()
        if split != "params"
        for name in m
    )
