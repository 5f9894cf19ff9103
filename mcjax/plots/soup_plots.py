"""Figures of soups: averages of networks beside the networks and their ensembles."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcjax import results
from mcjax.plots import styles
from mcjax.results import Metrics
from mcjax.results.ranges import is_loss
from mcjax.typing import Float

SHOWN = 12
"""Networks have a row each up to this many; more of them share one row."""
ROW = 0.22
"""Height of a row, in inches."""
RATIO = 30
"""Losses further apart than this factor are drawn on a log scale."""


class _Rows(NamedTuple):
    """Rows of one kind: their names, and the metrics of a point per row."""

    names: list[str]
    metrics: Metrics
    marker: str


def soups_figure(found: results.Soups) -> Figure:
    """A row per network, their mean, each average and each ensemble; a panel per metric.

    Dots are networks, diamonds averages of their weights, squares ensembles. The dotted lines are
    the means of the networks' own metrics. Accuracies are drawn in percent.

    >>> networks = results.Values({"validation": {"loss": np.array([0.3, 0.4])}})
    >>> segments = results.Interpolation(np.zeros(0), np.array(["a", "b"]), networks, {})
    >>> averages = results.Values({"validation": {"loss": np.array([0.2])}})
    >>> coefficients, none = np.array([[0.5, 0.5]]), np.zeros(0, str)
    >>> found = results.Soups(segments, np.array(["uniform"]), coefficients, averages, none, {})
    >>> [label.get_text() for label in soups_figure(found).axes[0].get_yticklabels()]
    ['a', 'b', 'uniform']
    """
    kinds = _kinds(found)
    names = [name for kind in kinds for name in kind.names]
    order = styles.metric_names(found.averages.metrics, of_classes=False)
    metrics = list(dict.fromkeys(metric.partition("_")[2] for metric in order))
    figure, axes = _panels(len(metrics), len(names))
    for ax, metric in zip(axes, metrics, strict=True):
        _panel(ax, kinds, metric, found)
    first = axes[0]
    first.set_yticks(range(len(names)), [styles.plain(name) for name in names])
    first.set_ylim(len(names) - 0.5, -0.5)
    handles = first.get_legend_handles_labels()[0]
    mean = Line2D([], [], color="0.4", ls=":", lw=0.8, label="mean of the networks")
    figure.legend(handles=[*handles, mean], loc="outside lower center", ncols=5)
    return figure


def _kinds(found: results.Soups) -> list[_Rows]:
    """The rows of the figure from the top down."""
    names = [str(name) for name in found.segments.name]
    if len(names) > SHOWN:
        names = [f"{len(names)} networks"]
    return [
        _Rows(names, found.segments.networks.metrics, "o"),
        _Rows([str(name) for name in found.recipe], found.averages.metrics, "D"),
        _Rows([str(name) for name in found.ensemble], found.ensembles, "s"),
    ]


def _panels(count: int, rows: int) -> tuple[Figure, np.ndarray]:
    """Panels side by side where there is room, with common rows."""
    width = plt.rcParams["figure.figsize"][0]
    across = min(count, 2) if width > 5 else 1
    down = -(-count // across)
    figure = Figure(figsize=(width, down * (ROW * rows + 0.5) + 0.4), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def _panel(ax: Axes, kinds: Sequence[_Rows], metric: str, found: results.Soups) -> None:
    """The panel of one metric, a colour per split."""
    everything: list[Float[np.ndarray, " points"]] = []
    own = found.averages.metrics
    splits = [
        split for split in dict.fromkeys([*results.SPLITS, *own]) if metric in own.get(split, ())
    ]
    for index, split in enumerate(splits):
        name, color = f"{split}_{metric}", styles.color(index)
        top, label = 0, styles.SPLIT_WORDS.get(split, split)
        for kind in kinds:
            values = styles.drawn(name, kind.metrics.get(split, {}).get(metric, np.zeros(0)))
            places = top + np.arange(len(values)) % len(kind.names)
            ax.plot(values, places, kind.marker, ms=4, color=color, label=label)
            top, label = top + len(kind.names), None
            everything.append(values)
        mean = styles.drawn(name, found.segments.networks.metrics[split][metric]).mean()
        ax.axvline(mean, color=color, ls=":", lw=0.8, zorder=0)
    for top in np.cumsum([len(kind.names) for kind in kinds])[:-1]:
        ax.axhline(top - 0.5, color="0.7", lw=0.6)
    values = np.concatenate(everything)
    if is_loss(metric) and 0 < values.min() < values.max() / RATIO:
        ax.set_xscale("log")
    ax.set_xlabel(styles.metric_label(f"_{metric}"))
