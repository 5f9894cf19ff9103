"""The colour scale of a surface: one for the grid and for everything that is drawn on it."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, ticker

from mcjax import results
from mcjax.plots import styles

ROUND_STEPS = (
    (1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
)  # fmt: skip
"""What a colour bar may count a decade in."""


class Scale(NamedTuple):
    """From values of a metric, as figures show them, to colours.

    Attributes:
      levels: rising; values over the last one are grey.
      log: whether it is logarithmic. What is not above the first level has the lowest colour.
      below: whether the grid or what is on it has values below the first level.
      cmap: grey over the last level and for what is not finite.
      norm: from the first level to the last.
    """

    levels: np.ndarray
    log: bool
    below: bool
    cmap: colors.Colormap
    norm: colors.Normalize

    def seen(self, values: np.ndarray) -> np.ndarray:
        """Values with what is below the scale raised to its lower end: zero has a colour, too."""
        return np.maximum(values, self.levels[0])

    def ticks(self, most: int) -> tuple[np.ndarray, list[str]]:
        """Where a colour bar has labels, and which; at most about so many."""
        levels = self.levels
        if self.log:
            at = levels[:: -(-len(levels) // most)]
        else:
            at = ticker.MaxNLocator(min(most, 8)).tick_values(levels[0], levels[-1])
            at = np.asarray(at)
            at = at[(at >= levels[0]) & (at <= levels[-1])]
        texts = styles.numbers(at)
        return at, [f"${{\\leq}}$ {texts[0]}", *texts[1:]] if self.below else texts


def make(found: results.Surface, metric: str, clip: float | None = None) -> Scale:
    """The scale for a metric of a surface and of the points and iterates on it.

    Losses are logarithmic if none of them is below zero.

    Args:
      found: a surface.
      metric: for example ``train_loss``.
      clip: the upper end, as drawn; by default `default_clip` for losses, and the largest value of
        other metrics.
    """
    grid = styles.values(found.metrics, metric, "surface")
    own = styles.values(found.networks.metrics, metric, "surface's points")
    passed = results.named(found.iterates.metrics) if found.iterates else {}
    passed = styles.drawn(metric, passed.get(metric, np.zeros(0)))
    shown = np.concatenate([grid.ravel(), own, passed])
    shown, loss = shown[np.isfinite(shown)], styles.is_loss(metric)
    if clip is None:
        clip = default_clip(grid, own) if loss else shown.max(initial=-np.inf)
        clip = clip if np.isfinite(clip) else 1.0
    log = bool(loss and clip > 0 and not (shown < 0).any())
    low = shown[shown > 0 if log else slice(None)].min(initial=clip)
    levels = _levels(max(low, 1e-9 * clip), clip) if log else _linear_levels(low, clip)
    cmap = plt.get_cmap().with_extremes(over="0.82", bad="0.82")
    norm = (colors.LogNorm if log else colors.Normalize)(levels[0], levels[-1])
    return Scale(levels, log, bool((shown < levels[0]).any()), cmap, norm)


def default_clip(values: np.ndarray, points: np.ndarray) -> float:
    """An upper end of the colour scale that keeps the colours for the part that matters.

    Args:
      values: losses on the grid.
      points: losses at the points that are networks, which are never clipped.

    Returns:
      The largest finite loss; or, where that is smaller, the larger of the losses' third quartile
      and ten times the highest of these points, rounded up to one digit. Where losses are below
      zero all are measured from the lowest one.
    """
    finite, points = values[np.isfinite(values)], points[np.isfinite(points)]
    if not finite.size:
        return 1.0
    lowest = min(0.0, finite.min(), points.min(initial=0.0))
    highest = points.max(initial=lowest)
    enough = max(np.quantile(finite, 0.75) - lowest, 10 * (highest - lowest))
    top = max(finite.max(), highest)
    if not enough > 1e-30:  # most losses are zero: nothing says what matters
        return float(top)
    digit = 10 ** np.floor(np.log10(enough))
    return float(min(top, lowest + digit * np.ceil(enough / digit)))


def round_ticks(low: float, high: float) -> np.ndarray:
    """A few round numbers from ``low`` to ``high``, for a logarithmic colour bar."""
    if high < 5 * low:
        found = np.asarray(ticker.MaxNLocator(5).tick_values(low, high))
        return found[(found >= low) & (found <= high)]
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ROUND_STEPS:
        found = np.array([s * 10.0**d for d in decades for s in steps])
        found = found[(found >= low) & (found <= high)]
        if len(found) >= 4:
            break
    return found[:: -(-len(found) // 8)]


def _levels(low, high):
    """Round levels from at most ``low`` to exactly ``high``, equally spaced in order of size."""
    if high < 1.05 * low:
        return np.geomspace(0.95 * low, 1.05 * low, 9)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ROUND_STEPS:
        levels = np.array([s * 10.0**d for d in decades for s in steps])
        inside = levels[(levels > 1.001 * low) & (levels < 0.97 * high)]
        if len(inside) >= 8:
            first = levels[levels <= 1.001 * low].max(initial=0) or low
            return np.concatenate([[first], inside, [high]])
    return np.geomspace(low, high, 11)


def _linear_levels(low, high):
    """Twelve levels from ``low`` to ``high``, which may be equal."""
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        low, high = (high - 0.05 * abs(high), high) if high else (0.0, 1.0)
    return np.linspace(low, high, 12)
