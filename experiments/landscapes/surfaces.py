"""Evaluates, draws and summarizes surfaces: metrics on a grid of a plane."""

import functools
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mcjax import paths, plots
from mcjax.analysis import surfaces
from mcjax.engine import parallel, sampling
from mcjax.results import Surface, named

from ..cli import SurfaceConfig, UsageError, identity
from ..runs import (
    Run,
    Status,
    begin_evaluation,
    label,
    load_point,
    parse_name,
    save_arrays,
)
from ..training import MEASURED
from . import (
    drawing,
    notes,
    saved_logits,
    surface_directions,
    surface_inputs,
    surface_rounds,
    surface_rows,
)
from .surface_inputs import Inputs

EVALUATION = (
    "grid", "margin", "extent", "refine", "examples", "stop_above", *MEASURED, "save_logits",
)  # fmt: skip
"""Flags of the evaluation, which runs again if they change."""
FILE = "surface.npz"


def check_flags(config: SurfaceConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    surface_directions.check_flags(config)
    shape(config)
    if not 0 <= config.margin < np.inf:
        raise UsageError(f"--margin={config.margin}: use 0 or more")
    if config.refine is not None:
        if not 0 < config.refine < 1:
            raise UsageError(f"--refine={config.refine}: use a share of the range, such as 0.02")
        if config.save_logits:
            raise UsageError("--save_logits needs every point: leave out --refine")
    _check_sample(config)
    if config.clip is not None and not 0 < config.clip < np.inf:
        raise UsageError(f"--clip={config.clip}: use more than 0")
    drawing.check_style(config.style)
    saved_logits.check_flags(config)
    folder = Run(config.workdir)
    folder.check_same("surface", config)
    return folder


def _check_sample(config: SurfaceConfig) -> None:
    if config.examples is not None:
        if config.examples < sampling.LEAST:
            raise UsageError(f"--examples={config.examples}: use {sampling.LEAST} or more")
        if config.save_logits:
            raise UsageError("--save_logits needs every example: leave out --examples")
    if config.stop_above is not None:
        if config.examples is None:
            raise UsageError("--stop_above needs --examples, on which points are measured first")
        if not 0 < config.stop_above < np.inf:
            raise UsageError(f"--stop_above={config.stop_above}: use a positive loss")


def shape(config: SurfaceConfig) -> tuple[int, int]:
    """Number of grid points along x and along y.

    Raises:
      UsageError: --grid is neither like ``21`` nor like ``31x21``.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", config.grid)
    counts = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(counts) < 2:
        raise UsageError(
            f"--grid={config.grid}: write 21 or 31x21 (along x, along y), 2 or more points per side"
        )
    return counts


def evaluate(folder: Run, config: SurfaceConfig, inputs: Inputs) -> Surface:
    """Evaluates the points, the curve, the iterates and the grid, and writes the arrays.

    Raises:
      UsageError: an iterate does not match the points, or the curve or an iterate is not finite.
      Interrupted: a signal came; finished rows are saved.
    """
    facts = {"aligned": inputs.aligned, "different": list(inputs.different)}
    there = {name: fact for name, fact in facts.items() if fact}
    folder.open("surface", config, mode=identity(inputs.mode), **there)
    files = (FILE, "rows", "rounds", saved_logits.FOLDER, "figures/surface_*")
    begin_evaluation(folder, config, EVALUATION, files)
    began = time.monotonic()
    logits = saved_logits.SavedLogits(folder, config, inputs.problem)
    logits.announce(math.prod(shape(config)))
    surface = _projected(inputs)
    x, y = _grid(inputs, config, surface)
    if config.refine is None:
        rows = surface_rows.evaluate(folder, inputs, x, y, logits)
        surface = surfaces.filled(surface, x, y, rows)
    else:
        surface = surface_rounds.evaluate(folder, inputs, surface, x, y, config.refine)
    save_arrays(folder.path / FILE, surface.to_arrays())
    if parallel.is_first():
        for part in ("rows", "rounds"):
            paths.remove_tree(folder.path / part)
    folder.update(evaluate_seconds=time.monotonic() - began)
    return surface


def _grid(inputs: Inputs, config: SurfaceConfig, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    if inputs.half_widths is not None:
        return surfaces.grid_around(inputs.half_widths, shape(config))
    try:
        return surfaces.covering(surface, inputs.plane, shape(config), config.margin)
    except ValueError as error:
        raise UsageError(f"--curve or --iterates: {error}") from None


def _projected(inputs: Inputs) -> Surface:
    """Projects and evaluates the three points, the curve and the iterates; the grid is empty."""
    sharding = jax.tree.leaves(inputs.points)[0].sharding

    def loaded() -> Iterator[tuple[int, Any]]:
        for text, epoch in inputs.iterates:
            w = jax.device_put(load_point(parse_name(text)).params, sharding)
            surface_inputs.check_matching(text, (inputs.points[0], w))
            yield epoch, w

    surface = surfaces.surface(
        inputs.problem.evaluator, inputs.points, inputs.plane, inputs.state, inputs.names,
        curve=inputs.curve, run=loaded(), directions=inputs.directions,
    )  # fmt: skip
    if surface.iterates is None:
        return surface
    names = np.array([label(text) for text, _ in inputs.iterates])
    return surface._replace(iterates=surface.iterates._replace(name=names))


def finish(folder: Run, config: SurfaceConfig, surface: Surface) -> str:
    """Draws the figures, marks the run done, and returns the text that the command prints."""
    folder.open("surface", config)
    drawn = draw(surface, folder, config.clip, config.style) if parallel.is_first() else []
    summary = summarize(surface, config.clip)
    folder.move_to(Status.DONE, summary=summary)
    return summary + "".join(f"\nfigure: {path}" for path in drawn)


def draw(
    surface: Surface,
    folder: Run,
    clip: float | None = None,
    style: Sequence[str] = (),
) -> list[Path]:
    """Draws a figure per split and metric but accuracy; returns the PNGs, without failed ones."""

    def one(name: str) -> Path:
        with plots.style(*style):
            figure = plots.surface_figure(surface, name, clip=clip)
            return plots.save(figure, folder.path / "figures" / f"surface_{name}")

    file, again = folder.path / FILE, drawing.command("loss_surface", folder.path)
    drawn = (drawing.attempt(functools.partial(one, name), file, again) for name in _drawn(surface))
    return [path for path in drawn if path]


def _drawn(surface: Surface) -> list[str]:
    """Losses, then what was measured besides loss and accuracy, without single classes."""
    names = [
        f"{split}_{name}"
        for split, own in surface.metrics.items()
        for name in own
        if name != "accuracy" and plots.of_class(name) is None
    ]
    return sorted(names, key=lambda name: not plots.is_loss(name))


def summarize(surface: Surface, clip: float | None = None) -> str:
    """Summarizes losses at the points and on the grid, and distances from the plane; adds notes."""
    values, own, join = named(surface.metrics), named(surface.networks.metrics), ", ".join
    losses = {name: values[name] for name in _drawn(surface)}
    errors = named(surface.networks.errors or {})

    def of_point(metric: str, i: int) -> str:
        words = f"{metric.replace('_', ' ')} {own[metric][i]:.4g}"
        error = errors[metric][i] if metric in errors else 0  # of a sampled one
        return f"{words} ± {error:.2g}" if error > 0 else words

    lines = [
        f"point    {name}: " + join(of_point(metric, i) for metric in losses)
        for i, name in enumerate(surface.networks.name)
    ]
    for name, values in losses.items():
        finite = values[np.isfinite(values)]
        extent = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "nowhere finite"
        strange = values.size - finite.size
        odd = (
            f"; {strange} of {values.size} points are not finite{notes.see('nan')}"
            if strange
            else ""
        )
        lines.append(f"grid     {name.replace('_', ' ')} {extent}{odd}")
    lines += drawing.measured_words(surface, losses)
    if surface.iterates is not None:
        each = zip(surface.iterates.epoch, surface.iterates.distance, strict=True)
        lines.append("iterates distance from the plane " + join(f"w{e}: {d:.4g}" for e, d in each))
    lines += drawing.off_plane_words(surface, notes.see("off_plane"))
    for name in ("eigenvalues", "residuals", "explained_variance_ratio"):
        numbers = getattr(surface.directions, name, None)
        if numbers is not None:
            values = join(f"{value:.4g}" for value in numbers)
            lines.append(f"along    {name.replace('_', ' ')} {values}")
    lines += notes.of_surface(surface, clip)
    return "\n".join(lines)
