"""The colour scale that a surface's grid shares with everything drawn on it."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, ticker

from mcjax import results
from mcjax.plots import styles
from mcjax.results import ranges
from mcjax.typing import Float

TICK_STEPS = ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
"""Steps within a decade that a logarithmic colour bar's labels may use."""
ROUND_STEPS = (
    (1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
)  # fmt: skip
"""Steps within a decade that a colour bar may use."""


class Scale(NamedTuple):
    """Maps values of a metric, in the units that figures show, to colours.

    Attributes:
      levels: rising. Values above the last level are grey; those below the first have its colour.
      log: whether the scale is logarithmic.
      below: whether the grid or what is drawn on it has values below the first level.
      cmap: grey above the last level and for values that are not finite.
      norm: from the first level to the last.
    """

    levels: Float[np.ndarray, " levels"]
    log: bool
    below: bool
    cmap: colors.Colormap
    norm: colors.Normalize

    def seen(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Raises values below the scale to its lower end, so that zero has a colour too."""
        return np.maximum(values, self.levels[0])

    def ticks(self, most: int) -> tuple[Float[np.ndarray, " ticks"], list[str]]:
        """Positions and texts of a colour bar's labels; at most about ``most``."""
        levels = self.levels
        if self.log:
            at = _log_ticks(levels, most, self.below)
        else:
            at = ticker.MaxNLocator(min(most, 8)).tick_values(levels[0], levels[-1])
            at = np.asarray(at)
            at = at[(at >= levels[0]) & (at <= levels[-1])]
        texts = styles.numbers(at)
        return at, [f"${{\\leq}}$ {texts[0]}", *texts[1:]] if self.below else texts


def make(found: results.Surface, metric: str, clip: float | None = None) -> Scale:
    """The scale for a metric of a surface, its points and its iterates.

    The scale of a loss is logarithmic if no value is below zero.

    Args:
      found: a surface.
      metric: for example ``train_loss``.
      clip: the upper end, in the units that are drawn. By default as
        `mcjax.results.ranges.drawn` chooses it.
    """
    grid = styles.values(found.metrics, metric, "surface")
    own = styles.values(found.networks.metrics, metric, "surface's points")
    passed = results.named(found.iterates.metrics) if found.iterates else {}
    passed = styles.drawn(metric, passed.get(metric, np.zeros(0)))
    low, high, log = ranges.drawn(metric, grid, own, passed, clip)
    levels = _levels(low, high) if log else _linear_levels(low, high)
    cmap = plt.get_cmap().with_extremes(over="0.82", bad="0.82")
    norm = (colors.LogNorm if log else colors.Normalize)(levels[0], levels[-1])
    shown = np.concatenate([grid.ravel(), own, passed])
    return Scale(levels, log, bool((shown < levels[0]).any()), cmap, norm)


def round_ticks(low: float, high: float) -> Float[np.ndarray, " ticks"]:
    """A few round numbers from ``low`` to ``high``, for a logarithmic colour bar."""
    if high < 5 * low:
        found = np.asarray(ticker.MaxNLocator(5).tick_values(low, high))
        return found[(found >= low) & (found <= high)]
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found = np.zeros(0)
    for steps in ROUND_STEPS:
        found = np.array([s * 10.0**d for d in decades for s in steps])
        found = found[(found >= low) & (found <= high)]
        if len(found) >= 4:
            break
    return found[:: -(-len(found) // 8)]


def _log_ticks(levels: Float[np.ndarray, " levels"], most: int, first: bool) -> np.ndarray:
    """Levels at the same steps of every decade, as many as there is room for.

    Args:
      levels: rising and positive.
      most: of labels, evenly spaced, for which there is room.
      first: whether the first level must be among them.
    """
    along = np.log(levels / levels[0]) / np.log(levels[-1] / levels[0])
    mantissas = np.round(levels / 10.0 ** np.floor(np.log10(levels) + 1e-9), 3)
    for steps in TICK_STEPS:
        chosen = np.isin(mantissas, steps)
        if first:
            chosen = (chosen & (along > 0.7 / most)) | (along == 0)
        if chosen.sum() >= 3 and np.diff(along[chosen]).min() > 0.7 / most:
            return levels[chosen]
    return levels[:: -(-len(levels) // most)]


def _levels(low: float, high: float) -> np.ndarray:
    """Round levels from at most ``low`` to exactly ``high``, about equally spaced in log scale."""
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


def _linear_levels(low: float, high: float) -> np.ndarray:
    """Twelve levels from ``low`` to ``high``, which may be equal."""
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        low, high = (high - 0.05 * abs(high), high) if high else (0.0, 1.0)
    return np.linspace(low, high, 12)
