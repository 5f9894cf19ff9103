"""Figures of layer-wise barriers: a bar per layer, for each kind of paths."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import results
from mcjax.plots import styles

LAYER_WORDS = {"single": "alone", "from_input": "from input", "from_output": "from output"}
"""Words for `mcjax.results.LAYER_PATHS`."""
CHORD_WORDS = "over the chord of the two networks"
TITLES = {
    "single": "this layer alone", "from_input": "all up to this layer",
    "from_output": "this layer and all after it",
}  # fmt: skip
LONGEST = 28
"""Letters of a layer's name that are shown."""
ROW = 0.24
"""Height of a layer's row, in inches."""


def worse_words(metric: str) -> str:
    """Words for a barrier over the worse network."""
    end = "below the lower" if styles.is_percent(metric) else "over the higher"
    return f"{end} of the two networks"


def layers_figure(found: results.Layers, metric: str) -> Figure:
    """Barriers of one metric on all splits, one panel per kind of paths with a row per layer.

    Bars are the barrier over the chord between the metrics of the two networks, ticks that over
    the worse network. The first layer is at the top.

    Args:
      found: layer-wise barriers.
      metric: its name without a split, such as ``loss``; accuracies are drawn in percent.

    Raises:
      ValueError: no split has barriers of the metric.
    """
    splits = [split for split, own in found.paths["single"].barriers.items() if metric in own]
    if not splits:
        raise ValueError(f"no split has barriers of {metric}")
    width, rows = plt.rcParams["figure.figsize"][0], len(found.layer)
    narrow = width < 5
    size = (width, ROW * rows * (3 if narrow else 1) + (2.6 if narrow else 1.5))
    figure = Figure(figsize=size, layout="constrained")
    shape = (3, 1) if narrow else (1, 3)
    axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True).flat
    for ax, path in zip(axes, found.paths, strict=False):
        _bars(ax, found, path, metric, splits)
        ax.set_title(TITLES[path], fontsize="medium")
    words = "fall of the accuracy (%)" if styles.is_percent(metric) else f"barrier of the {metric}"
    figure.supxlabel(styles.plain(words), fontsize="medium")
    start, end = (styles.plain(str(name)) for name in found.name)
    figure.suptitle(f"layers move from {start} to {end}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _bars(ax: Axes, found: results.Layers, path: str, metric: str, splits: list[str]) -> None:
    """The bars of one kind of paths."""
    rows, thick = np.arange(len(found.layer)), 0.8 / len(splits)
    for index, split in enumerate(splits):
        heights, name = found.paths[path].barriers[split][metric], f"{split}_{metric}"
        places = rows + (index - (len(splits) - 1) / 2) * thick
        label = f"{styles.metric_label(name)}, {CHORD_WORDS}"
        ax.barh(places, styles.drawn(name, heights.over_chord), thick,
                color=styles.color(index), label=label)  # fmt: skip
        ax.plot(styles.drawn(name, heights.over_max), places, "|", color="black",
                ms=72 * ROW * thick, label=worse_words(name) if index == 0 else None)  # fmt: skip
    names = [styles.plain(_shortened(str(name))) for name in found.layer]
    ax.set_yticks(rows, names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.grid(False, axis="y")


def _shortened(name: str) -> str:
    """The end of a name, of at most `LONGEST` letters."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
