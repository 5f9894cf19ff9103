"""The matrix of the barriers between every two modes."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax.plots import colour_scale, styles

FAILED = {"fc": "0.9", "ec": "0.6", "hatch": "////", "lw": 0}


def barrier_matrix(
    curves: Sequence[tuple[str, str, float]], segments: Sequence[tuple[str, str, float]]
) -> Figure:
    """A figure of `barriers`, as large as its cells ask for."""
    count = len({name for pair in (*curves, *segments) for name in pair[:2]})
    side = min(2.6 + 0.62 * count, plt.rcParams["figure.figsize"][0])
    figure = Figure(figsize=(side, 0.85 * side), layout="constrained")
    ax = barriers(figure.subplots(), curves, segments)
    handles, names = ax.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center")
    return figure


def barriers(
    ax: Axes,
    curves: Sequence[tuple[str, str, float]],
    segments: Sequence[tuple[str, str, float]],
) -> Axes:
    """The barriers between every two modes: curves below the diagonal, segments above it.

    Every mode that is named has its row. A pair without a height is hatched, and has an entry in
    the legend; a pair that is not named stays white.

    Args:
      ax: where to draw.
      curves: mode, mode and the curve's height over the higher end, not a number where it failed;
        those of one pair (seeds) that did not fail are averaged.
      segments: likewise the segment's.
    """
    names = list(dict.fromkeys(name for pair in (*curves, *segments) for name in pair[:2]))
    heights = _heights(names, curves, segments)
    image = _image(ax, np.array([[heights.get((r, c), np.nan) for c in range(len(names))]
                                 for r in range(len(names))]))  # fmt: skip
    digits = _digits_of_a_cell(ax, len(names))
    texts = dict(zip(heights, styles.numbers(list(heights.values()), 2, digits), strict=True))
    for (row, column), height in heights.items():
        if np.isnan(height):
            ax.add_patch(patches.Rectangle((column - 0.5, row - 0.5), 1, 1, **FAILED))
            continue
        dark = height > 0 and image.norm(height) > 0.55
        ax.text(column, row, texts[row, column] if height > 0 else "none", ha="center",
                va="center", fontsize="small", color="white" if dark else "black")  # fmt: skip
    if any(np.isnan(height) for height in heights.values()):
        ax.fill_between([], [], [], label="failed: no barrier is known", **FAILED)
    shown = [styles.plain(name) for name in names]
    ax.set_xticks(range(len(names)), shown, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(len(names)), shown)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set_title("barriers: segments above\nthe diagonal, curves below it")
    return ax


def _digits_of_a_cell(ax, count):
    """How many significant digits fit, beside the point and a zero."""
    cell = ax.get_window_extent().width / ax.figure.dpi / count
    return int(np.clip(cell / 0.055 - 2, 2, 5))


def _image(ax, heights):
    """The coloured cells and their colour bar, where any barrier is above zero."""
    positive = heights[np.isfinite(heights) & (heights > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    norm = colors.LogNorm(low, max(high, 1.01 * low))
    cmap = plt.get_cmap().reversed()
    image = ax.imshow(np.where(heights > 0, heights, np.nan), norm=norm, cmap=cmap)
    if positive.size:
        bar = ax.figure.colorbar(image, ax=ax, label="training loss over the higher end")
        at = colour_scale.round_ticks(low, max(high, 1.01 * low))
        bar.set_ticks(at, labels=styles.numbers(at))
        bar.minorticks_off()
    return image


def _heights(names, curves, segments):
    """Mean heights by row and column, not a number where all failed."""
    cells: dict[tuple[int, int], list[float]] = {}
    for below, pairs in ((True, curves), (False, segments)):
        for start, end, height in pairs:
            low, high = sorted((names.index(start), names.index(end)))
            cells.setdefault((high, low) if below else (low, high), []).append(height)
    known = {cell: [h for h in values if not np.isnan(h)] for cell, values in cells.items()}
    return {cell: np.mean(values) if values else np.nan for cell, values in known.items()}
