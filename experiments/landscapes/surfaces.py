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
from mcjax.results import Surface, named

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


def evaluate(folder: Run, config: SurfaceConfig, inputs: Inputs) -> Surface:
    """Evaluates the points, the curve, the iterates and the grid, and writes the arrays.

    Raises:
      UsageError: an iterate does not match the points, or what is drawn lies nowhere.
      Interrupted: a signal came; the rows that are done are saved.
    """
    facts = {"aligned": inputs.aligned} if inputs.aligned else {}
    folder.open("surface", config, mode=identity(inputs.mode), **facts)
    begin_evaluation(folder, config, EVALUATION, (FILE, "rows", "figures/surface_*"))
    began = time.monotonic()
    surface = _places(inputs)
    x, y = _grid(inputs, config, surface)
    surface = surfaces.filled(surface, x, y, surface_rows.evaluate(folder, inputs, x, y))
    save_arrays(folder.path / FILE, surface.to_arrays())
    if parallel.is_first():
        shutil.rmtree(folder.path / "rows", ignore_errors=True)
    folder.update(evaluate_seconds=time.monotonic() - began)
    return surface


def _grid(inputs: Inputs, config: SurfaceConfig, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    if inputs.half_widths is not None:
        return surfaces.grid_around(inputs.half_widths, shape(config))
    try:
        return surfaces.covering(surface, inputs.plane, shape(config), config.margin)
    except ValueError as error:
        raise UsageError(f"--curve or --iterates: {error}") from None


def _places(inputs: Inputs) -> Surface:
    """What is drawn on the surface: the three points, the curve, the iterates and their names."""
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
    """Draws what is evaluated, and marks the run done; what the command prints."""
    folder.open("surface", config)
    drawn = draw(surface, folder, config.clip, config.style) if parallel.is_first() else []
    summary = summarize(surface)
    folder.move_to(Status.DONE, summary=summary)
    return summary + "".join(f"\nfigure: {path}" for path in drawn)


def draw(
    surface: Surface,
    folder: Run,
    clip: float | None = None,
    style: Sequence[str] = (),
) -> list[Path]:
    """A figure for the loss of each split; returns the PNGs of those that could be drawn."""

    def one(name: str) -> Path:
        with plots.style(*style):
            figure = plots.surface_figure(surface, name, clip=clip)
            return plots.save(figure, folder.path / "figures" / f"surface_{name}")

    losses = filter(plots.is_loss, named(surface.metrics))
    file, again = folder.path / FILE, drawing.command("loss_surface", folder.path)
    drawn = (drawing.attempt(functools.partial(one, name), file, again) for name in losses)
    return [path for path in drawn if path]


def summarize(surface: Surface) -> str:
    """Losses at the three points, the grid, and how far the iterates are from the plane."""
    losses = {n: x for n, x in named(surface.metrics).items() if plots.is_loss(n)}
    own, words = named(surface.networks.metrics), ", ".join
    lines = [
        f"point    {name}: " + words(f"{n.replace('_', ' ')} {own[n][i]:.4g}" for n in losses)
        for i, name in enumerate(surface.networks.name)
    ]
    for name, values in losses.items():
        finite = values[np.isfinite(values)]
        extent = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "nowhere finite"
        strange = values.size - finite.size
        note = f"; {strange} of {values.size} points are not finite" if strange else ""
        lines.append(f"grid     {name.replace('_', ' ')} {extent}{note}")
    if surface.iterates is not None:
        each = zip(surface.iterates.epoch, surface.iterates.distance, strict=True)
        lines.append("iterates distance from the plane " + words(f"w{e}: {d:.4g}" for e, d in each))
    lines += drawing.off_plane_words(surface)
    for name in ("eigenvalues", "residuals", "explained_variance_ratio"):
        numbers = getattr(surface.directions, name, None)
        if numbers is not None:
            values = words(f"{value:.4g}" for value in numbers)
            lines.append(f"along    {name.replace('_', ' ')} {values}")
    return "\n".join(lines)
