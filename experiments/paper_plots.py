"""The paper's figures as compositions of `mcjax.plots`; from arrays, never from live state."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mcjax.plots import COLORS, METRIC_LABELS, STYLE, profile


def resilience_figure(
    panels: Mapping[str, Mapping[int, Mapping[str, np.ndarray]] | str],
    metric: str,
    epochs: Mapping[int, int],
) -> Figure:
    """Figs. 1, 8, 9 and 10: one panel a curve, one line an epoch of curve training.

    Args:
      panels: by curve, its arrays by epoch of the paper; or why there are none.
      metric: what to draw.
      epochs: the epoch here for each epoch of the paper.
    """
    scale = 100 if metric.endswith("accuracy") else 1
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(8.5, 4.8), sharex=True)
        for ax, (name, lines) in zip(axes.flat, panels.items(), strict=True):
            ax.set_title(f"curve {name}")
            if isinstance(lines, str):
                _message(ax, lines)
                continue
            for shade, (epoch, arrays) in zip((0.25, 0.5, 0.75, 1.0), lines.items(), strict=True):
                here = "" if epochs[epoch] == epoch else f" ({epochs[epoch]} here)"
                ax.plot(
                    arrays["t"],
                    scale * arrays[f"curve_{metric}"],
                    color=plt.get_cmap("cividis")(1 - shade),
                    label=f"epoch {epoch}{here}",
                )
            ax.set_xlim(0, 1)
        for ax in axes[1]:
            ax.set_xlabel("t")
        for ax in axes[:, 0]:
            ax.set_ylabel(METRIC_LABELS[metric])
        handles = next(
            (h for h in (a.get_legend_handles_labels() for a in axes.flat) if h[0]), None
        )
        if handles:
            figure.legend(*handles, loc="outside lower center", ncols=4)
    return figure


def trajectories_figure(
    histories: Mapping[str, Mapping[str, np.ndarray]],
    pairs: Mapping[str, Mapping[str, Mapping[str, np.ndarray] | str]],
) -> Figure:
    """Fig. 2: accuracy and learning rate over epochs, training loss between iterates."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(9, 8))
        rows: Any = figure.subfigures(3, 1)
        top = rows[0].subplots(1, 2)
        for color, (label, history) in zip(COLORS, histories.items(), strict=False):
            accuracy = 100 * history["validation_accuracy"]
            top[0].plot(history["epoch"], accuracy, color=color, label=label)
            top[1].semilogy(history["epoch"], history["lr"], color=color, label=label)
        top[0].set(title="(a)", xlabel="epoch", ylabel=METRIC_LABELS["validation_accuracy"])
        top[1].set(title="(b)", xlabel="epoch", ylabel="learning rate")
        top[0].legend()
        for letter, row, run in zip("cd", rows[1:], pairs, strict=True):
            axes = row.subplots(1, 3)
            _pairs_row(axes, pairs[run], "train_loss")
            row.suptitle(f"({letter}) {RUN_LABELS[run]}", fontsize="medium")
        _legend_of_first_filled(rows[1].axes)
    return figure


RUN_LABELS = {"sgdr": "SGDR", "step": "SGD with step decay"}


def pairs_figure(
    pairs: Mapping[str, Mapping[str, Mapping[str, np.ndarray] | str]], metrics: Sequence[str]
) -> Figure:
    """Fig. 7: a row a metric, the pairs of each run side by side."""
    with plt.rc_context(STYLE):
        columns = sum(map(len, pairs.values()))
        figure, axes = plt.subplots(
            len(metrics), columns, figsize=(2.4 * columns, 2.2 * len(metrics)), sharex=True
        )
        for index, (row, metric) in enumerate(zip(axes, metrics, strict=True)):
            first = 0
            for run in reversed(list(pairs)):
                block = row[first : first + len(pairs[run])]
                _pairs_row(block, pairs[run], metric, None if index else RUN_LABELS[run])
                first += len(pairs[run])
        for ax in axes[:-1].flat:
            ax.set_xlabel("")
        _legend_of_first_filled(axes.flat)
    return figure


def _legend_of_first_filled(axes):
    """A legend in the first panel that has lines."""
    for ax in axes:
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
            return


def _pairs_row(axes, pairs, metric, heading=""):
    for ax, (name, arrays) in zip(axes, pairs.items(), strict=True):
        if heading is not None:
            ax.set_title(f"{heading}\n{name}" if heading else name)
        if isinstance(arrays, str):
            _message(ax, arrays)
            continue
        profile(ax, arrays, metric)
        if ax is not axes[0]:
            ax.set_ylabel("")


def embedding_figure(
    points: Mapping[str, np.ndarray], chains: Sequence[Sequence[str]], perplexity: float
) -> Figure:
    """Fig. 4: points in two dimensions and the chains that connect them.

    Args:
      points: coordinates ``[2]`` by label; labels that begin with θ are bends.
      chains: labels along each chain.
      perplexity: stated on the figure.
    """
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(5, 5))
        for color, chain in zip(COLORS, chains, strict=False):
            ax.plot(*np.array([points[label] for label in chain]).T, color=color, zorder=1)
        for label, (x, y) in points.items():
            bend = label.startswith("θ")
            ax.plot(
                x, y, "s" if bend else "o", color="0.35" if bend else "black", ms=5 if bend else 8
            )
            ax.annotate(label, (x, y), xytext=(6, 5), textcoords="offset points")
        ax.set(title=f"t-SNE, perplexity {perplexity:g}", xticks=[], yticks=[])
        ax.margins(0.15)
    return figure


def message_figure(text: str) -> Figure:
    """A figure that says why there is none."""
    with plt.rc_context(STYLE):
        figure, ax = plt.subplots(figsize=(5, 2))
        _message(ax, text)
        ax.set_axis_off()
    return figure


def _message(ax, text):
    ax.text(
        0.5,
        0.5,
        textwrap.fill(text, 30),
        transform=ax.transAxes,
        ha="center",
        va="center",
        wrap=True,
    )
    ax.grid(False)
