"""Profiles of paths: metrics along a curve or segment, and their summaries."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, results
from mcjax.analysis import barriers
from mcjax.engine import evaluation
from mcjax.typing import Float, Num


def profile(
    evaluator: evaluation.Evaluator,
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: Num[np.ndarray, " points"],
    state: Any,
    *,
    slopes: bool = False,
    segment: results.PathMetrics | None = None,
    progress: Callable[[str, int], None] = lambda path, done: None,
) -> results.Profile:
    """Metrics along a curve and along the segment between its ends.

    Args:
      evaluator: for the network and data.
      curve: the curve's family; a segment is profiled on its own.
      control_points: ``(start, *bends, end)``.
      t: positions along the path, rising from 0 to 1.
      state: the network's state.
      slopes: whether to measure the curve's `end_slopes`.
      segment: the segment's metrics, if they are known already.
      progress: called with the name of a path and the number of its points done.

    Raises:
      ValueError: the number of control points does not fit the curve, they do not match, or there
        are fewer than two ``t``.

    >>> from mcjax.analysis import toy
    >>> points, t = (toy.A, toy.BEND, toy.B), np.linspace(0, 1, 3)
    >>> found = profile(toy.evaluator(), curves.bezier(1), points, t, {})
    >>> list(found.paths), found.segment.metrics["train"]["loss"].round(2)
    (['curve', 'segment'], array([0.03, 0.69, 0.03]))
    """
    ends = (control_points[0], control_points[-1])
    paths = {"curve": (curve, control_points)} if curve.num_bends else {}
    if segment is None:
        paths = {"segment": (curves.segment(), ends)} | paths
    found = {
        name: along(evaluator, *path, t, state, functools.partial(progress, name))
        for name, path in paths.items()
    }
    if slopes and "curve" in found:
        measured = end_slopes(evaluator, curve, control_points, state)
        found["curve"] = found["curve"]._replace(slopes=measured)
    known = found if segment is None else found | {"segment": segment}
    return results.Profile(t, {name: known[name] for name in results.PATHS if name in known})


def along(
    evaluator: evaluation.Evaluator,
    curve: curves.Curve,
    control_points: Sequence[Any],
    t: Num[np.ndarray, " points"],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.PathMetrics:
    """Metrics along ``phi(t)``, with what `summarize` adds.

    Args:
      evaluator: for the network and data.
      curve: the family.
      control_points: ``(start, *bends, end)``.
      t: ``[P]`` rising from 0 to 1.
      state: the network's state.
      progress: called with how many points are done.

    Raises:
      ValueError: as `profile`.

    >>> from mcjax.analysis import toy
    >>> found = along(toy.evaluator(), curves.segment(), (toy.A, toy.B), np.linspace(0, 1, 3), {})
    >>> found.arc_length.round(2), round(found.barriers["train"]["loss"].over_max, 2)
    (array([0.  , 2.83, 5.66]), 0.67)
    """
    blocks = []
    for first, metrics in evaluator.blocks(control_points, coefficients(curve, t), state):
        blocks.append(metrics)
        progress(first + len(metrics["params"]["l2"]))
    values = results.Values.joined(blocks)
    measure = jax.jit(lambda points, t: curves.arc_lengths(curve, points, t))
    lengths = measure(tuple(control_points), np.asarray(t, np.float32))
    return summarize(
        results.PathMetrics(values.metrics, values.l2, np.asarray(lengths, np.float64)), t
    )


def end_slopes(
    evaluator: evaluation.Evaluator,
    curve: curves.Curve,
    control_points: Sequence[Any],
    state: Any,
    step: float = 1e-3,
) -> dict[str, dict[str, results.Slopes]]:
    """Directional derivatives of every loss at the two ends, along the curve and into it.

    At a local minimum no slope is negative. Slopes are second-order one-sided differences with
    steps ``step`` and ``2 step`` in ``t``. The error is the difference between the two plus the
    rounding of float32 losses: 1e-6 of the loss for rounded logits, and 6e-8, below which
    ``log(1 + x)`` loses a confident example's loss.

    Args:
      evaluator: for the network and data.
      curve: the family.
      control_points: ``(start, *bends, end)``.
      state: the network's state.
      step: of the finest difference, in ``t``.

    Returns:
      ``slopes[split]["loss"]`` for every split that has a loss.

    Raises:
      ValueError: the number of control points does not fit the curve, or they do not match.

    >>> from mcjax.analysis import toy
    >>> found = end_slopes(toy.evaluator(), curves.segment(), (toy.A, toy.B), {})["train"]["loss"]
    >>> [round(float(slope), 2) for slope in (found.start, found.end)]  # it rises from both ends
    [0.04, 0.04]
    """
    inwards = step * np.array([0, 1, 2, 4])
    t = np.concatenate([inwards, 1 - inwards])
    metrics = evaluator(control_points, coefficients(curve, t), state)
    speed = jax.jit(
        lambda points, t: jnp.sqrt(curves.squared_norm(curves.tangent(curve, points, t)))
    )
    speeds = [float(speed(tuple(control_points), end)) for end in (0.0, 1.0)]
    found: dict[str, dict[str, results.Slopes]] = {}
    for split in (s for s in metrics if "loss" in metrics[s]):
        numbers: list[float] = []
        for f, speed in zip(metrics[split]["loss"].reshape(2, 4), speeds, strict=True):
            fine = (-3 * f[0] + 4 * f[1] - f[2]) / (2 * step * speed)
            coarse = (-3 * f[0] + 4 * f[2] - f[3]) / (4 * step * speed)
            rounding = 4 * (1e-6 * np.abs(f).max() + 6e-8) / (step * speed)
            numbers += [fine, abs(fine - coarse) + rounding]
        found[split] = {"loss": results.Slopes(*numbers)}
    return found


def coefficients(
    curve: curves.Curve, t: Num[np.ndarray, " points"]
) -> Float[np.ndarray, "points k"]:
    """A curve's coefficients at many ``t``, in float32; ``k`` is ``num_bends + 2``.

    >>> coefficients(curves.polygonal_chain(1), np.array([0.0, 0.25, 1.0]))
    array([[1. , 0. , 0. ],
           [0.5, 0.5, 0. ],
           [0. , 0. , 1. ]], dtype=float32)
    """
    return np.asarray(jax.jit(jax.vmap(curve.coefficients))(np.asarray(t, np.float32)))


def summarize(path: results.PathMetrics, t: Num[np.ndarray, " points"]) -> results.PathMetrics:
    """Adds the means of every metric along a path and the barrier heights of every loss.

    Args:
      path: metrics and arc length.
      t: positions along the path.

    >>> metrics = {"train": {"loss": np.array([1.0, 3.0, 1.0])}}
    >>> path = results.PathMetrics(metrics, arc_length=np.arange(3.0))
    >>> found = summarize(path, np.linspace(0, 1, 3))
    >>> float(found.means["train"]["loss"].over_t), found.barriers["train"]["loss"].over_max
    (2.0, 2.0)
    """
    means: dict[str, dict[str, results.Means]] = {}
    heights: dict[str, dict[str, results.Heights]] = {}
    for split, metrics in path.metrics.items():
        for name, values in metrics.items():
            means.setdefault(split, {})[name] = _means(values, t, path.arc_length)
            if name == "loss" or name.endswith("_loss"):
                heights.setdefault(split, {})[name] = barriers.heights(values, t)
    return path._replace(means=means, barriers=heights)


def _means(
    values: Num[np.ndarray, " points"], t: Num[np.ndarray, " points"], length: Any
) -> results.Means:
    weighted = np.trapezoid(values, length)
    over_length = weighted / length[-1] if length[-1] > 0 else values[0]
    return results.Means(np.trapezoid(values, t), over_length)
