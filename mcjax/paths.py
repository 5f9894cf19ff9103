"""Profiles of paths: metrics along a curve or segment, and the numbers that sum them up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mcjax import barriers, curves, evaluation

Arrays = dict[str, np.ndarray]


def profile(
    evaluator: evaluation.Evaluator,
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: np.ndarray,
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> Arrays:
    """Metrics along ``phi(t)``.

    Args:
      evaluator: for the network and data.
      curve: the family.
      control_points: ``(start, *bends, end)``.
      t: ``[P]`` rising from 0 to 1.
      state: the network's state.
      progress: told how many points are done.

    Returns:
      Arrays by name: ``SPLIT_METRIC`` of shape ``[P]``, ``l2`` (``||phi(t)||^2``), ``arc_length``
      (from the start, in units of weight distance), and what `summarize` adds.
    """
    parts = []
    coefficients = np.stack([np.asarray(curve.coefficients(np.float32(x))) for x in t])
    for first, metrics in evaluator.blocks(control_points, coefficients, state):
        parts.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    arrays = {
        f"{split}_{name}" if split != "params" else name: np.concatenate(
            [p[split][name] for p in parts]
        )
        for split in parts[0]
        for name in parts[0][split]
    }
    lengths = curves.arc_lengths(curve, control_points, np.asarray(t, np.float32))
    arrays["arc_length"] = np.asarray(lengths, np.float64)
    return arrays | summarize(arrays, t)


def summarize(arrays: Arrays, t: np.ndarray) -> Arrays:
    """Means and barrier heights of every metric along a path.

    Returns:
      For every ``SPLIT_METRIC`` its ``_mean`` over uniform ``t`` and its ``_arc_mean`` over the
      path's length, both by the trapezoid rule; for every loss the heights ``_over_max``,
      ``_over_mean`` and ``_over_chord`` of `mcjax.barriers.heights`.
    """
    found, length = {}, arrays["arc_length"]
    for name in [n for n in arrays if n.startswith(("train_", "validation_"))]:
        values = arrays[name]
        found[f"{name}_mean"] = np.trapezoid(values, t)
        weighted = np.trapezoid(values, length)
        found[f"{name}_arc_mean"] = weighted / length[-1] if length[-1] > 0 else values[0]
        if name.endswith("_loss"):
            heights = barriers.heights(values, t)
            found |= {f"{name}_{how}": x for how, x in heights._asdict().items()}
    return {name: np.asarray(value) for name, value in found.items()}
