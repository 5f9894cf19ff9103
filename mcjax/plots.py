"""Figures from arrays, never from live state. Each function draws into axes and returns them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PATH_STYLES = {
    "curve": {"color": COLORS[0], "linestyle": "-", "label": "curve"},
    "segment": {"color": COLORS[1], "linestyle": "--", "label": "segment"},
}
STYLE = {
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
METRIC_LABELS = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy (%)",
    "validation_accuracy": "validation accuracy (%)",
}


def profile(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    metric: str,
    paths: Sequence[str] = tuple(PATH_STYLES),
) -> Axes:
    """One metric along one or more paths.

    Args:
      ax: where to draw.
      arrays: ``t`` and ``PATH_METRIC`` as in ``curve.npz``.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      paths: which of ``curve`` and ``segment`` to draw.
    """
    scale = 100 if metric.endswith("accuracy") else 1
    for path in paths:
        ax.plot(arrays["t"], scale * arrays[f"{path}_{metric}"], **PATH_STYLES[path])
    ax.set_xlabel("t")
    ax.set_ylabel(METRIC_LABELS.get(metric, metric))
    ax.set_xlim(0, 1)
    return ax


def curve_figure(arrays: Mapping[str, np.ndarray], title: str) -> Figure:
    """All metrics of a curve and its segment, one panel each."""
    metrics = [m for m in METRIC_LABELS if f"curve_{m}" in arrays]
    rows = -(-len(metrics) // 2)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, 2, figsize=(7, 2.5 * rows), squeeze=False, sharex=True)
        for ax, metric in zip(axes.flat, metrics, strict=False):
            profile(ax, arrays, metric)
        for ax in axes.flat[len(metrics) :]:
            ax.set_axis_off()
        axes.flat[0].legend()
        figure.suptitle(title)
    return figure


def save(figure: Figure, stem: Path) -> Path:
    """Saves a figure as PNG and PDF and closes it; returns the PNG's path."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix, undated in ((".pdf", {"CreationDate": None}), (".png", {})):
        temporary = stem.with_name(f".{stem.name}.tmp{suffix}")
        figure.savefig(temporary, dpi=160, metadata=undated)
        temporary.replace(stem.with_name(stem.name + suffix))
    plt.close(figure)
    return stem.with_name(stem.name + ".png")
