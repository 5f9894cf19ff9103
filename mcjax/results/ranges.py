"""The range of a metric that figures of a surface show."""

from typing import NamedTuple

import numpy as np

from mcjax.typing import Float, Num


def is_loss(metric: str) -> bool:
    """Whether a metric is a loss, which surfaces show on a log scale if they can.

    >>> is_loss("train_loss"), is_loss("train_accuracy")
    (True, False)
    """
    return metric.endswith("loss")


class Range(NamedTuple):
    """What of a metric is shown.

    Attributes:
      low: the lowest value; for a log scale the lowest above zero, at least ``1e-9 * high``.
      high: the highest value that has a colour.
      log: whether the scale is logarithmic.

    >>> drawn("train_accuracy", np.array([0.1, 0.9]), np.array([0.95]))
    Range(low=0.1, high=0.95, log=False)
    """

    low: float
    high: float
    log: bool

    def share(self, values: Num[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Positions in the range: 0 at its low end, 1 at its high end.

        Values far above the range, or not finite, are all at one position above 1: that of
        ``10 * high`` on a log scale, and 2 otherwise.

        >>> Range(0.01, 1.0, True).share(np.array([0.0, 0.1, 1.0, 10.0, np.inf]))
        array([0. , 0.5, 1. , 1.5, 1.5])
        """
        low, high = (np.log10(self.low), np.log10(self.high)) if self.log else self[:2]
        width = high - low if high > low else 1.0
        top = high + (1.0 if self.log else width)
        finite = np.where(np.isfinite(values), values, np.inf)
        if self.log:
            finite = np.log10(np.maximum(finite, self.low))
        return (np.minimum(finite, top) - low) / width

    def value(self, share: Num[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Inverts `share` within the range.

        >>> Range(0.01, 1.0, True).value(np.array([0.0, 0.5, 1.0]))
        array([0.01, 0.1 , 1.  ])
        """
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


def drawn(
    metric: str,
    grid: Num[np.ndarray, "..."],
    points: Num[np.ndarray, " points"],
    others: Num[np.ndarray, " others"] | None = None,
    clip: float | None = None,
) -> Range:
    """The range of a metric of a surface.

    The scale of a loss is logarithmic if no value is below zero.

    Args:
      metric: for example ``train_loss``.
      grid: values on the grid.
      points: values at the points that are networks.
      others: values at what else is drawn, such as iterates.
      clip: the upper end; by default `default_clip` for losses, and the largest value for others.

    >>> drawn("train_loss", np.array([0.1, 0.2, 0.4, 90.0]), np.array([0.1]))
    Range(low=0.1, high=30.0, log=True)
    """
    shown = np.concatenate([grid.ravel(), points, np.zeros(0) if others is None else others])
    shown, loss = shown[np.isfinite(shown)], is_loss(metric)
    if clip is None:
        clip = default_clip(grid, points) if loss else shown.max(initial=-np.inf)
        clip = clip if np.isfinite(clip) else 1.0
    log = bool(loss and clip > 0 and not (shown < 0).any())
    low = shown[shown > 0 if log else slice(None)].min(initial=clip)
    return Range(float(max(low, 1e-9 * clip) if log else low), float(clip), log)


def default_clip(values: Num[np.ndarray, "..."], points: Num[np.ndarray, " points"]) -> float:
    """An upper end of the colour scale that leaves most colours for low losses.

    Args:
      values: losses on the grid.
      points: losses at the points that are networks, which are never clipped.

    Returns:
      The larger of the losses' third quartile and ten times the highest of these points, rounded
      up to one digit, but at most the largest finite loss. If losses are below zero, all are
      measured from the lowest one.

    >>> default_clip(np.array([0.1, 0.2, 0.4, 90.0]), np.array([0.1]))
    30.0
    """
    finite, points = values[np.isfinite(values)], points[np.isfinite(points)]
    if not finite.size:
        return 1.0
    lowest = min(0.0, finite.min(), points.min(initial=0.0))
    highest = points.max(initial=lowest)
    enough = max(np.quantile(finite, 0.75) - lowest, 10 * (highest - lowest))
    top = max(finite.max(), highest)
    if not enough > 1e-30:  # most losses are zero
        return float(top)
    digit = 10 ** np.floor(np.log10(enough))
    return float(min(top, lowest + digit * np.ceil(enough / digit)))
