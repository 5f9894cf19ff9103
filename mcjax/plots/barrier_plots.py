"""The matrix of barriers between all pairs of modes."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mcjax.plots import colour_scale, styles
from mcjax.typing import Float

TITLE = "barriers: segments above\nthe diagonal, curves below it"
LABEL = "training loss over the higher end"
FAILED: dict[str, Any] = {"fc": "0.9", "ec": "0.6", "hatch": "////", "lw": 0}


def barrier_matrix(
    curves: Sequence[tuple[str, str, float]], segments: Sequence[tuple[str, str, float]]
) -> Figure:
    """A figure of `barriers`, as large as its number of modes needs.

    Args:
      curves: as in `barriers`.
      segments: likewise.

    >>> figure = barrier_matrix([("a", "b", 0.01)], [("a", "b", 2.3)])  # a curve and a segment
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.01', '2.3']
    """
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
    title: str = TITLE,
    label: str = LABEL,
) -> Axes:
    """Barriers between pairs of modes: curves below the diagonal, segments above it.

    Each mode has a row. Pairs that failed are hatched and have an entry in the legend; missing
    pairs stay white.

    Args:
      ax: where to draw.
      curves: two modes and their curve's height over the higher end, NaN if it failed. Several
        heights of a pair (seeds) are averaged, without NaN.
      segments: likewise for segments.
      title: of the axes.
      label: of the colour bar: what the heights are.

    >>> ax = barriers(Figure().subplots(), [("a", "b", 0.01)], [("a", "b", np.nan)])
    >>> [label.get_text() for label in ax.get_xticklabels()], ax.get_legend_handles_labels()[1]
    (['a', 'b'], ['failed: no barrier is known'])
    """
    names = list(dict.fromkeys(name for pair in (*curves, *segments) for name in pair[:2]))
    heights = _heights(names, curves, segments)
    image = _image(ax, np.array([[heights.get((r, c), np.nan) for c in range(len(names))]
                                 for r in range(len(names))]), label)  # fmt: skip
    digits = _digits_of_a_cell(ax, len(names))
    texts = dict(zip(heights, styles.numbers(list(heights.values()), 2, digits), strict=True))
    for (row, column), height in heights.items():
        if np.isnan(height):
            ax.add_patch(patches.Rectangle((column - 0.5, row - 0.5), 1, 1, **FAILED))
            continue
        dark = bool(height > 0 and np.asarray(image.norm(np.asarray(height))) > 0.55)
        ax.text(column, row, texts[row, column] if height > 0 else "none", ha="center",
                va="center", fontsize="small", color="white" if dark else "black")  # fmt: skip
    if any(np.isnan(height) for height in heights.values()):
        ax.fill_between([], [], [], label="failed: no barrier is known", **FAILED)
    shown = [styles.plain(name) for name in names]
    ax.set_xticks(range(len(names)), shown, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(len(names)), shown)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set_title(title)
    return ax


def _digits_of_a_cell(ax: Axes, count: int) -> int:
    """How many significant digits fit into a cell, besides the point and a zero."""
    cell = ax.get_window_extent().width / ax.figure.dpi / count
    return int(np.clip(cell / 0.055 - 2, 2, 5))


def _image(ax: Axes, heights: Float[np.ndarray, "modes modes"], label: str) -> AxesImage:
    """Draws the coloured cells, and a colour bar if any barrier is above zero."""
    positive = heights[np.isfinite(heights) & (heights > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    if high == low:  # a scale of one number has no round ones
        low = high / 10
    norm = colors.LogNorm(low, max(high, 1.01 * low))
    cmap = plt.get_cmap().reversed()
    image = ax.imshow(np.where(heights > 0, heights, np.nan), norm=norm, cmap=cmap)
    if positive.size:
        bar = ax.figure.colorbar(image, ax=ax, label=label)
        at = colour_scale.round_ticks(low, max(high, 1.01 * low))
        bar.set_ticks(at.tolist(), labels=styles.numbers(at))
        bar.minorticks_off()
    return image


def _heights(
    names: list[str],
    curves: Sequence[tuple[str, str, float]],
    segments: Sequence[tuple[str, str, float]],
) -> dict[tuple[int, int], float]:
    """Mean heights by row and column; NaN if all failed."""
    cells: dict[tuple[int, int], list[float]] = {}
    for below, pairs in ((True, curves), (False, segments)):
        for start, end, height in pairs:
            low, high = sorted((names.index(start), names.index(end)))
            cells.setdefault((high, low) if below else (low, high), []).append(height)
    known = {cell: [h for h in values if not np.isnan(h)] for cell, values in cells.items()}
    return {cell: float(np.mean(values)) if values else np.nan for cell, values in known.items()}
