"""Composes the paper's figures from `mcjax.plots`, given results; reads no run folders."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.plots import drawn, label_placement, metric_label, plain
from mcjax.results import Profile, named

RUN_LABELS = {"sgdr": "SGDR", "step": "SGD with step decay"}
Pairs = Mapping[str, Profile | str]
"""By pair of iterates, its profile, or the reason why there is none."""


def resilience_figure(
    panels: Mapping[str, Mapping[int, Profile] | str],
    metric: str,
    epochs: Mapping[int, int],
) -> Figure:
    """Draws Figs. 1, 8, 9 and 10: one panel per curve, one line per epoch of curve training.

    Args:
      panels: by curve, its profiles by epoch of the paper, or the reason why there are none.
      metric: the metric to draw, such as ``train_loss``.
      epochs: the epoch here for each epoch of the paper.
    """
    rows, columns, height = (2, 3, 0.8) if _width() > 5 else (3, 2, 0.95)
    figure, axes = plots.grid(rows, columns, height, sharex=True)
    for ax, (name, lines) in zip(axes.flat, panels.items(), strict=True):
        ax.set_title(f"curve {plain(name)}")
        if isinstance(lines, str):
            _message(ax, lines)
        else:
            resilience(ax, lines, metric, epochs)
    for ax in axes[-1]:
        ax.set_xlabel("t")
    for ax in axes[:, 0]:
        ax.set_ylabel(metric_label(metric))
    handles = max((a.get_legend_handles_labels() for a in axes.flat), key=lambda h: len(h[0]))
    if handles[0]:
        figure.legend(*handles, loc="outside lower center", ncols=4 if columns == 3 else 2)
    return figure


def resilience(
    ax: Axes, lines: Mapping[int, Profile], metric: str, epochs: Mapping[int, int]
) -> Axes:
    """Draws a curve's metric along t at several epochs of its training, later epochs darker.

    Args:
      ax: the axes to draw on.
      lines: profiles by epoch.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      epochs: the epoch here for each epoch; the legend shows it if it differs.
    """
    order = sorted({*epochs, *lines})  # so that an epoch has one shade in every panel
    for epoch, found in lines.items():
        shade = (order.index(epoch) + 1) / len(order)
        here = "" if epochs.get(epoch, epoch) == epoch else f" ({epochs[epoch]} here)"
        ax.plot(
            found.t,
            drawn(metric, named(found.curve.metrics)[metric]),
            color=plt.get_cmap("cividis")(1 - shade),
            label=f"epoch {epoch}{here}",
        )
    ax.set_xlim(0, 1)
    return ax


def trajectories_figure(
    histories: Mapping[str, Mapping[str, np.ndarray]],
    pairs: Mapping[str, Pairs],
) -> Figure:
    """Draws Fig. 2: accuracy and learning rate over epochs, training loss between iterates."""
    width = _width()
    height = 0.9 * width if width > 5 else 1.45 * width
    figure = Figure(figsize=(width, height), layout="constrained")
    rows: Any = figure.subfigures(3, 1, hspace=0.03)
    top = rows[0].subplots(1, 2)
    for index, (label, history) in enumerate(histories.items()):
        look = {"color": plots.color(index), "label": label}
        top[0].plot(
            history["epoch"], drawn("validation_accuracy", history["validation_accuracy"]), **look
        )
        top[1].semilogy(history["epoch"], history["lr"], **look)
    top[0].set(title="(a)", xlabel="epoch", ylabel=metric_label("validation_accuracy"))
    top[1].set(title="(b)", xlabel="epoch", ylabel="learning rate")
    _legend_of_first_filled(top[:1])
    for letter, row, run in zip("cd", rows[1:], pairs, strict=True):
        axes = row.subplots(1, 3)
        _pairs_row(axes, pairs[run], "train_loss")
        row.suptitle(f"({letter}) {RUN_LABELS[run]}")
    _legend_of_first_filled(rows[1].axes)
    return figure


def pairs_figure(pairs: Mapping[str, Pairs], metrics: Sequence[str]) -> Figure:
    """Draws Fig. 7: one row per metric; on narrow pages, one per metric and run."""
    runs = list(pairs)[::-1]
    most = max(map(len, pairs.values()))
    beside = _width() > 5
    rows = [
        (metric, block)
        for metric in metrics
        for block in ([runs] if beside else [[r] for r in runs])
    ]
    figure, axes = plots.grid(len(rows), len(runs) * most if beside else most, 1.4, sharex=True)
    headed = set()
    for row, (metric, block) in zip(axes, rows, strict=True):
        for first, run in enumerate(block):
            heading = None if run in headed else RUN_LABELS[run]
            headed.add(run)
            panels = row[first * most :][: len(pairs[run])]
            _pairs_row(panels, pairs[run], metric, heading, outer=first == 0)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    _legend_of_first_filled(axes.flat)
    return figure


def _width() -> float:
    """Of a figure, in inches."""
    return plt.rcParams["figure.figsize"][0]


def _legend_of_first_filled(axes: Iterable[Axes]) -> None:
    """Adds a legend to the first panel that has lines."""
    for ax in axes:
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
            return


def _pairs_row(
    axes: Sequence[Axes], pairs: Pairs, metric: str, heading: str | None = "", outer: bool = True
) -> None:
    """Draws one panel per pair; ``heading=None`` leaves out the titles."""
    middle = axes[(len(axes) - 1) // 2]
    for ax, (name, found) in zip(axes, pairs.items(), strict=True):
        if heading is not None:
            ax.set_title(f"{heading}\n{name}" if heading and ax is middle else name)
        if isinstance(found, str):
            _message(ax, found)
            continue
        plots.profile(ax, found, metric)
        if ax is not axes[0] or not outer:
            ax.set_ylabel("")


def embedding_figure(
    points: Mapping[str, np.ndarray], chains: Sequence[Sequence[str]], perplexity: float
) -> Figure:
    """Draws Fig. 4: `embedding`, titled with its perplexity."""
    side = min(_width(), 4.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    ax = embedding(figure.subplots(), points, chains)
    ax.set_title(f"t-SNE, perplexity {perplexity:g}")
    return figure


def embedding(ax: Axes, points: Mapping[str, np.ndarray], chains: Sequence[Sequence[str]]) -> Axes:
    """Draws points in two dimensions and the chains that connect them.

    Args:
      ax: the axes to draw on.
      points: coordinates ``[2]`` by label; labels that start with θ are bends.
      chains: labels along each chain.
    """
    for index, chain in enumerate(chains):
        line = np.array([points[label] for label in chain])
        ax.plot(*line.T, color=plots.color(index), zorder=1)
    for label, (x, y) in points.items():
        bend = label.startswith("θ")
        marker, size, ink = ("s", 4, "0.35") if bend else ("o", 6, "black")
        ax.plot(x, y, marker, color=ink, ms=size)
    names = [
        label_placement.Label(plain(label), xy, anchor=not label.startswith("θ"))
        for label, xy in points.items()
    ]
    lines = [np.array([points[label] for label in chain]) for chain in chains]
    ax.add_artist(label_placement.Labels(ax, names, lines, np.array(list(points.values()))))
    ax.set(xticks=[], yticks=[])
    ax.margins(0.15)
    return ax


def message_figure(text: str) -> Figure:
    """Returns a figure that shows a message instead of data."""
    width = _width()
    figure = Figure(figsize=(width, 0.4 * width), layout="constrained")
    ax = figure.subplots()
    _message(ax, text)
    ax.set_axis_off()
    return figure


def _message(ax: Axes, text: str) -> None:
    ax.text(
        0.5, 0.5, textwrap.fill(plain(text), 24), transform=ax.transAxes, ha="center", va="center",
        wrap=True, fontsize="small",
    )  # fmt: skip
    ax.grid(False)
