"""Figures of instability analyses: the barrier against the fork point."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import results
from mcjax.plots import styles
from mcjax.results.instability import STABLE
from mcjax.results.ranges import is_loss

TICKS = [m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5)]


def instability_figure(found: results.Instability) -> Figure:
    """Mean barriers against the fork point with their range over pairs, a panel a metric.

    >>> each = np.array([[0.3], [0.01]])  # of two forks with one pair each
    >>> heights = {"train": {"accuracy": each, "loss": 4 * each}}
    >>> names, epoch, pairs = np.array(["0", "5"]), np.array([0, 5]), np.array([[0, 1]])
    >>> found = results.Instability(
    ...     names, 10 * epoch, epoch, np.zeros(0), pairs, {}, {"train": {}}, heights)
    >>> [ax.get_ylabel() for ax in instability_figure(found).axes]
    ['error barrier (points)', 'loss barrier']
    """
    every = dict.fromkeys(name for own in found.barriers.values() for name in own)
    names = [name for name in every if styles.of_class(name) is None]
    names.sort(key=is_loss)  # errors first
    figure, axes = styles.panels(len(names), 0.72)
    for ax, name in zip(axes.flat, names, strict=False):
        instability(ax, found, name)
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def instability(ax: Axes, found: results.Instability, metric: str) -> Axes:
    """One metric's barriers on all splits against the fork point.

    Args:
      ax: where to draw.
      found: the analysis.
      metric: its name without a split; the barrier of an accuracy is that of the error, in
        percentage points, and has a line where stability begins.

    >>> heights = {"train": {"accuracy": np.array([[0.3], [0.01]])}}
    >>> names, epoch, pairs = np.array(["0", "5"]), np.array([0, 5]), np.array([[0, 1]])
    >>> found = results.Instability(
    ...     names, 10 * epoch, epoch, np.zeros(0), pairs, {}, {"train": {}}, heights)
    >>> ax = instability(Figure().subplots(), found, "accuracy")
    >>> ax.get_ylabel(), ax.lines[0].get_ydata()
    ('error barrier (points)', array([30.,  1.]))
    """
    percent = styles.is_percent(metric)
    for index, split in enumerate(found.metrics):
        if metric not in found.barriers.get(split, {}):
            continue
        mean, _, low, high = (styles.drawn(metric, x) for x in found.spread(f"{split}_{metric}"))
        color = styles.color(index)
        ax.plot(found.epoch, mean, "o-", ms=3, color=color, label=styles.split_words(split))
        ax.fill_between(found.epoch, low, high, color=color, alpha=0.2, lw=0)
    if percent or metric.endswith("error"):
        limit = styles.drawn(metric, np.array([STABLE]))
        ax.axhline(limit[0], color="0.4", lw=0.8, ls=":", label="stable below 2 points")
    words = metric.replace("accuracy", "error").replace("_", " ")
    ax.set_ylabel(styles.plain(f"{words} barrier" + (" (points)" if percent else "")))
    ax.set_xlabel("epoch of the fork")
    _scale(ax, found)
    return ax


def _scale(ax: Axes, found: results.Instability) -> None:
    """A logarithmic axis of epochs that has room for 0, if the forks are far apart."""
    positive, last = found.epoch[found.epoch > 0], float(found.epoch.max())
    low = float(positive.min()) if positive.size else 1.0
    if last > 8 * low:
        ax.set_xscale("symlog", linthresh=low, linscale=0.6)
        ticks = [0, *(x for x in TICKS if low <= x <= last)]
        ax.set_xticks(ticks, labels=[f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set_xlim(-0.1 * low if found.epoch.min() == 0 else 0.9 * low, 1.2 * last)
    ax.set_ylim(bottom=0, top=1.05 * ax.get_ylim()[1])
