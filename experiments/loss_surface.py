r"""Evaluates the loss on the plane through any three checkpoints and draws it (Section 5).

    python -m experiments.loss_surface --points=runs/G,runs/B,runs/GB --curve=runs/GB \
        --workdir=runs/plane

--points are three checkpoints RUN[@EPOCH][~T] (RUN alone is, for a curve, its middle) of the same
network and data set. --curve draws a curve, --iterates projects a run's iterates.

    python -m experiments.loss_surface --points=runs/G --directions=filter --workdir=runs/around_G

With --directions the plane is around one checkpoint, along two directions (Li et al., 2018). They
are the ways from the first of the three points to the others; lengths are weight distances, as
everywhere. The same command again resumes at the row where it was stopped; a done run is drawn
again, with --clip and --style as given now. With another --grid, --margin, --extent, --splits or
--metrics it is evaluated again, and the earlier arrays and figures are kept in WORKDIR/earlier.
"""

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
from mcjax.results import Surface, Values, named

from .cli import command, signals
from .cli.configs import SurfaceConfig
from .cli.errors import Interrupted, UsageError
from .cli.flags import identity
from .cli.progress import Progress, show
from .landscapes import drawing, surface_directions, surface_sources
from .runs import evaluations
from .runs.arrays import load_arrays, load_result, save_arrays
from .runs.folder import Run
from .runs.names import parse_name
from .training import ends

EVALUATION = ("grid", "margin", "extent", "splits", "metrics")
ROW_SECONDS = 10.0
"""After a signal, a row that is not done within this time is left, and evaluated again later."""


def run(config: SurfaceConfig) -> Run:
    """Evaluates and draws.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came; the rows that are done are saved.
    """
    folder = Run(config.workdir)
    shape = _check_flags(config, folder)
    done = (folder.path / "surface.npz").exists()
    done = done and not evaluations.changes(folder, config, EVALUATION)
    sources = None if done else surface_sources.load(config)
    with folder.locked():
        _evaluate(folder, config, shape, sources)
    return folder


def _evaluate(folder, config, shape, sources):
    file = folder.path / "surface.npz"
    if sources is not None:
        folder.open("surface", config, mode=identity(sources.mode))
        patterns = ("surface.npz", "rows", "figures/surface_*")
        evaluations.begin(folder, config, EVALUATION, patterns)
        began = time.monotonic()
        surface = _places(sources)
        x, y = _grid(sources, shape, config.margin, surface)
        surface = surfaces.filled(surface, x, y, _rows(folder, sources, x, y))
        save_arrays(file, surface.to_arrays())
        if parallel.is_first():
            shutil.rmtree(folder.path / "rows", ignore_errors=True)
        folder.update(evaluate_seconds=time.monotonic() - began)
    folder.open("surface", config)
    surface = load_result(Surface, file)
    drawn = []
    if parallel.is_first():
        drawn = draw(surface, folder, config.clip, config.style)
    summary = summarize(surface)
    folder.update(status="done", summary=summary)
    show(summary + "".join(f"\nfigure: {path}" for path in drawn))


def draw(
    surface: Surface,
    folder: Run,
    clip: float | None = None,
    style: Sequence[str] = (),
) -> list[Path]:
    """A figure for the loss of each split; returns the PNGs of those that could be drawn."""

    def one(name):
        with plots.style(*style):
            figure = plots.surface_figure(surface, name, clip=clip)
            return plots.save(figure, folder.path / "figures" / f"surface_{name}")

    losses = filter(plots.is_loss, named(surface.metrics))
    file, again = folder.path / "surface.npz", drawing.command("loss_surface", folder.path)
    drawn = (drawing.attempt(functools.partial(one, name), file, again) for name in losses)
    return [path for path in drawn if path]


def _check_flags(config, folder):
    """Raises UsageError for flags that are wrong in themselves; returns the grid's shape."""
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    surface_directions.check_flags(config)
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", config.grid)
    shape = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(shape) < 2:
        raise UsageError(
            f"--grid={config.grid}: write 21 or 31x21 (along x, along y), 2 or more points a side"
        )
    if not 0 <= config.margin < np.inf:
        raise UsageError(f"--margin={config.margin}: use 0 or more")
    if config.clip is not None and not 0 < config.clip < np.inf:
        raise UsageError(f"--clip={config.clip}: use more than 0")
    drawing.check_style(config.style)
    folder.check_same("surface", config)
    return shape


def _grid(
    sources: surface_sources.Sources, shape: tuple[int, int], margin: float, surface: Surface
) -> tuple[np.ndarray, np.ndarray]:
    if sources.half_widths is not None:
        return surfaces.grid_around(sources.half_widths, shape)
    try:
        return surfaces.covering(surface, sources.plane, shape, margin)
    except ValueError as error:
        raise UsageError(f"--curve or --iterates: {error}") from None


def _places(sources: surface_sources.Sources) -> Surface:
    """What is drawn on the surface: the three points, the curve, the iterates and their names."""
    sharding = jax.tree.leaves(sources.points)[0].sharding

    def loaded() -> Iterator[tuple[int, Any]]:
        for text, epoch in sources.iterates:
            w = jax.device_put(ends.load(parse_name(text)).params, sharding)
            surface_sources.check_matching(text, (sources.points[0], w))
            yield epoch, w

    surface = surfaces.surface(
        sources.problem.evaluator, sources.points, sources.plane, sources.state, sources.names,
        curve=sources.curve, run=loaded(), directions=sources.directions,
    )  # fmt: skip
    if surface.iterates is None:
        return surface
    names = np.array([ends.label(text) for text, _ in sources.iterates])
    return surface._replace(iterates=surface.iterates._replace(name=names))


def _rows(
    folder: Run, sources: surface_sources.Sources, x: np.ndarray, y: np.ndarray
) -> list[Values]:
    """The grid's metrics; each row is saved when it is done."""
    saved = folder.path / "rows"
    saved.mkdir(exist_ok=True)
    rows = _saved_rows(saved, x, y)
    progress, every = _RowProgress(folder.path.name, len(x), len(y), len(rows)), -(-len(y) // 10)
    with signals.signals() as received:
        progress.received = received
        try:
            for index, row in surfaces.evaluate(
                sources.problem.evaluator, sources.points, sources.plane, x, y, sources.state,
                progress.point, rows,
            ):  # fmt: skip
                rows[index] = row
                save_arrays(saved / f"{index:04d}.npz", row.to_arrays() | {"x": x, "y": y[index]})
                progress.row(len(rows), line=len(rows) % every == 0 or len(rows) == len(y))
                if received:
                    raise Interrupted(received[0])
        finally:
            progress.close()
    return [rows[i] for i in range(len(y))]


def _saved_rows(folder: Path, x: np.ndarray, y: np.ndarray) -> dict[int, Values]:
    """Rows that were saved before an interruption, if they are of this very grid."""
    rows = {}
    for index in range(len(y)):
        file = folder / f"{index:04d}.npz"
        if not file.exists():
            continue
        row = load_arrays(file)
        if np.array_equal(row.pop("x"), x) and row.pop("y") == y[index]:
            rows[index] = Values.from_arrays(row)
    return rows


class _RowProgress:
    """Progress over the grid, and the end of a row that takes too long after a signal."""

    def __init__(self, name, width, height, done):
        self._bar = Progress(f"{name}: surface", width * height, "point", width * done)
        self._width, self._height, self._before = width, height, done
        self._began, self._deadline = time.monotonic(), np.inf
        self.received: list[int] = []

    def point(self, done):
        self._bar.update(done)
        now = time.monotonic()
        if self.received:
            self._deadline = min(self._deadline, now + ROW_SECONDS)
        if now > self._deadline and done % self._width:
            raise Interrupted(self.received[0])

    def row(self, done, line):
        each = (time.monotonic() - self._began) / (done - self._before)
        left = each * (self._height - done)
        self._bar.update(self._width * done, f"row {done}, {left:.0f} s left", line)

    def close(self):
        self._bar.close()


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


if __name__ == "__main__":
    command.main(SurfaceConfig, run, __doc__)
