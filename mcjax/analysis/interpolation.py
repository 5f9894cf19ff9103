"""Interpolation between every two of several networks, without a fit.

Each pair has a path, a list of coefficient vectors over all networks, and all of them go through
the evaluator in one pass (`evaluate`). A curve adds its bends to the control points. Barriers are
those of Frankle et al. (2020) and Ainsworth et al. (2023), in three measures; see
`mcjax.analysis.barriers`.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from mcjax import curves, results
from mcjax.analysis import barriers, profiles
from mcjax.engine import evaluation
from mcjax.results import Metrics, Values
from mcjax.typing import Float, Integer, Num

SEGMENT = curves.segment()
Pair = tuple[int, int]
"""Indices of the networks at ``t = 0`` and ``t = 1``, in rising order."""
_Key = TypeVar("_Key", bound=Hashable)


def interpolate(
    evaluator: evaluation.Evaluator,
    networks: Sequence[Any],
    names: Sequence[str],
    t: Num[np.ndarray, " points"],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Interpolation:
    """Metrics on the segments between every two networks.

    Args:
      evaluator: for the network and data.
      networks: their parameters, all finite: a point of one pair is a combination of all.
      names: the networks' names, all different.
      t: rising; barriers are over those from 0 to 1.
      state: the networks' state; its batch-norm averages are replaced at every point.
      progress: called with how many points are done.

    Raises:
      ValueError: the networks differ in structure, shape or dtype, or there is only one.

    >>> from mcjax.analysis import toy
    >>> found = interpolate(toy.evaluator(), [toy.A, toy.B], ["A", "B"], np.linspace(0, 1, 3), {})
    >>> found.matrix("train_loss").round(2)
    array([[0.  , 0.67],
           [0.67, 0.  ]])
    """
    count, found = len(networks), every_pair(len(networks))
    if not found:
        raise ValueError(f"{count} networks: interpolation is between two or more")
    rows: dict[Pair | None, Any] = {None: np.eye(count)}
    rows |= {pair: on_segment(pair, t, count) for pair in found}
    values = dict(evaluate(evaluator, networks, rows, state, progress))
    own = values.pop(None)
    lengths = [length(SEGMENT, [networks[i] for i in pair]) for pair in found]
    segments = collect([values[pair] for pair in found], found, own, t, lengths)
    return results.Interpolation(t, np.array(list(names)), own, {"segment": segments})


def every_pair(count: int) -> list[Pair]:
    """Every two of ``count`` networks.

    >>> every_pair(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(itertools.combinations(range(count), 2))


def positions(t_range: tuple[float, float], points: int) -> Float[np.ndarray, " points"]:
    """Equally spaced ``t``, of which some are between the networks at 0 and 1.

    Args:
      t_range: the first and the last ``t``.
      points: how many.

    Raises:
      ValueError: the range is not one, or no point is between the networks.

    >>> positions((0.0, 1.0), 5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> positions((0.0, 1.0), 2)
    Traceback (most recent call last):
    ValueError: 2 points from t = 0 to 1: none is between the networks, at 0 and 1; use ...
    """
    low, high = t_range
    if not (low < high and np.isfinite([low, high]).all()):
        raise ValueError(f"t from {low:g} to {high:g}: give two numbers, the lower one first")
    t = np.round(np.linspace(low, high, points), 12)  # exactly 0 and 1, which a curve ends at
    if not ((t > 0) & (t < 1)).any():
        raise ValueError(
            f"{points} points from t = {low:g} to {high:g}: none is between the networks, at 0 "
            "and 1; use more points or another range"
        )
    return t


def on_segment(
    pair: Pair, t: Num[np.ndarray, " points"], count: int
) -> Float[np.ndarray, "points count"]:
    """Coefficients of a pair's segment over ``count`` control points; ``t`` may be any numbers.

    Args:
      pair: indices of the control points at ``t = 0`` and ``t = 1``.
      t: positions.
      count: number of control points.

    >>> on_segment((0, 2), np.array([0.0, 0.25]), count=3)
    array([[1.  , 0.  , 0.  ],
           [0.75, 0.  , 0.25]])
    """
    rows = np.zeros((len(t), count))
    rows[:, pair[0]], rows[:, pair[1]] = 1 - t, t
    return rows


def evaluate(
    evaluator: evaluation.Evaluator,
    control_points: Sequence[Any],
    rows: Mapping[_Key, Any],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[_Key, Values]]:
    """Evaluates lists of points in one pass over all of them, so that no block is padded but one.

    Points with the same coefficients, such as the ends of segments, are evaluated once.

    Args:
      evaluator: for the network and data.
      control_points: K parameter pytrees.
      rows: lists of coefficient vectors over the control points, by any key; the first is not
        empty. Arrays ``[points, k]``, or pytree prefixes of one structure with such arrays.
      state: the network's state.
      progress: called with how many points are done.

    Yields:
      A key and the metrics of its points, in order, as soon as they are known.

    Raises:
      ValueError: the control points do not match each other, or the number of coefficients.

    >>> from mcjax.analysis import toy
    >>> rows = {"ends": np.eye(2), "middle": np.array([[0.5, 0.5]])}
    >>> found = dict(evaluate(toy.evaluator(), [toy.A, toy.B], rows, {}))
    >>> found["middle"].metrics["train"]["loss"].round(2)
    array([0.69])
    """
    if not rows:
        return
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *rows.values())
    first, place = _distinct(whole)
    blocks = evaluator.blocks(control_points, jax.tree.map(lambda x: x[first], whole), state)
    known: list[Metrics] = []
    done = taken = 0
    for key, own in rows.items():
        here = place[taken : taken + len(jax.tree.leaves(own)[0])]
        taken += len(here)
        while done <= here.max(initial=-1):
            start, metrics = next(blocks)
            known.append(metrics)
            done = start + len(metrics["params"]["l2"])
            progress(int((place < done).sum()))
        values, l2, _ = Values.joined(known)
        yield key, Values(*jax.tree.map(lambda x, here=here: x[here], (values, l2)))


def _distinct(rows: Any) -> tuple[Integer[np.ndarray, " distinct"], Integer[np.ndarray, " points"]]:
    """The first of every kind of equal points, in order, and for each point its place in these."""
    table = np.concatenate(jax.tree.leaves(rows), axis=1)
    _, first, kind = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return np.sort(first), np.argsort(np.argsort(first))[kind]


def on_curve(
    family: curves.Curve, t: Num[np.ndarray, " points"], reverse: bool = False
) -> Float[np.ndarray, "inside k"]:
    """Coefficients of a curve at those ``t`` where it is defined, from 0 to 1.

    Args:
      family: the curve's.
      t: positions.
      reverse: whether ``t = 0`` is the end of the curve.

    >>> on_curve(curves.polygonal_chain(1), np.array([-0.5, 0.0, 0.25]))
    array([[1. , 0. , 0. ],
           [0.5, 0.5, 0. ]], dtype=float32)
    """
    inside = t[(t >= 0) & (t <= 1)]
    return profiles.coefficients(family, 1 - inside if reverse else inside)


def spread(values: Values, t: Num[np.ndarray, " points"]) -> Values:
    """The metrics of the points of `on_curve` as those of all ``t``, with NaN off the curve.

    Args:
      values: of shape ``[inside]``.
      t: all positions.

    >>> values = Values({"train": {"loss": np.array([1.0, 2.0])}})
    >>> spread(values, np.array([-0.5, 0.0, 1.0])).metrics
    {'train': {'loss': array([nan,  1.,  2.])}}
    """
    inside = (t >= 0) & (t <= 1)

    def whole(x: np.ndarray) -> np.ndarray:
        full = np.full(len(t), np.nan)
        full[inside] = x
        return full

    return Values(*jax.tree.map(whole, tuple(values)))


def length(curve: curves.Curve, control_points: Sequence[Any]) -> float:
    """A curve's length, in units of weight distance; compiled once for `SEGMENT`.

    >>> length(curves.segment(), [np.zeros(2, np.float32), np.float32([3, 4])])
    5.0
    """
    return float(_length(curve, tuple(control_points)))


@functools.partial(jax.jit, static_argnums=0)
def _length(curve: curves.Curve, control_points: tuple[Any, ...]) -> jax.Array:
    t = np.linspace(0, 1, 33 if curve.num_bends else 2, dtype=np.float32)
    return curves.arc_lengths(curve, control_points, t)[-1]


def collect(
    found: Sequence[Values],
    pairs: Sequence[Pair],
    networks: Values,
    t: Num[np.ndarray, " points"],
    lengths: Sequence[float],
) -> results.PairPaths:
    """Metrics of paths of one kind, with their barriers.

    Args:
      found: the metrics of each path at every ``t``.
      pairs: the networks at their ends.
      networks: the metrics of all networks, from which barriers are measured.
      t: rising, and any range: barriers are over the points between the ends.
      lengths: the paths' lengths.

    >>> networks = Values({"train": {"loss": np.array([0.1, 0.3])}})
    >>> values = Values({"train": {"loss": np.array([0.1, 0.9, 0.3])}})
    >>> paths = collect([values], [(0, 1)], networks, np.linspace(0, 1, 3), lengths=[5.0])
    >>> paths.barriers["train"]["loss"].over_max.round(2)
    array([0.6])
    """
    values, ends, between = Values.stacked(found), np.array(pairs), (t > 0) & (t < 1)
    inner = jax.tree.map(lambda x: x[:, between], values.metrics)
    own = jax.tree.map(lambda x: x[ends], networks.metrics)
    heights = barriers.of_paths(inner, own, t[between])
    return results.PairPaths(ends, values.metrics, values.l2, np.array(lengths), heights)


def kinds(
    pairs: Integer[np.ndarray, "pairs 2"], group: Integer[np.ndarray, " networks"]
) -> dict[str, Integer[np.ndarray, " pairs_of_kind"]]:
    """Indices of the pairs between two groups of networks and within each, where there are any.

    Args:
      pairs: indices of networks.
      group: 0 or 1 for each network.

    Returns:
      Indices by ``between``, ``first`` and ``second``.

    >>> kinds(np.array([(0, 1), (0, 2), (1, 2)]), np.array([0, 0, 1]))
    {'between': array([1, 2]), 'first': array([0])}
    """
    of_ends = group[pairs].sum(axis=1)
    rows = {
        name: np.flatnonzero(of_ends == value)
        for name, value in (("between", 1), ("first", 0), ("second", 2))
    }
    return {name: found for name, found in rows.items() if len(found)}
