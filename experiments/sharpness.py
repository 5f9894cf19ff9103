"""The Hessian's largest eigenvalues along a fitted curve, and the training loss beside them.

    python -m experiments.sharpness --curve=runs/GB --workdir=runs/GB_sharpness

--curve is RUN[@EPOCH] of a curve. The Hessian is that of the mean training loss, on clean data,
without the L2 penalty; batch-norm statistics are recomputed at every point and held. sharpness.npz
has t, train_loss, eigenvalues [point, k] and residuals, ||H v - value v||. The same command again
resumes at the point where it was stopped. With other --points or --eigenvalues a done run is
evaluated again, and the earlier arrays and figures are kept in WORKDIR/earlier.
"""

import functools
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves, plots
from mcjax.analysis import hessian, profiles
from mcjax.engine import parallel
from mcjax.results import PointSharpness, Sharpness

from .cli import command, signals
from .cli.configs import ModeConfig, SharpnessConfig
from .cli.errors import Interrupted, UsageError
from .cli.flags import identity
from .cli.progress import Progress, show
from .landscapes import drawing
from .runs import evaluations
from .runs.arrays import load_result, save_arrays
from .runs.folder import Run
from .training import ends
from .training import problem as problems

EVALUATION = ("points", "eigenvalues")


class Sources(NamedTuple):
    """A curve's modes' flags, problem, family, control points and network state."""

    mode: ModeConfig
    problem: problems.Problem
    curve: curves.Curve
    points: tuple[Any, ...]
    state: Any


def run(config: SharpnessConfig) -> Run:
    """Evaluates and draws.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; the points that are done are saved.
    """
    folder = Run(config.workdir)
    _check_flags(config, folder)
    file = folder.path / "sharpness.npz"
    done = file.exists() and not evaluations.changes(folder, config, EVALUATION)
    sources = None if done else _load(config)
    with folder.locked():
        if sources is not None:
            _evaluate(folder, config, sources)
        folder.open("sharpness", config)
        found = load_result(Sharpness, file)
        summary = summarize(found)
        if parallel.is_first():
            draw = functools.partial(_draw, found, folder, config)
            figure = drawing.attempt(draw, file, drawing.command("sharpness", folder.path))
            show(summary + (f"\nfigure: {figure}" if figure else ""))
        folder.update(status="done", summary=summary)
    return folder


def _draw(found: Sharpness, folder: Run, config: SharpnessConfig) -> Path:
    with plots.style(*config.style):
        figure = plots.sharpness_figure(found, f"sharpness along {ends.label(config.curve)}")
        return plots.save(figure, folder.path / "figures" / "sharpness")


def summarize(found: Sharpness) -> str:
    """The largest eigenvalue at the ends, and where it is lowest and highest along the curve."""
    values, t = found.eigenvalues[:, 0], found.t
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return "largest eigenvalue: nowhere found"
    low, high = known[np.argmin(values[known])], known[np.argmax(values[known])]
    text = (
        f"largest eigenvalue: start {values[0]:.4g}, end {values[-1]:.4g}; along the curve "
        f"{values[low]:.4g} (t={t[low]:.2f}) to {values[high]:.4g} (t={t[high]:.2f}); "
        f"residuals at most {found.residuals[known].max():.2g}"
    )
    if known.size < len(t):
        text += f"; not found at {len(t) - known.size} of {len(t)} points"
    return text


def _check_flags(config, folder):
    for name in ("workdir", "curve"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: the two ends alone are 2")
    if config.eigenvalues < 1:
        raise UsageError(f"--eigenvalues={config.eigenvalues}: use 1 or more")
    drawing.check_style(config.style)
    folder.check_same("sharpness", config)


def _load(config):
    name = ends.curve_name(config.curve)
    run = Run(name.run)
    run.step_of(name.epoch)
    mode = problems.mode_config(run.info, data_dir=config.data_dir)
    problem = problems.make_problem(mode, config.precision)
    curve, points, state = ends.load_curve(run, name.epoch)
    size = sum(x.size for x in jax.tree.leaves(points[0]))
    if config.eigenvalues >= size:
        raise UsageError(f"--eigenvalues={config.eigenvalues}: the network has {size} parameters")
    points, state = parallel.replicate((points, state), problem.mesh)
    return Sources(mode, problem, curve, points, state)


def _evaluate(folder, config, sources):
    norms = [float(curves.squared_norm(point)) for point in sources.points]
    if folder.info.get("control_l2", norms) != norms:
        raise UsageError(
            f"--curve={config.curve} has been trained anew since {folder.path} was begun: use "
            "another --workdir, or delete it"
        )
    folder.open("sharpness", config, mode=identity(sources.mode), control_l2=norms)
    patterns = ("sharpness.npz", "points", "figures/sharpness*")
    evaluations.begin(folder, config, EVALUATION, patterns)
    began, t = time.monotonic(), np.linspace(0, 1, config.points)
    saved = folder.path / "points"
    saved.mkdir(exist_ok=True)
    found = {i: load_result(PointSharpness, file)
             for i in range(len(t)) if (file := _file(saved, i)).exists()}  # fmt: skip
    bar = Progress(f"{folder.path.name}: sharpness", len(t), "point", len(found))
    coefficients = profiles.coefficients(sources.curve, t)
    with signals.signals() as received:

        def progress(index, products):
            bar.update(len(found), f"t={t[index]:.2f}: {products} products")
            if received:
                raise Interrupted(received[0])

        try:
            for index, point in hessian.sharpness(
                sources.problem.evaluator, sources.points, coefficients, sources.state,
                config.eigenvalues, progress=progress, skip=found.keys(),
            ):  # fmt: skip
                save_arrays(_file(saved, index), point.to_arrays())
                found[index] = point
                bar.update(len(found), f"t={t[index]:.2f}: {point.eigenvalues[0]:.4g}", line=True)
        finally:
            bar.close()
    along = Sharpness.along(t, [found[i] for i in range(len(t))])
    save_arrays(folder.path / "sharpness.npz", along.to_arrays())
    if parallel.is_first():
        shutil.rmtree(saved, ignore_errors=True)
    folder.update(evaluate_seconds=time.monotonic() - began)


def _file(folder, index):
    return folder / f"{index:04d}.npz"


if __name__ == "__main__":
    command.main(SharpnessConfig, run, __doc__)
