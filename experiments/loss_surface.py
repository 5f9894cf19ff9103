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
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from mcjax import plots
from mcjax.analysis import surfaces
from mcjax.engine import parallel

from .cli import command, signals
from .cli.configs import SurfaceConfig
from .cli.errors import Interrupted, UsageError
from .cli.flags import identity
from .cli.progress import Progress, show
from .landscapes import drawing, surface_directions, surface_sources
from .runs import evaluations
from .runs.arrays import load_arrays, save_arrays
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
        arrays = _places(sources)
        x, y = _grid(sources, shape, config.margin, arrays)
        arrays |= {"x": x, "y": y} | _rows(folder, sources, x, y)
        save_arrays(file, arrays)
        if parallel.is_first():
            shutil.rmtree(folder.path / "rows", ignore_errors=True)
        folder.update(evaluate_seconds=time.monotonic() - began)
    folder.open("surface", config)
    arrays = load_arrays(file)
    drawn = []
    if parallel.is_first():
        drawn = draw(arrays, folder, config.clip, config.style)
    summary = summarize(arrays)
    folder.update(status="done", summary=summary)
    show(summary + "".join(f"\nfigure: {path}" for path in drawn))


def draw(
    arrays: dict[str, np.ndarray],
    folder: Run,
    clip: float | None = None,
    style: Sequence[str] = (),
) -> list[Path]:
    """A figure for the loss of each split; returns the PNGs of those that could be drawn."""

    def one(name):
        with plots.style(*style):
            figure = plots.surface_figure(arrays, name, clip=clip)
            return plots.save(figure, folder.path / "figures" / f"surface_{name}")

    losses = (n for n in arrays if n.endswith("_loss") and arrays[n].ndim == 2)
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


def _grid(sources, shape, margin, arrays):
    plane = sources.plane
    if sources.half_widths is not None:
        return surfaces.grid_around(sources.half_widths, shape)
    others = [arrays[name] for name in ("curve_xy", "iterate_xy") if name in arrays]
    try:
        return surfaces.grid(plane, shape, margin, np.concatenate([plane.anchors, *others]))
    except ValueError as error:
        raise UsageError(f"--curve or --iterates: {error}") from None


def _places(sources):
    """What is drawn on the surface: the three points, the curve, the iterates."""
    evaluator, points = sources.problem.evaluator, sources.points
    own = surfaces.at_points(evaluator, points, sources.state)
    arrays = {f"point_{name}": value for name, value in own.items()}
    arrays |= {
        "point_xy": sources.plane.anchors,
        "point_name": np.array(sources.names),
    } | sources.facts
    if sources.curve:
        curve, control = sources.curve
        t = surfaces.drawn_t(curve)
        seen = surfaces.on_plane(sources.plane, points, curve, control, t)
        arrays |= {f"curve_{name}": value for name, value in seen.items()}
    return arrays | _projected(sources)


def _projected(sources):
    """The iterates: how each projects, its own metrics and its name."""
    sharding = jax.tree.leaves(sources.points)[0].sharding

    def loaded():
        for text, epoch in sources.iterates:
            w = jax.device_put(ends.load(parse_name(text)).params, sharding)
            surface_sources.check_matching(text, (sources.points[0], w))
            yield epoch, w

    found = surfaces.iterates(
        sources.problem.evaluator, sources.plane, sources.points, loaded(), sources.state
    )
    if found:
        found["name"] = np.array([ends.label(text) for text, _ in sources.iterates])
    return {f"iterate_{name}": value for name, value in found.items()}


def _rows(folder, sources, x, y):
    """The grid's metrics; each row is saved when it is done."""
    saved = folder.path / "rows"
    saved.mkdir(exist_ok=True)
    rows: dict[int, dict[str, np.ndarray]] = _saved_rows(saved, x, y)
    progress, every = _RowProgress(folder.path.name, len(x), len(y), len(rows)), -(-len(y) // 10)
    with signals.signals() as received:
        progress.received = received
        try:
            for index, row in surfaces.evaluate(
                sources.problem.evaluator, sources.points, sources.plane, x, y, sources.state,
                progress.point, rows,
            ):  # fmt: skip
                rows[index] = row
                save_arrays(saved / f"{index:04d}.npz", row | {"x": x, "y": y[index]})
                progress.row(len(rows), line=len(rows) % every == 0 or len(rows) == len(y))
                if received:
                    raise Interrupted(received[0])
        finally:
            progress.close()
    return {name: np.stack([rows[i][name] for i in range(len(y))]) for name in rows[0]}


def _saved_rows(folder, x, y):
    """Rows that were saved before an interruption, if they are of this very grid."""
    rows = {}
    for index in range(len(y)):
        file = folder / f"{index:04d}.npz"
        if not file.exists():
            continue
        row = load_arrays(file)
        if np.array_equal(row.pop("x"), x) and row.pop("y") == y[index]:
            rows[index] = row
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


def summarize(arrays: dict[str, np.ndarray]) -> str:
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


if __name__ == "__main__":
    command.main(SurfaceConfig, run, __doc__)
