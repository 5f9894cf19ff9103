"""Figures of interpolations: matrices of barriers, and profiles of every pair."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcjax import results
from mcjax.plots import barrier_plots, styles
from mcjax.typing import Float

PAIR_STYLES = {"segment": "--", "aligned": "-", "curve": ":"}
"""The line styles of `mcjax.results.PAIR_PATHS`."""
PATH_WORDS = {"segment": "segments", "aligned": "aligned segments", "curve": "curves"}
ROOM = 1.5
"""A panel of `pairs_figure` shows this times the range of values between the networks."""
LONGEST = 18
"""Letters of a network's name that are shown beside the panels of `pairs_figure`."""
COLUMNS = 3
"""Of the legend below one or two rows of panels."""
GAP, LABELLED = 0.12, 0.7
"""The gap between panels, relative to a panel; and the width in inches that has room for labels."""


def barriers_figure(found: results.Interpolation) -> Figure:
    """A matrix of barriers over the worse end for every metric that has them.

    Segments are above the diagonal. Below it are aligned segments, or else curves, or else the
    segments once more.

    Args:
      found: with barriers along segments.

    Raises:
      ValueError: there are no barriers.

    >>> heights = results.PairHeights(*np.array([[0.6], [0.65], [0.65]]))
    >>> paths = results.PairPaths(np.array([[0, 1]]), {}, barriers={"train": {"loss": heights}})
    >>> networks = results.Values({"train": {"loss": np.array([0.1, 0.2])}})
    >>> names, t = np.array(["a", "b"]), np.linspace(0, 1, 3)
    >>> figure = barriers_figure(results.Interpolation(t, names, networks, {"segment": paths}))
    >>> figure.axes[0].get_title()
    'training loss'
    """
    names = styles.metric_names(found.networks.metrics, of_classes=False)
    metrics = [name for name in names if name in _heights(found)]
    if not metrics:
        raise ValueError("there are no barriers: evaluate points between the networks")
    figure, axes = styles.panels(len(metrics), 0.85)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        matrix(ax, found, metric)
    return figure


def matrix(ax: Axes, found: results.Interpolation, metric: str) -> Axes:
    """The barriers of one metric; see `barriers_figure`.

    Args:
      ax: where to draw.
      found: with barriers along segments.
      metric: such as ``train_loss``; falls of an accuracy are in percentage points.

    Raises:
      ValueError: the metric has no barriers.

    >>> heights = results.PairHeights(*np.array([[0.6], [0.65], [0.65]]))
    >>> paths = results.PairPaths(np.array([[0, 1]]), {}, barriers={"train": {"loss": heights}})
    >>> names, t = np.array(["a", "b"]), np.linspace(0, 1, 3)
    >>> found = results.Interpolation(t, names, results.Values({}), {"segment": paths})
    >>> ax = matrix(Figure().subplots(), found, "train_loss")
    >>> [text.get_text() for text in ax.texts]
    ['0.6', '0.6']
    """
    below = next((path for path in ("aligned", "curve") if path in found.paths), "segment")
    title = styles.metric_label(metric)
    if below != "segment":
        title += f"\nsegments above the diagonal,\n{PATH_WORDS[below]} below it"
    where = "below the lower end" if styles.is_percent(metric) else "over the higher end"
    under, over = (_cells(found, path, metric) for path in (below, "segment"))
    return barrier_plots.barriers(ax, under, over, title, where)


def _heights(found: results.Interpolation) -> Mapping[str, results.PairHeights]:
    return results.named(found.paths["segment"].barriers)


def _cells(found: results.Interpolation, path: str, metric: str) -> list[tuple[str, str, float]]:
    """Two names and a height for each pair."""
    heights = styles.drawn(metric, found.matrix(metric, path))
    return [
        (str(found.name[i]), str(found.name[j]), float(heights[i, j]))
        for i, j in found.paths[path].pairs
    ]


def pairs_figure(found: results.Interpolation, metric: str) -> Figure:
    """One metric on all splits along every path, one panel a pair.

    The rows are the networks at ``t = 0`` and the columns those at ``t = 1``. Where extrapolation
    leaves the range between the networks by much, it leaves the panel, too.

    Args:
      found: of two networks or more.
      metric: its name without a split, such as ``loss``; accuracies are drawn in percent.

    Raises:
      ValueError: no split has the metric.

    >>> losses = {"train": {"loss": np.array([[0.1, 0.8, 0.2]])}}
    >>> paths = results.PairPaths(np.array([[0, 1]]), losses)
    >>> networks = results.Values({"train": {"loss": np.array([0.1, 0.2])}})
    >>> names, t = np.array(["a", "b"]), np.linspace(0, 1, 3)
    >>> figure = pairs_figure(results.Interpolation(t, names, networks, {"segment": paths}), "loss")
    >>> len(figure.axes), figure.axes[0].get_ylabel()
    (1, 'loss')
    """
    metrics = {split: f"{split}_{metric}" for split, own in found.networks.metrics.items()
               if metric in own}  # fmt: skip
    if not metrics:
        raise ValueError(f"no split has the metric {metric}")
    names = _shortened([str(name) for name in found.name])
    figure, axes = _triangle(names, len(metrics) + len(found.paths) + 1)
    width = plt.rcParams["lines.linewidth"] * (1 if len(names) < 6 else 0.7)
    for path, one in found.paths.items():
        for row, (i, j) in enumerate(one.pairs):
            for index, (split, name) in enumerate(metrics.items()):
                values = styles.drawn(name, one.metrics[split][metric][row])
                look = {"color": styles.color(index), "lw": width}
                axes[i, j - 1].plot(found.t, values, PAIR_STYLES[path], **look)
    axes[0, 0].set(xlim=found.t[[0, -1]], ylim=_limits(found, metric))
    for i, j in zip(*np.triu_indices(len(axes)), strict=True):
        if found.t[0] < 0 or found.t[-1] > 1:
            for end in (0, 1):
                axes[i, j].axvline(end, color="0.6", lw=0.6, zorder=0)
    axes[0, 0].set_ylabel(styles.metric_label(f"_{metric}"))
    _legend(figure, found, metrics)
    return figure


def _shortened(names: Sequence[str]) -> list[str]:
    """Names of at most `LONGEST` letters, after numbers if some would be the same."""
    half = LONGEST // 2
    short = [name if len(name) <= LONGEST else f"{name[:half]}…{name[-half:]}" for name in names]
    if len(set(short)) < len(short):
        short = [f"({k}) {name}" for k, name in enumerate(short, 1)]
    return [styles.plain(name) for name in short]


def _triangle(names: Sequence[str], entries: int) -> tuple[Figure, np.ndarray]:
    """A figure of the style's width with a panel a pair, above the diagonal, and all names.

    Below one or two rows of panels there is room for a legend of so many entries.

    The margins are in inches: the layout engine would leave room for tick labels in every row.
    """
    count, width = len(names) - 1, plt.rcParams["figure.figsize"][0]
    letter = 0.6 * plt.rcParams["font.size"] / 72
    left, right, longest = 0.5, 0.1 + letter * max(map(len, names)), max(map(len, names[1:]))
    panel = (width - left - right) / (count + GAP * (count - 1))
    upright = letter * longest > panel
    top, bottom = 0.1 + (letter * longest if upright else 0.15), 0.4
    if count < 3:
        lines = 1 + -(-entries // COLUMNS)  # the last entry has two
        bottom += 0.05 + 2.4 * letter * lines
    height = panel * (0.85 if count > 1 else 0.6)
    tall = top + bottom + height * (count + GAP * (count - 1))
    figure = Figure(figsize=(width, tall))
    figure.set_layout_engine("none")
    place = {"left": left / width, "right": 1 - right / width, "bottom": bottom / tall,
             "top": 1 - top / tall, "wspace": GAP, "hspace": GAP}  # fmt: skip
    axes = figure.subplots(count, count, squeeze=False, sharex=True, sharey=True, gridspec_kw=place)
    for (i, j), ax in np.ndenumerate(axes):
        ax.set_axis_on() if j >= i else ax.set_axis_off()
        labelled = i == j and (panel > LABELLED or i == 0)
        ax.tick_params(labelleft=labelled, labelbottom=labelled)
    for j, name in enumerate(names[1:]):
        axes[0, j].set_title(name, rotation=90 if upright else 0)
    for i, name in enumerate(names[:-1]):
        axes[i, i].set_xlabel("t" if panel > LABELLED or i == 0 else "", labelpad=1)
        axes[i, -1].annotate(name, (1.0, 0.5), (4, 0), "axes fraction", "offset points",
                             va="center")  # fmt: skip
    return figure, axes


def _limits(found: results.Interpolation, metric: str) -> tuple[float, float]:
    """Lower and upper end of the panels: those of the values between the networks, with room."""
    between: list[np.ndarray] = []
    everywhere: list[np.ndarray] = []
    inside = (found.t >= 0) & (found.t <= 1)
    for one in found.paths.values():
        for own in one.metrics.values():
            if metric in own:
                between.append(own[metric][:, inside].ravel())
                everywhere.append(own[metric].ravel())
    for own in found.networks.metrics.values():
        between.append(own.get(metric, np.zeros(0)))
    low, high = _extent(np.concatenate(between))
    lowest, highest = _extent(np.concatenate([*between, *everywhere]))
    extra = (ROOM - 1) * (high - low)
    low, high = max(lowest, low - extra), min(highest, high + extra)
    room = 0.04 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = styles.drawn(f"_{metric}", np.array([low - room, high + room]))
    return float(low), float(high)


def _extent(values: Float[np.ndarray, " values"]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _legend(figure: Figure, found: results.Interpolation, metrics: Mapping[str, str]) -> None:
    """A legend of splits and paths, where the lower triangle is empty if there is room."""
    line: Any = Line2D
    handles = [
        line([], [], color=styles.color(k), label=styles.metric_label(name))
        for k, name in enumerate(metrics.values())
    ]
    handles += [
        Line2D([], [], color="0.3", ls=PAIR_STYLES[path], label=PATH_WORDS[path])
        for path in found.paths
    ]
    handles.append(Line2D([], [], ls="", label="row: network at t = 0\ncolumn: at t = 1"))
    few = len(found.name) < 4
    figure.legend(handles=handles, loc="lower center" if few else "lower left",
                  ncols=COLUMNS if few else 1)  # fmt: skip


def groups_figure(
    t: Float[np.ndarray, " P"],
    kinds: Mapping[str, Mapping[str, results.Interval]],
    metrics: Sequence[str],
) -> Figure:
    """Means over pairs of networks with their 95 % intervals along the segment, a panel a metric.

    Args:
      t: positions.
      kinds: by words for a kind of pairs, the interval of each metric, of the shape of ``t``.
      metrics: such as ``train_loss``; accuracies are drawn in percent.

    >>> mean = np.array([0.1, 0.8, 0.1])
    >>> kinds = {"between": {"train_loss": results.Interval(mean, mean - 0.1, mean + 0.1)}}
    >>> figure = groups_figure(np.linspace(0, 1, 3), kinds, ["train_loss"])
    >>> figure.axes[0].get_ylabel(), figure.axes[0].get_legend_handles_labels()[1]
    ('training loss', ['between'])
    """
    figure, axes = styles.panels(len(metrics), 0.72, sharex=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        for index, (words, found) in enumerate(kinds.items()):
            mean, low, high = (styles.drawn(metric, x) for x in found[metric])
            ax.plot(t, mean, color=styles.color(index), label=styles.plain(words))
            ax.fill_between(t, low, high, color=styles.color(index), alpha=0.2, lw=0)
        low, high = _extent(np.concatenate([styles.drawn(metric, x[metric].mean)
                                            for x in kinds.values()]))  # fmt: skip
        drawn, room = ax.get_ylim(), max(high - low, 1e-3 * abs(high))
        top = min(drawn[1], high + room, 101 if styles.is_percent(metric) else np.inf)
        ax.set(xlim=t[[0, -1]], ylim=(max(drawn[0], low - room), top))
        ax.set_ylabel(styles.metric_label(metric))
    for ax in axes[-1]:
        ax.set_xlabel("t")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
