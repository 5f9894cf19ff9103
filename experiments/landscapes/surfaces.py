"""Surfaces: the loss on a plane, evaluated with what is drawn on it, drawn and summarized."""

import functools
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mcjax import plots
from mcjax.analysis import surfaces
from mcjax.engine import parallel

from ..cli import SurfaceConfig, UsageError, identity
from ..runs import (
    Run,
    Status,
    begin_evaluation,
    changed_flags,
    label,
    load_point,
    parse_name,
    save_arrays,
)
from . import drawing, surface_directions, surface_inputs, surface_rows
from .surface_inputs import Inputs

EVALUATION = ("grid", "margin", "extent", "splits", "metrics")
"""The flags of the evaluation: with others it is made again."""
FILE = "surface.npz"
Arrays = dict[str, np.ndarray]


def check_flags(config: SurfaceConfig) -> Run:
    """Checks flags that are wrong in themselves, and the run folder, which is returned.

    Raises:
      UsageError: something is wrong with them.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    surface_directions.check_flags(config)
    shape(config)
    if not 0 <= config.margin < np.inf:
        raise UsageError(f"--margin={config.margin}: use 0 or more")
    if config.clip is not None and not 0 < config.clip < np.inf:
        raise UsageError(f"--clip={config.clip}: use more than 0")
    drawing.check_style(config.style)
    folder = Run(config.workdir)
    folder.check_same("surface", config)
    return folder


def shape(config: SurfaceConfig) -> tuple[int, int]:
    """Points of the grid along x and along y.

    Raises:
      UsageError: --grid is neither ``21`` nor ``31x21``.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", config.grid)
    counts = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(counts) < 2:
        raise UsageError(
            f"--grid={config.grid}: write 21 or 31x21 (along x, along y), 2 or more points a side"
        )
    return counts


def is_evaluated(folder: Run, config: SurfaceConfig) -> bool:
    """Whether the arrays are there, of these flags."""
    return (folder.path / FILE).exists() and not changed_flags(folder, config, EVALUATION)


def evaluate(folder: Run, config: SurfaceConfig, inputs: Inputs) -> Arrays:
    """Evaluates the points, the curve, the iterates and the grid, and writes the arrays.

    Raises:
      UsageError: an iterate does not match the points, or what is drawn lies nowhere.
      Interrupted: a signal came; the rows that are done are saved.
    """
    folder.open("surface", config, mode=identity(inputs.mode))
    begin_evaluation(folder, config, EVALUATION, (FILE, "rows", "figures/surface_*"))
    began = time.monotonic()
    arrays = _places(inputs)
    x, y = _grid(inputs, config, arrays)
    arrays |= {"x": x, "y": y} | surface_rows.evaluate(folder, inputs, x, y)
    save_arrays(folder.path / FILE, arrays)
    if parallel.is_first():
        shutil.rmtree(folder.path / "rows", ignore_errors=True)
    folder.update(evaluate_seconds=time.monotonic() - began)
    return arrays


def _grid(inputs: Inputs, config: SurfaceConfig, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    plane = inputs.plane
    if inputs.half_widths is not None:
        return surfaces.grid_around(inputs.half_widths, shape(config))
    others = [arrays[name] for name in ("curve_xy", "iterate_xy") if name in arrays]
    try:
        return surfaces.grid(
            plane, shape(config), config.margin, np.concatenate([plane.anchors, *others])
        )
    except ValueError as error:
        raise UsageError(f"--curve or --iterates: {error}") from None


def _places(inputs: Inputs) -> Arrays:
    """What is drawn on the surface: the three points, the curve, the iterates."""
    evaluator, corners = inputs.problem.evaluator, inputs.points
    own = surfaces.at_points(evaluator, corners, inputs.state)
    arrays = {f"point_{name}": value for name, value in own.items()}
    arrays |= {
        "point_xy": inputs.plane.anchors,
        "point_name": np.array(inputs.names),
    } | inputs.facts
    if inputs.curve:
        curve, control = inputs.curve
        t = surfaces.drawn_t(curve)
        seen = surfaces.on_plane(inputs.plane, corners, curve, control, t)
        arrays |= {f"curve_{name}": value for name, value in seen.items()}
    return arrays | _projected(inputs)


def _projected(inputs: Inputs) -> Arrays:
    """The iterates: how each projects, its own metrics and its name."""
    sharding = jax.tree.leaves(inputs.points)[0].sharding

    def loaded() -> Iterator[tuple[int, Any]]:
        for text, epoch in inputs.iterates:
            w = jax.device_put(load_point(parse_name(text)).params, sharding)
            surface_inputs.check_matching(text, (inputs.points[0], w))
            yield epoch, w

    found = surfaces.iterates(
        inputs.problem.evaluator, inputs.plane, inputs.points, loaded(), inputs.state
    )
    if found:
        found["name"] = np.array([label(text) for text, _ in inputs.iterates])
    return {f"iterate_{name}": value for name, value in found.items()}


def finish(folder: Run, config: SurfaceConfig, arrays: Arrays) -> str:
    """Draws what is evaluated, and marks the run done; what the command prints."""
    folder.open("surface", config)
    drawn = draw(arrays, folder, config.clip, config.style) if parallel.is_first() else []
    summary = summarize(arrays)
    folder.move_to(Status.DONE, summary=summary)
    return summary + "".join(f"\nfigure: {path}" for path in drawn)


def draw(
    arrays: Arrays,
    folder: Run,
    clip: float | None = None,
    style: Sequence[str] = (),
) -> list[Path]:
    """A figure for the loss of each split; returns the PNGs of those that could be drawn."""

    def one(name: str) -> Path:
        with plots.style(*style):
            figure = plots.surface_figure(arrays, name, clip=clip)
            return plots.save(figure, folder.path / "figures" / f"surface_{name}")

    losses = (n for n in arrays if n.endswith("_loss") and arrays[n].ndim == 2)
    file, again = folder.path / FILE, drawing.command("loss_surface", folder.path)
    drawn = (drawing.attempt(functools.partial(one, name), file, again) for name in losses)
    return [path for path in drawn if path]


def summarize(arrays: Arrays) -> str:
    """Losses at the three points, the grid, and how far the iterates are from the plane."""
    losses = [n for n in arrays if n.endswith("_loss") and arrays[n].ndim == 2]
    words = ", ".join
    lines = [
        f"point    {name}: "
        + words(f"{n.replace('_', ' ')} {arrays[f'point_{n}'][i]:.4g}" for n in losses)
        for i, name in enumerate(arrays["point_name"][: 1 if "direction_norm" in arrays else 3])
    ]
    for name in losses:
        values = arrays[name]
        finite = values[np.isfinite(values)]
        extent = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "nowhere finite"
        strange = values.size - finite.size
        note = f"; {strange} of {values.size} points are not finite" if strange else ""
        lines.append(f"grid     {name.replace('_', ' ')} {extent}{note}")
    if "iterate_distance" in arrays:
        each = zip(arrays["iterate_epoch"], arrays["iterate_distance"], strict=True)
        lines.append("iterates distance from the plane " + words(f"w{e}: {d:.4g}" for e, d in each))
    lines += drawing.off_plane_words(arrays)
    for name in ("eigenvalues", "residuals", "explained_variance_ratio"):
        if name in arrays:
            values = words(f"{value:.4g}" for value in arrays[name])
            lines.append(f"along    {name.replace('_', ' ')} {values}")
    return "\n".join(lines)
