"""Figures, ``interpolation.json`` and the printed summary of an interpolation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcjax import plots
from mcjax.analysis import interpolation, intervals
from mcjax.results import Interpolation, Interval, PairHeights, PairPaths, named

from ..cli import InterpolateConfig
from ..runs import Run
from . import drawing, notes, report
from .interpolation import FILE, REPORT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {
    "between": "between --points and --against",
    "first": "within --points",
    "second": "within --against",
}
"""Words for the kinds of pairs of two groups."""
WIDTH = 9
"""Of a column of numbers."""
MOST = 16
"""Profiles of all pairs, each in a panel, are drawn for at most this many networks."""


def finish(folder: Run, config: InterpolateConfig, found: Interpolation) -> str:
    """Writes the report, draws the figures and marks the run done; returns the text to print."""
    folder.open("interpolation", config)
    facts = {
        "networks": report.networks(found),
        "paths": [row for path in found.paths for row in rows(found, path, config.curve)],
        "aligned": folder.info.get("aligned", {}),
        "groups": _groups(found),
    }
    drawn = partial(draw, folder, found, config.style)
    return report.finish(folder, REPORT, facts, drawn, summarize(found, config.curve))


def rows(found: Interpolation, path: str, curves: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The length and the barriers of each path of one kind."""
    one = found.paths[path]
    for k, pair in enumerate(one.pairs):
        start, end = (str(name) for name in found.name[pair])
        facts: dict[str, Any] = {"path": path, "start": start, "end": end}
        if path == "curve":
            facts["curve"] = curves[k]
        if one.length is not None:
            facts["length"] = one.length[k]
        yield facts | {"barriers": report.barriers(one, k)}


def _groups(found: Interpolation) -> list[dict[str, Any]]:
    """Means and 95 % intervals of the barriers over pairs of each kind."""
    return [
        {"path": path, "pairs": kind, "count": len(rows), "metric": metric}
        | {how: _mean(one, x, rows)._asdict() for how, x in heights._asdict().items()}
        for path, one, kind, rows in _kinds(found)
        for metric, heights in named(one.barriers).items()
    ]


def _kinds(found: Interpolation) -> Iterator[tuple[str, PairPaths, str, np.ndarray]]:
    """The kinds of pairs of each path, except of curves: its name, itself, the kind and indices."""
    if found.group is None:
        return
    for path, one in found.paths.items():
        if path != "curve":
            for kind, rows in interpolation.kinds(one.pairs, found.group).items():
                yield path, one, KINDS[kind], rows


def _mean(one: PairPaths, values: np.ndarray, rows: np.ndarray) -> Interval:
    return intervals.over_pairs(values[rows], one.pairs[rows])


def draw(folder: Run, found: Interpolation, style: Sequence[str]) -> list[Path]:
    """Draws all figures; returns the PNGs, without figures that failed."""
    file, again = folder.path / FILE, drawing.command("interpolate", folder.path)

    def one(stem: str, figure: Callable[[], "Figure"]) -> Path:
        with plots.style(*style):
            return plots.save(figure(), folder.path / "figures" / stem)

    drawn = [
        drawing.attempt(partial(one, stem, figure), file, again)
        for stem, figure in _figures(found).items()
    ]
    return [path for path in drawn if path]


def _figures(found: Interpolation) -> dict[str, Callable[[], "Figure"]]:
    """Functions that draw the figures, by file name without suffix."""
    figures: dict[str, Callable[[], Figure]] = {}
    few, barriers = len(found.name) <= MOST, found.paths["segment"].barriers
    if barriers and (few or found.epoch is None):
        figures["barriers"] = partial(plots.barriers_figure, found)
    if found.epoch is not None:
        names = dict.fromkeys(name for own in barriers.values() for name in own)
        for metric in (name for name in names if plots.of_class(name) is None):
            figures[f"epochs_{metric}"] = partial(plots.epochs_figure, found, metric)
    metrics = [name for own in found.networks.metrics.values() for name in own]
    several = [m for m in dict.fromkeys(metrics) if plots.of_class(m) is None]
    for metric in several if few else ():
        figures[f"profiles_{metric}"] = partial(plots.pairs_figure, found, metric)
    for path in dict.fromkeys(path for path, *_ in _kinds(found)):
        figures[f"groups_{path}"] = partial(_groups_figure, found, path)
    return figures


def _groups_figure(found: Interpolation, path: str) -> "Figure":
    kinds = {
        kind: {metric: _mean(one, x, rows) for metric, x in named(one.metrics).items()}
        for name, one, kind, rows in _kinds(found)
        if name == path
    }
    names = plots.metric_names(found.networks.metrics, of_classes=False)
    return plots.groups_figure(found.t, kinds, names)


def summarize(found: Interpolation, curves: Sequence[str]) -> str:
    """Summarizes the networks, the barriers of their training loss, the curves and the groups."""
    lines = [*report.network_lines(found), *barrier_lines(found, curves), *_means(found)]
    return "\n".join([*lines, *notes.of_interpolation(found)])


def barrier_lines(found: Interpolation, curves: Sequence[str]) -> list[str]:
    """Tables of the barriers of the training loss, and a line per curve."""
    heights, lines = named(found.paths["segment"].barriers), list[str]()
    order = plots.metric_names(found.networks.metrics)
    metric = next((m for m in order if m in heights), None)
    if metric is None:
        return lines
    for path in found.paths:
        if path != "curve":
            lines += matrix(found, path, metric)
    return [*lines, *_curves(found, metric, curves)]


def _where(metric: str) -> str:
    """Words for a barrier over the worse end."""
    end = "below the lower end" if metric.endswith("accuracy") else "over the higher end"
    return f"{plots.metric_words(metric)} {end}"


def matrix(found: Interpolation, path: str, metric: str) -> list[str]:
    """A table of the barriers between every two networks, a line per row."""
    heights = plots.drawn(metric, found.matrix(metric, path))
    rows, heads = _heads([str(name) for name in found.name])
    most = max(map(len, rows))
    lines = [f"barriers of the {_where(metric)}, {plots.PATH_WORDS[path]}"]
    lines.append(" " * most + "".join(f"{head:>{WIDTH}}" for head in heads))
    for k, row in enumerate(rows):
        cells = ("." if j == k else f"{x:.3g}" for j, x in enumerate(heights[k]))
        lines.append(f"{row:{most}}" + "".join(f"{cell:>{WIDTH}}" for cell in cells))
    return lines


def _heads(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The heads of the rows and of the columns: numbers stand for names too long for a column."""
    if max(map(len, names)) < WIDTH:
        return list(names), list(names)
    numbers = [f"({k})" for k in range(1, len(names) + 1)]
    return [f"{number} {name}" for number, name in zip(numbers, names, strict=True)], numbers


def _curves(found: Interpolation, metric: str, curves: Sequence[str]) -> Iterator[str]:
    """A line per curve: its barrier and its segment's."""
    if "curve" not in found.paths:
        return
    line, segments = found.paths["curve"], plots.drawn(metric, found.matrix(metric))
    heights = plots.drawn(metric, _over_max(line, metric))
    for text, pair, height in zip(curves, line.pairs, heights, strict=True):
        start, end = found.name[pair]
        yield (
            f"curve    {text}, {start} to {end}: barrier of the {_where(metric)} {height:.4g}; "
            f"segment {segments[tuple(pair)]:.4g}"
        )


def _over_max(one: PairPaths, metric: str) -> np.ndarray:
    heights: PairHeights = named(one.barriers)[metric]
    return heights.over_max


def _means(found: Interpolation) -> Iterator[str]:
    """A line per kind of pairs and metric: the mean barrier and its interval."""
    for path, one, kind, rows in _kinds(found):
        yield f"{plots.PATH_WORDS[path]} {kind} ({len(rows)} pairs): mean barrier and 95 % interval"
        there = named(one.barriers)
        for metric in (m for m in plots.metric_names(one.metrics, of_classes=False) if m in there):
            mean, low, high = plots.drawn(
                metric, np.array(_mean(one, _over_max(one, metric), rows))
            )
            known = f"{low:.3g} to {high:.3g}" if np.isfinite(low) else "too few networks"
            yield f"  {_where(metric)}: {mean:.3g} ({known})"
