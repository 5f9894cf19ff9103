"""Ensembles of a curve's points, of its ends and of independent modes, on the validation split."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mcjax.analysis import ensembles, profiles
from mcjax.engine import parallel
from mcjax.results import Metrics

from ..cli import ModeConfig, Progress, UsageError
from ..runs import Run, label, load_curve, load_point, mode_config, parse_name, step_of
from ..training import Problem, same_problem
from .interpolation_inputs import Inputs

POINTS = 11
"""Points along the curve, t equally spaced from 0 to 1."""
COUNTS = (3, 6, 11)
"""Sizes of the ensembles of equally spaced points, which include both ends."""


def check(names: Sequence[str], mode: ModeConfig) -> None:
    """Checks the independent modes of --ensemble_with against the start's flags.

    Raises:
      UsageError: a mode's checkpoint does not exist, has another problem, or is named twice.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"--ensemble_with={','.join(names)}: a mode is named twice")
    for text in names:
        name = parse_name(text)
        run = Run(name.run)
        step_of(run, name.epoch, name.step)
        if name.t is not None or run.info["kind"] != "mode":
            raise UsageError(f"--ensemble_with={text} is not a mode: write RUN[@EPOCH] of a mode")
        differing = same_problem(mode, mode_config(run.info))
        if differing:
            raise UsageError(f"--ensemble_with={text}: it differs from --start in {differing[0]}")


def evaluate(run: Run, problem: Problem, modes: Sequence[str]) -> list[dict[str, Any]]:
    """Measures accuracy, likelihood and calibration of the ensembles.

    Args:
      run: a fitted curve.
      problem: the curve's problem.
      modes: checkpoints of independent modes.

    Returns:
      One row per ensemble: its name (``members``), its number of ``networks``, and the metrics
      ``accuracy``, ``nll`` and ``ece`` of `mcjax.analysis.ensembles.metrics`.
    """
    groups = _groups(modes)
    bar = Progress(f"{run.path.name}: ensembles", POINTS + len(modes), "network")
    try:
        found = ensembles.averages(_predictions(run, problem, modes, bar), groups)
    finally:
        bar.close()
    labels = problem.dataset.validation.labels
    return [
        {"members": name, "networks": len(group)} | ensembles.metrics(found[name], labels)._asdict()
        for name, group in groups.items()
    ]


def _groups(modes: Sequence[str]) -> dict[str, Sequence[int]]:
    """By ensemble, its networks' indices: first the curve's points, then independent modes."""
    groups: dict[str, Sequence[int]] = {"start": [0], "end": [POINTS - 1], "middle": [POINTS // 2]}
    groups["both ends"] = [0, POINTS - 1]
    for count in COUNTS:
        groups[f"curve, {count} points"] = range(0, POINTS, (POINTS - 1) // (count - 1))
    others = range(POINTS, POINTS + len(modes))
    groups |= {f"mode {text}": [number] for text, number in zip(modes, others, strict=True)}
    if modes:
        groups[f"{2 + len(modes)} modes"] = [0, POINTS - 1, *others]
    return groups


def _predictions(
    run: Run, problem: Problem, modes: Sequence[str], bar: Progress
) -> Iterator[np.ndarray]:
    """Yields the predictions of the curve's points, then of the modes."""
    family, control, state = load_curve(run)
    control, state = parallel.replicate((control, state), problem.mesh)
    coefficients = profiles.coefficients(family, np.linspace(0, 1, POINTS))
    along = ensembles.members(problem.evaluator, control, coefficients, state, "validation")
    others = (_mode_predictions(problem, text, state) for text in modes)
    for number, one in enumerate(itertools.chain(along, others)):
        yield one
        bar.update(number + 1)


def _mode_predictions(problem: Problem, text: str, state: Any) -> np.ndarray:
    params = parallel.replicate(load_point(parse_name(text)).params, problem.mesh)
    return next(ensembles.members(problem.evaluator, (params,), [[1.0]], state, "validation"))


def of_networks(inputs: Inputs) -> tuple[list[str], Metrics]:
    """Ensembles of the networks of an interpolation, and of the points of each of its curves.

    Returns:
      The ensembles' names, and ``metrics[split][name]`` with an entry per ensemble: ``accuracy``,
      ``nll``, ``ece`` and, if the networks minimise the cross-entropy, the same ``nll`` as
      ``loss``. Nothing if the networks are not classifiers.
    """
    problem, count = inputs.problem, len(inputs.names)
    if problem.objective.logits is None:
        return [], {}
    groups: dict[str, Sequence[int]] = {f"ensemble of {count} networks": range(count)}
    rows = np.eye(count, len(inputs.control))
    for text, curve in inputs.curves.items():
        own = np.zeros((POINTS, len(inputs.control)))
        own[:, curve.control] = profiles.coefficients(curve.family, np.linspace(0, 1, POINTS))
        name = f"ensemble of {label(text)}, {POINTS} points"
        groups[name] = range(len(rows), len(rows) + POINTS)
        rows = np.concatenate([rows, own])
    metrics: Metrics = {}
    for split in (s for s in ("validation", "test") if s in problem.evaluator.splits):
        along = ensembles.members(problem.evaluator, inputs.control, rows, inputs.state, split)
        labels = getattr(problem.dataset, split).labels
        found = [ensembles.metrics(x, labels) for x in ensembles.averages(along, groups).values()]
        metrics[split] = {
            name: np.array([getattr(one, name) for one in found]) for name in found[0]._fields
        }
        if problem.mode.objective is None:
            metrics[split] = {"loss": metrics[split]["nll"], **metrics[split]}
    return list(groups), metrics


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the ensembles for the console, one line each."""
    width = max(19, *(len(row["members"]) for row in rows))
    lines = [f"{'ensemble, validation':<{width + 2}}  accuracy       NLL       ECE"]
    for row in rows:
        lines.append(
            f"  {row['members']:<{width}}  {100 * row['accuracy']:6.2f} %  "
            f"{row['nll']:8.4f}  {row['ece']:8.4f}"
        )
    return "\n".join(lines)
