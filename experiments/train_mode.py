"""Trains a mode: one network on one data set (Gotmare et al., 2018, Sections 3 and 5).

    python -m experiments.train_mode --flagfile=experiments/flags/digits/G.cfg --workdir=runs/G

The same command again resumes where it was stopped, and prints the result of a run that is done.
"""

from typing import Any

import jax
import numpy as np

from mcjax.engine import objectives

from .cli import command
from .cli.configs import ModeConfig
from .cli.errors import RunFailed, UsageError
from .cli.progress import show
from .runs.folder import Run
from .training import loop
from .training import problem as problems


def check(config: ModeConfig) -> problems.Problem:
    """Everything that can be wrong with a mode's flags, before any long work.

    Raises:
      UsageError: something is.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    problems.check_training(config)
    problem = problems.make_problem(config)
    shapes = jax.eval_shape(lambda k: problems.init(problem, config, k)[1], jax.random.key(0))
    problems.check_batch(problem, config.batch_size, shapes)
    late = [e for e in config.keep if not 0 < e <= config.epochs]
    if late:
        words = ",".join(map(str, late))
        raise UsageError(
            f"--keep={words}: the run has epochs 1 to {config.epochs}; give another --keep"
        )
    return problem


def run(config: ModeConfig) -> Run:
    """Trains the mode, or resumes it, or finds it done, and prints its metrics.

    Raises:
      UsageError: wrong flags.
      RunFailed: it did not train; the run is marked so.
      Interrupted: a signal came.
    """
    folder = train(config)
    show(result(folder))
    return folder


def train(config: ModeConfig) -> Run:
    """Trains the mode, or resumes it, or finds it done.

    Raises:
      UsageError: wrong flags.
      RunFailed: it did not train; the run is marked so.
      Interrupted: a signal came.
    """
    problem = check(config)
    folder = Run(config.workdir)
    folder.check_same("mode", config)
    with folder.locked():
        _train(folder, config, problem)
    return folder


def _train(folder, config, problem):
    folder.open("mode", config, steps_per_epoch=problems.steps_per_epoch(problem, config))
    if folder.status == "failed":
        raise RunFailed(f"{folder.path} failed before: {folder.info['reason']}")
    if folder.status == "done":
        return
    params, model_state = problems.init(problem, config, jax.random.key(config.seed))
    objective = problems.with_weight_decay(config, problem.objective)
    state = loop.train(
        folder,
        config,
        problem,
        objectives.at_point(objective),
        loop.Start(params, (), model_state, config.seed),
        keep=config.keep,
        validate=lambda s: problem.evaluator.dispatch(s.params, s.model_state, "validation"),
    )
    _finish(folder, problem, state)


def _finish(folder, problem, state):
    """Records the end's own metrics, on clean data, and judges whether it trained."""
    facts = evaluate(problem, state.params, state.model_state)
    folder.update(**facts)
    reason = failure(problem, facts["final"], "the last epoch's network")
    if reason:
        loop.fail(folder, reason)
    folder.update(status="done")


def result(folder: Run) -> str:
    """A finished mode's metrics in words."""
    return f"{folder.path}: {describe(folder.info['final'])}"


def evaluate(problem: problems.Problem, params: Any, model_state: Any) -> dict[str, Any]:
    """A mode's own metrics on clean data, as ``run.json`` has them.

    ``final`` with batch-norm statistics recomputed, ``final_with_running_averages`` where there is
    batch norm.
    """
    clean = problem.evaluator((params,), [[1.0]], model_state)
    final = {s: {n: float(v[0]) for n, v in named.items()} for s, named in clean.items()}
    facts = {"final": final}
    if jax.tree.leaves(model_state):
        facts["final_with_running_averages"] = {
            split: problem.evaluator.with_state(params, model_state, split)
            for split in ("train", "validation")
        }
    return facts


def failure(
    problem: problems.Problem, final: dict[str, dict[str, float]], network: str
) -> str | None:
    """Why a network with these metrics did not train, in words about ``network``, or None."""
    losses = [m["loss"] for s, m in final.items() if "loss" in m]
    if not np.isfinite(losses).all():
        return f"the loss of {network} is not finite: {losses}"
    accuracy = final["train"].get("accuracy")
    return None if accuracy is None else problems.chance_failure(problem, accuracy, network)


def describe(final: dict) -> str:
    """A mode's final metrics in words."""
    return ", ".join(
        f"{split} {name} {100 * m[name]:.2f} %"
        if name == "accuracy"
        else f"{split} {name} {m[name]:.4g}"
        for split, m in final.items()
        if split != "params"
        for name in m
    )


if __name__ == "__main__":
    command.main(ModeConfig, run, __doc__)
