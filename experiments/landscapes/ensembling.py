"""Ensembles of a curve's points, of its ends and of independent modes, on the validation split."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mcjax.analysis import ensembles, profiles
from mcjax.engine import parallel

from ..cli import ModeConfig, Progress, UsageError
from ..runs import Run, load_curve, load_point, mode_config, parse_name, step_of
from ..training import Problem, same_problem

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
