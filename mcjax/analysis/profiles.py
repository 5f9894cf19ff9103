"""Profiles of paths: metrics along a curve or segment, and the numbers that sum them up."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.analysis import barriers
from mcjax.engine import evaluation

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
    for first, metrics in evaluator.blocks(control_points, coefficients(curve, t), state):
        parts.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    arrays = {
        f"{split}_{name}" if split != "params" else name: np.concatenate(
            [p[split][name] for p in parts]
        )
        for split in parts[0]
        for name in parts[0][split]
    }
    measure = jax.jit(lambda points, t: curves.arc_lengths(curve, points, t))
    lengths = measure(tuple(control_points), np.asarray(t, np.float32))
    arrays["arc_length"] = np.asarray(lengths, np.float64)
    return arrays | summarize(arrays, t)


def end_slopes(
    evaluator: evaluation.Evaluator,
    curve: curves.Curve,
    control_points: Sequence[Any],
    state: Any,
    step: float = 1e-3,
) -> Arrays:
    """Directional derivatives of every loss at the two ends, along the curve and into it.

    At an end that is a local minimum none of them is negative. Second-order one-sided differences
    with steps ``step`` and ``2 step`` in ``t``; their difference and the rounding of float32 losses
    make the error: 1e-6 of the loss, for rounded logits, and 6e-8, below which a confident
    example's loss is lost in ``log(1 + x)``.

    Returns:
      ``SPLIT_loss_start_slope`` and ``_end_slope`` (loss per unit of weight distance) and the
      same names with ``_error`` behind.
    """
    inwards = step * np.array([0, 1, 2, 4])
    t = np.concatenate([inwards, 1 - inwards])
    metrics = evaluator(control_points, coefficients(curve, t), state)
    speed = jax.jit(
        lambda points, t: jnp.sqrt(curves.squared_norm(curves.tangent(curve, points, t)))
    )
    speeds = [float(speed(tuple(control_points), end)) for end in (0.0, 1.0)]
    found = {}
    for split in (s for s in metrics if "loss" in metrics[s]):
        for name, f, speed in zip(
            ("start", "end"), metrics[split]["loss"].reshape(2, 4), speeds, strict=True
        ):
            fine = (-3 * f[0] + 4 * f[1] - f[2]) / (2 * step * speed)
            coarse = (-3 * f[0] + 4 * f[2] - f[3]) / (4 * step * speed)
            rounding = 4 * (1e-6 * np.abs(f).max() + 6e-8) / (step * speed)
            found[f"{split}_loss_{name}_slope"] = np.asarray(fine)
            found[f"{split}_loss_{name}_slope_error"] = np.asarray(abs(fine - coarse) + rounding)
    return found


def coefficients(curve: curves.Curve, t: np.ndarray) -> np.ndarray:
    """A curve's coefficients at many ``t``: from ``[P]`` to ``[P, num_bends + 2]``, float32."""
    return np.asarray(jax.jit(jax.vmap(curve.coefficients))(np.asarray(t, np.float32)))


def summarize(arrays: Arrays, t: np.ndarray) -> Arrays:
    """Means and barrier heights of every metric along a path.

    Returns:
      For every ``SPLIT_METRIC`` its ``_mean`` over uniform ``t`` and its ``_arc_mean`` over the
      path's length, both by the trapezoid rule; for every loss the heights ``_over_max``,
      ``_over_mean`` and ``_over_chord`` of `mcjax.analysis.barriers.heights`.
    """
    found, length = {}, arrays["arc_length"]
    for name in [n for n in arrays if n.startswith(("train_", "validation_", "test_"))]:
        values = arrays[name]
        found[f"{name}_mean"] = np.trapezoid(values, t)
        weighted = np.trapezoid(values, length)
        found[f"{name}_arc_mean"] = weighted / length[-1] if length[-1] > 0 else values[0]
        if name.endswith("_loss"):
            heights = barriers.heights(values, t)
            found |= {f"{name}_{how}": x for how, x in heights._asdict().items()}
    return {name: np.asarray(value) for name, value in found.items()}
