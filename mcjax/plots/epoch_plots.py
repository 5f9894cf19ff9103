"""Figures of interpolations between the epochs of one run, or of two: barriers of every two."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import results
from mcjax.plots import styles
from mcjax.typing import Float, Integer

TICKS = 6
"""The most epochs that are named along an inch of an axis."""
LOWEST = 1.5
"""The least height of a row, in inches, for the label of its colour bar."""


class _Block(NamedTuple):
    """Indices of the networks in the rows and in the columns of a panel."""

    rows: Integer[np.ndarray, " rows"]
    columns: Integer[np.ndarray, " columns"]


def epochs_figure(found: results.Interpolation, metric: str) -> Figure:
    """Barriers over the worse end between every two epochs, a row of panels per split.

    With one run there is one panel, the run with itself. With two there are three: the first run
    with itself, the first (rows) with the second (columns), and the second with itself.

    Args:
      found: with ``epoch``.
      metric: its name without a split, such as ``loss``; accuracies are drawn in percent.

    Raises:
      ValueError: the networks are not epochs of one or two runs, or no split has barriers of the
        metric.

    >>> heights = results.PairHeights(*np.array([[0.6], [0.65], [0.65]]))
    >>> paths = results.PairPaths(np.array([[0, 1]]), {}, barriers={"train": {"loss": heights}})
    >>> names, epoch = np.array(["run@0", "run@10"]), np.array([0.0, 10.0])
    >>> found = results.Interpolation(
    ...     np.linspace(0, 1, 3), names, results.Values({}), {"segment": paths}, epoch=epoch)
    >>> figure = epochs_figure(found, "loss")
    >>> figure.axes[0].get_xlabel(), figure.axes[-1].get_ylabel().splitlines()
    ('epoch of run', ['training loss', 'over the higher end'])
    """
    if found.epoch is None:
        raise ValueError("the networks are not epochs of one run, or of two")
    barriers = found.paths["segment"].barriers
    names = [f"{split}_{metric}" for split, own in barriers.items() if metric in own]
    if not names:
        raise ValueError(f"no split has barriers of {metric}")
    blocks = _blocks(found)
    width = plt.rcParams["figure.figsize"][0] * (1 if len(blocks) > 1 else 0.6)
    side = width / (len(blocks) + 0.4)
    height = 0.1 + max(0.95 * side, LOWEST) * len(names)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(names), len(blocks), squeeze=False)
    for name, row in zip(names, axes, strict=True):
        _row(found, name, blocks, row)
        for block, ax in zip(blocks, row, strict=True):
            _ticks(ax, found, block, int(TICKS * side))
    return figure


def _blocks(found: results.Interpolation) -> list[_Block]:
    group = np.zeros(len(found.name), int) if found.group is None else found.group
    first, second = (np.flatnonzero(group == k) for k in (0, 1))
    if not second.size:
        return [_Block(first, first)]
    return [_Block(first, first), _Block(first, second), _Block(second, second)]


def _row(
    found: results.Interpolation, metric: str, blocks: Sequence[_Block], axes: np.ndarray
) -> None:
    """The panels of one metric, with one colour scale from zero."""
    heights = np.maximum(styles.drawn(metric, found.matrix(metric)), 0)
    top = float(np.nanmax(heights)) or 1.0
    look: dict[str, Any] = {
        "cmap": plt.get_cmap().reversed(),
        "vmin": 0,
        "vmax": top,
        "origin": "lower",
    }
    images = [
        ax.imshow(heights[np.ix_(*block)], **look) for block, ax in zip(blocks, axes, strict=True)
    ]
    where = "below the lower end" if styles.is_percent(metric) else "over the higher end"
    label = f"{styles.metric_label(metric)}\n{where}"
    axes[0].figure.colorbar(images[0], ax=list(axes), label=label)


def _ticks(ax: Axes, found: results.Interpolation, block: _Block, most: int) -> None:
    """Names at most ``most`` epochs along each axis."""
    epochs = (_epochs(found)[indices] for indices in block)
    for axis, indices, epoch in zip((ax.yaxis, ax.xaxis), block, epochs, strict=True):
        at = np.arange(0, len(indices), -(-len(indices) // most))
        axis.set_ticks(at.tolist(), labels=[f"{x:.4g}" for x in epoch[at]])
        axis.set_label_text(f"epoch of {styles.plain(_run(str(found.name[indices[0]])))}")
    ax.grid(False)


def _epochs(found: results.Interpolation) -> Float[np.ndarray, " K"]:
    assert found.epoch is not None  # as `epochs_figure` has checked
    return found.epoch


def _run(name: str) -> str:
    """The run in a network's name, ``RUN@EPOCH``."""
    return name.rpartition("@")[0] or name
