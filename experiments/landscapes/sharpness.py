"""Evaluates, draws and summarizes the Hessian's largest eigenvalues along a curve."""

import functools
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mcjax import curves, paths, plots
from mcjax.analysis import hessian, profiles
from mcjax.engine import parallel
from mcjax.results import PointSharpness, Sharpness

from ..cli import (
    ModeConfig,
    Progress,
    SharpnessConfig,
    UsageError,
    collect_signals,
    identity,
    stop_if_signalled,
)  # fmt: skip
from ..runs import (
    Checkpoint,
    Run,
    SavedCurve,
    Status,
    begin_evaluation,
    curve_name,
    find_checkpoint,
    label,
    load_curve,
    load_result,
    save_arrays,
)
from ..training import Problem, check_problem
from . import drawing

EVALUATION = ("points", "eigenvalues")
"""Flags of the evaluation, which runs again if they change."""
FILE = "sharpness.npz"


class Inputs(NamedTuple):
    """The input of the evaluation.

    Attributes:
      mode: the flags of the curve's modes.
      problem: their data, network and evaluator.
      curve: the curve, on all devices.
    """

    mode: ModeConfig
    problem: Problem
    curve: SavedCurve


def check_flags(config: SharpnessConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    for name in ("workdir", "curve"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: use 2 or more, since both ends are points")
    if config.eigenvalues < 1:
        raise UsageError(f"--eigenvalues={config.eigenvalues}: use 1 or more")
    drawing.check_style(config.style)
    folder = Run(config.workdir)
    folder.check_same("sharpness", config)
    return folder


def resolve(config: SharpnessConfig) -> Checkpoint:
    """Finds the curve, without reading data.

    Raises:
      UsageError: the curve does not exist, is not a curve, or its network cannot be created.
    """
    curve_name(config.curve)
    found = find_checkpoint(config.curve, config.data_dir)
    check_problem(found.mode)
    return found


def load(config: SharpnessConfig, found: Checkpoint, problem: Problem) -> Inputs:
    """Loads the curve onto the devices.

    Raises:
      UsageError: the network has too few parameters for --eigenvalues.
    """
    family, control, state = load_curve(Run(found.name.run), found.name.epoch)
    size = sum(x.size for x in jax.tree.leaves(control[0]))
    if config.eigenvalues >= size:
        raise UsageError(f"--eigenvalues={config.eigenvalues}: the network has {size} parameters")
    control, state = parallel.replicate((control, state), problem.mesh)
    return Inputs(found.mode, problem, SavedCurve(family, control, state))


def evaluate(folder: Run, config: SharpnessConfig, inputs: Inputs) -> Sharpness:
    """Evaluates the points that are not saved yet, and writes the arrays.

    Raises:
      UsageError: the curve was retrained after this run started.
      Interrupted: a signal came; finished points are saved.
    """
    norms = [float(curves.squared_norm(point)) for point in inputs.curve.points]
    if folder.info.get("control_l2", norms) != norms:
        raise UsageError(
            f"--curve={config.curve} was retrained after {folder.path} was started: use another "
            "--workdir, or delete it"
        )
    folder.open("sharpness", config, mode=identity(inputs.mode), control_l2=norms)
    begin_evaluation(folder, config, EVALUATION, (FILE, "points", "figures/sharpness*"))
    began, t = time.monotonic(), np.linspace(0, 1, config.points)
    points = _points(folder, config, inputs, t)
    along = Sharpness.along(t, [points[i] for i in range(len(t))])
    save_arrays(folder.path / FILE, along.to_arrays())
    if parallel.is_first():
        paths.remove_tree(folder.path / "points")
    folder.update(evaluate_seconds=time.monotonic() - began)
    return along


def _points(
    folder: Run, config: SharpnessConfig, inputs: Inputs, t: np.ndarray
) -> dict[int, PointSharpness]:
    """Returns every point, by index; each is saved when it is done."""
    saved = folder.path / "points"
    saved.mkdir(exist_ok=True)
    files = [saved / f"{index:04d}.npz" for index in range(len(t))]
    found = {i: load_result(PointSharpness, file) for i, file in enumerate(files) if file.exists()}
    bar = Progress(f"{folder.path.name}: sharpness", len(t), "point", len(found))
    coefficients = profiles.coefficients(inputs.curve.family, t)
    with collect_signals() as received:

        def progress(index: int, products: int) -> None:
            bar.update(len(found), f"t={t[index]:.2f}: {products} products")
            stop_if_signalled(received)

        try:
            for index, point in hessian.sharpness(
                inputs.problem.evaluator, inputs.curve.points, coefficients, inputs.curve.state,
                config.eigenvalues, progress=progress, skip=found.keys(),
            ):  # fmt: skip
                save_arrays(files[index], point.to_arrays())
                found[index] = point
                largest = point.eigenvalues[0]
                bar.update(len(found), f"t={t[index]:.2f}: {largest:.4g}", line=True)
        finally:
            bar.close()
    return found


def finish(folder: Run, config: SharpnessConfig, found: Sharpness) -> str:
    """Draws the figure, marks the run done, and returns the text that the command prints."""
    folder.open("sharpness", config)
    summary = text = summarize(found)
    if parallel.is_first():
        one = functools.partial(_draw, found, folder, config)
        again = drawing.command("sharpness", folder.path)
        figure = drawing.attempt(one, folder.path / FILE, again)
        text += f"\nfigure: {figure}" if figure else ""
    folder.move_to(Status.DONE, summary=summary)
    return text


def _draw(found: Sharpness, folder: Run, config: SharpnessConfig) -> Path:
    with plots.style(*config.style):
        figure = plots.sharpness_figure(found, f"sharpness along {label(config.curve)}")
        return plots.save(figure, folder.path / "figures" / "sharpness")


def summarize(found: Sharpness) -> str:
    """Summarizes the largest eigenvalue: at the ends, and its range along the curve."""
    values, t = found.eigenvalues[:, 0], found.t
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return "largest eigenvalue: not found at any point"
    low, high = known[np.argmin(values[known])], known[np.argmax(values[known])]
    text = (
        f"largest eigenvalue: start {values[0]:.4g}, end {values[-1]:.4g}; along the curve "
        f"{values[low]:.4g} (t={t[low]:.2f}) to {values[high]:.4g} (t={t[high]:.2f}); "
        f"residuals at most {found.residuals[known].max():.2g}"
    )
    if known.size < len(t):
        text += f"; not found at {len(t) - known.size} of {len(t)} points"
    return text
