"""Figures of layer-wise barriers: a bar per layer, for each kind of paths."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import results
from mcjax.plots import styles

LAYER_WORDS = {"single": "alone", "from_input": "from input", "from_output": "from output"}
"""Words for `mcjax.results.LAYER_PATHS`."""
CHORD_WORDS = "over the chord between the networks"
"""The barrier that bars show."""
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
    return f"{'below the lower' if styles.is_percent(metric) else 'over the higher'} network"


def layers_figure(found: results.Layers, metric: str) -> Figure:
    """Barriers of one metric on all splits, one panel per kind of paths with a row per layer.

    Bars are the barrier over the chord between the metrics of the two networks, ticks that over
    the worse network. The first layer is at the top.

    Args:
      found: layer-wise barriers.
      metric: its name without a split, such as ``loss``; accuracies are drawn in percent.

    Raises:
      ValueError: no split has barriers of the metric.

    >>> heights = results.PairHeights(*np.array([[0.6, 0.1], [0.6, 0.1], [0.6, 0.1]]))
    >>> own = results.LayerPaths({}, barriers={"train": {"loss": heights}})
    >>> paths = dict.fromkeys(results.LAYER_PATHS, own)
    >>> names, layer = np.array(["a", "b"]), np.array(["conv", "dense"])
    >>> found = results.Layers(np.array([0.0, 1.0]), names, layer, results.Values({}), paths)
    >>> figure = layers_figure(found, "loss")
    >>> figure.get_suptitle(), figure.axes[1].get_title()
    ('layers move from a to b', 'all up to this layer')
    """
    splits = [split for split, own in found.paths["single"].barriers.items() if metric in own]
    if not splits:
        raise ValueError(f"no split has barriers of {metric}")
    figure, axes = _panels(len(found.layer))
    for ax, path in zip(axes, found.paths, strict=False):
        _bars(ax, found, path, metric, splits)
        ax.set_title(TITLES[path], fontsize="medium")
    top = max(ax.dataLim.x1 for ax in axes)
    names = [styles.plain(_shortened(str(name))) for name in found.layer]
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set(xlim=(0, 1.04 * top if top > 0 else 1), ylim=(len(names) - 0.5, -0.5))
    percent, narrow = styles.is_percent(metric), axes[0].get_gridspec().nrows > 1
    words = "fall of the accuracy (%)" if percent else styles.plain(f"barrier of the {metric}")
    words += f", {CHORD_WORDS}"
    axes[-1 if narrow else 1].set_xlabel(textwrap.fill(words, 24) if narrow else words)
    start, end = (styles.plain(str(name)) for name in found.name)
    figure.suptitle(f"layers move from {start} to {end}")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=1 if narrow else 3
    )
    return figure


def _panels(layers: int) -> tuple[Figure, np.ndarray]:
    """Three panels, side by side where there is room, with a row per layer."""
    width = plt.rcParams["figure.figsize"][0]
    rows = 1 if width > 5 else 3
    height = rows * (ROW * max(layers, 2) + 0.4) + 1.1
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, 3 // rows, squeeze=False, sharex=True, sharey=True)
    return figure, axes.ravel()


def _bars(ax: Axes, found: results.Layers, path: str, metric: str, splits: list[str]) -> None:
    """The bars of one kind of paths."""
    rows, thick = np.arange(len(found.layer)), 0.8 / len(splits)
    for index, split in enumerate(splits):
        heights, name = found.paths[path].barriers[split][metric], f"{split}_{metric}"
        places = rows + (index - (len(splits) - 1) / 2) * thick
        ax.barh(places, styles.drawn(name, heights.over_chord), thick,
                color=styles.color(index), label=styles.metric_label(name))  # fmt: skip
        ax.plot(styles.drawn(name, heights.over_max), places, "|", color="black",
                ms=72 * ROW * thick, label=worse_words(name) if index == 0 else None)  # fmt: skip
    ax.grid(False, axis="y")


def _shortened(name: str) -> str:
    """The end of a name, of at most `LONGEST` letters."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
