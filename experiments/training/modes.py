"""Training modes, and the metrics of a trained or imported one."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mcjax.engine import objectives

from ..cli import ModeConfig, RunFailed, UsageError
from ..runs import Name, Run, Status, checkpoint_steps, load_point
from . import failures, loop, optimization
from .problem import Problem, check_batch, check_problem, for_mode, init


def check_flags(config: ModeConfig) -> Run:
    """Checks a mode's flags and run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: one of them is wrong.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    optimization.check_training(config)
    late = [e for e in config.keep if not 0 < e <= config.epochs]
    if late:
        epochs = ",".join(map(str, late))
        raise UsageError(
            f"--keep={epochs}: the run has epochs 1 to {config.epochs}; give another --keep"
        )
    check_problem(config)
    folder = Run(config.workdir)
    folder.check_same("mode", config)
    if folder.is_made:
        made = "imported" if "imported" in folder.info else "aligned"
        raise UsageError(
            f"{folder.path} holds an {made} network, which was not trained there: use another "
            f"--workdir, and --fork={folder.path} to train on from it"
        )
    return folder


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
    check_batch(problem, config, config.batch_size)
    folder = Run(config.workdir)
    with folder.locked():
        _train(folder, config, problem)
    return folder


def _train(folder: Run, config: ModeConfig, problem: Problem) -> None:
    """Trains a mode in its locked folder; raises as `train`."""
    folder.open("mode", config, steps_per_epoch=optimization.steps_per_epoch(problem, config))
    if folder.status == Status.FAILED:
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    if folder.status == Status.DONE:
        return
    params, model_state = _start(folder, config, problem)
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


def _start(folder: Run, config: ModeConfig, problem: Problem) -> tuple[Any, Any]:
    """A new network's parameters and state, or those of the imported or aligned mode to fork.

    Raises:
      UsageError: that mode is of another network, or is gone although nothing is saved here yet.
    """
    new = init(problem, config, jax.random.key(config.seed))
    other = folder.info.get("forked_from")
    if not other or checkpoint_steps(folder):
        return new
    made = load_point(Name(Path(other), None, None))
    if jax.tree.map(jnp.shape, tuple(made)) != jax.tree.map(jnp.shape, new):
        raise UsageError(f"the checkpoints of --fork={other} do not fit this model")
    return tuple(made)


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
