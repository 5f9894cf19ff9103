"""The barrier test (Section 5, footnote 1) and three measures of a barrier's height."""

import heapq
import itertools

import numpy as np

from mcjax.results import Heights, Metrics, PairHeights
from mcjax.typing import Num


def heights(losses: Num[np.ndarray, "..."], t: Num[np.ndarray, "..."]) -> Heights:
    """Barrier heights of a path, in units of the loss.

    NaN counts as an infinitely high loss. If an end is not finite, all heights are NaN.

    Args:
      losses: ``[P]``, along the path; the first and last are the ends.
      t: ``[P]``, positions along the path, rising from 0 to 1.

    Raises:
      ValueError: there are fewer than two points, or the shapes differ.

    >>> heights(np.array([1.0, 3.0, 2.0]), np.array([0.0, 0.5, 1.0]))
    Heights(over_max=1.0, over_mean=1.5, over_chord=1.5)
    """
    losses, t = np.asarray(losses, np.float64), np.asarray(t, np.float64)
    if losses.shape != t.shape or losses.ndim != 1 or len(losses) < 2:
        raise ValueError(f"losses {losses.shape} and t {t.shape}: expected one shape [P], P >= 2")
    losses = np.where(np.isnan(losses), np.inf, losses)
    start, end = losses[0], losses[-1]
    if not np.isfinite([start, end]).all():
        return Heights(np.nan, np.nan, np.nan)
    top = losses.max()
    chord = (1 - t) * start + t * end
    return Heights(
        float(top - max(start, end)),
        float(top - (start + end) / 2),
        float(max((losses - chord).max(), 0.0)),
    )


def of_paths(
    metrics: Metrics, ends: Metrics, t: Num[np.ndarray, " points"]
) -> dict[str, dict[str, PairHeights]]:
    """Barrier heights of N paths, for every loss, error and accuracy.

    Args:
      metrics: ``metrics[split][name]`` of shape ``[N, points]``.
      ends: the metrics that the heights are measured from, of shape ``[N, 2]``; a path need not
        end there.
      t: rising from 0 to 1, both inclusive or not.

    >>> metrics = {"train": {"loss": np.array([[0.9], [0.2]])}}  # half way along two paths
    >>> ends = {"train": {"loss": np.array([[0.1, 0.3], [0.1, 0.3]])}}
    >>> of_paths(metrics, ends, np.array([0.5]))["train"]["loss"].over_max.round(2)
    array([0.6, 0. ])
    """
    along = np.concatenate([[0.0], t, [1.0]])
    found: dict[str, dict[str, PairHeights]] = {}
    for split, of_split in metrics.items():
        for name, values in of_split.items():
            if sign := worse(name):
                start, end = np.split(ends[split][name], 2, axis=1)
                whole = sign * np.concatenate([start, values, end], axis=1)
                each = np.array([heights(row, along) for row in whole])
                found.setdefault(split, {})[name] = PairHeights(*each.T)
    return found


def worse(metric: str) -> int:
    """The direction in which a metric gets worse: -1 for an accuracy, 1 for a loss or an error.

    Perplexity and calibration error, ``ece``, count as errors.

    Returns:
      0 for any other metric, for which there is no barrier.

    >>> worse("loss"), worse("ece"), worse("top5_accuracy"), worse("margin")
    (1, 1, -1, 0)
    """
    if metric.endswith("accuracy"):
        return -1
    return int(metric.endswith(("loss", "error", "perplexity")) or metric == "ece")


def minimax_height(
    surface: Num[np.ndarray, "rows columns"], start: tuple[int, int], end: tuple[int, int]
) -> float:
    """The smallest possible maximum of a path over a grid; steps may be diagonal.

    Two points lie in one basin of the surface if some path connects them without rising over the
    higher of the two, that is, if this height is at most the larger of their losses.

    Args:
      surface: losses; a path cannot pass a value that is not finite.
      start: row and column of the first point.
      end: row and column of the second point.

    Returns:
      The largest loss on the best path, both ends included; infinity if there is no path.

    >>> minimax_height(np.array([[0.0, 9.0, 0.0], [0.0, 2.0, 1.0]]), (0, 0), (0, 2))
    2.0
    """
    surface = np.where(np.isfinite(surface), surface, np.inf)
    reached: set[tuple[int, int]] = set()
    waiting = [(float(surface[start]), start)]
    while waiting:
        height, here = heapq.heappop(waiting)
        if here == end:
            return height
        if here in reached:
            continue
        reached.add(here)
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            there = (here[0] + down, here[1] + right)
            inside = 0 <= there[0] < surface.shape[0] and 0 <= there[1] < surface.shape[1]
            if inside and there not in reached:
                heapq.heappush(waiting, (max(height, float(surface[there])), there))
    return float("inf")
