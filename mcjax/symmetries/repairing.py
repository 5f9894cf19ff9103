"""REPAIR (Jordan et al., 2023): restores the statistics of an interpolated network's units.

Averaged units vary less than those of either end, and less with every layer, until the signal dies.
At ``(1 - t) A + t B`` each unit's pre-activation y is replaced by

    y' = s (y - mean(y)) + (1 - t) mean_A + t mean_B,   s = ((1 - t) std_A + t std_B) / std(y)

with means and standard deviations over the data; those of y are taken after all earlier layers are
replaced (their equation 3). Since ``y = W x + b``, the kernel becomes ``s W`` and the bias
``s b + (1 - t) mean_A + t mean_B - s mean(y)``: the result is parameters of the same function.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.symmetries import matching, programs, taps
from mcjax.symmetries import spec as specs
from mcjax.typing import Array, ArrayLike, Float, Num, PyTree

CONSTANT = 1e-6
"""A unit whose standard deviation is a smaller share of its root mean square stays as it is."""


class Repaired(NamedTuple):
    """What `repair` returns.

    Attributes:
      params: of the corrected network.
      corrected: leaves of layers whose means and standard deviations were set.
      scaled: leaves of layers without a bias, whose standard deviations alone were set.
      left: leaves of layers that rescaling leaves cannot correct: gates in one kernel, tied
        embeddings, what all iterations of a scan share, layers in a scan within a scan.

    >>> Repaired({}, corrected=("bias", "in"), scaled=("out",), left=()).corrected
    ('bias', 'in')
    """

    params: PyTree
    corrected: tuple[str, ...]
    scaled: tuple[str, ...]
    left: tuple[str, ...]


class _Statistics(NamedTuple):
    """Means and variances of units over ``count`` samples; no layers within a scan."""

    count: Num[ArrayLike, "*layers"]
    mean: Float[Array | np.ndarray, "*layers units"]
    variance: Float[Array | np.ndarray, "*layers units"]


_Visit = Callable[[taps.Tap, jax.Array, Any], tuple[jax.Array, _Statistics]]
"""From a tap, its value and what is given for it to the value that replaces it, and statistics."""


def repair(
    spec: specs.Spec,
    function: programs.Function,
    start: PyTree,
    end: PyTree,
    batches: Sequence[PyTree],
    *,
    t: float = 0.5,
    progress: Callable[[int], None] = lambda done: None,
) -> Repaired:
    """The network at ``(1 - t) start + t end`` with the statistics of its hidden units corrected.

    Each unit's pre-activation gets the mean and the standard deviation that interpolate those of
    the ends (Jordan et al., 2023, equation 3). Statistics are computed within each batch and
    averaged over batches, as batch norm's are: use large batches. A network with batch norm only
    needs its statistics recomputed (`mcjax.engine.evaluation.Evaluator.statistics`), which is the
    same correction.

    Args:
      spec: of ``function(params, *inputs)``.
      function: as in `find`, with dropout off.
      start: parameters of one end.
      end: parameters of the other, aligned with it.
      batches: the function's inputs, a tuple per batch; read twice.
      t: position on the segment, from 0 to 1.
      progress: called with the number of batches done, of ``2 len(batches)``.

    Returns:
      The corrected parameters, and what was corrected.

    Raises:
      ValueError: there are no batches, a batch is not a tuple, the ends do not fit the spec or are
        not finite, or nothing can be corrected.

    >>> from mcjax.symmetries import find
    >>> network = lambda params, x: jnp.tanh(x @ params["in"]) @ params["out"]
    >>> a = {"in": np.eye(2, dtype=np.float32), "out": np.ones((2, 1), np.float32)}
    >>> b = jax.tree.map(lambda w: np.roll(w, 1, axis=-1), a)  # averaged units vary less
    >>> x = np.float32([[1, 0], [0, 1], [-1, 1]])
    >>> found = repair(find(network, a, x), network, a, b, [(x,)])
    >>> found.scaled, np.asarray(found.params["in"]).round(2)
    (('in',), array([[1.37, 1.37],
           [1.37, 1.37]], dtype=float32))
    """
    return next(repair_path(spec, function, start, end, batches, [t], progress=progress))


def repair_path(
    spec: specs.Spec,
    function: programs.Function,
    start: PyTree,
    end: PyTree,
    batches: Sequence[PyTree],
    t: Sequence[float],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Repaired]:
    """`repair` at every ``t``: the ends are measured once and nothing is compiled twice.

    Args:
      spec: as in `repair`.
      function: likewise.
      start: likewise.
      end: likewise.
      batches: likewise; read once for the ends and once for every ``t``.
      t: where, from 0 to 1.
      progress: called with the number of batches done, of ``(1 + len(t)) len(batches)``.

    Returns:
      The corrected networks in the order of ``t``, each computed when it is asked for.

    Raises:
      ValueError: as `repair`, before the first network.

    >>> from mcjax.symmetries import find
    >>> network = lambda params, x: jnp.tanh(x @ params["in"]) @ params["out"]
    >>> a = {"in": np.eye(2, dtype=np.float32), "out": np.ones((2, 1), np.float32)}
    >>> b = jax.tree.map(lambda w: np.roll(w, 1, axis=-1), a)
    >>> x = np.float32([[1, 0], [0, 1], [-1, 1]])
    >>> path = repair_path(find(network, a, x), network, a, b, [(x,)], [0.0, 0.5])
    >>> [round(float(point.params["in"][0, 0]), 2) for point in path]
    [1.0, 1.37]
    """
    batches = [taps.as_inputs(batch) for batch in batches]
    if not batches:
        raise ValueError(taps.NO_DATA)
    for tree in (start, end):
        matching.named(spec, tree)
    found = taps.read(spec, function, start, *batches[0])[1]
    if not any(tap.folds for tap in found):
        raise ValueError("no layer of this function is corrected by rescaling its leaves")
    names = [
        tuple(sorted({n for tap in found if bool(tap.offset) is has for n in tap.folds}))
        for has in (True, False)
    ]
    names.append(taps.left(spec, found))
    return _path(found, names, _programs(spec, function), (start, end), batches, t, progress)


def _path(
    found: list[taps.Tap],
    names: list[tuple[str, ...]],
    run: tuple[Any, Any],
    points: tuple[PyTree, PyTree],
    batches: list[tuple[Any, ...]],
    t: Sequence[float],
    progress: Callable[[int], None],
) -> Iterator[Repaired]:
    """`repair_path`, of arguments that are checked."""
    measure, correct = run
    layers = [tap for tap in found if tap.folds]
    ends = _over([lambda inputs, p=p: measure(p, inputs) for p in points], batches, progress)
    for number, place in enumerate(t, 1):
        target = [_interpolated(a, b, place) for a, b in zip(*ends, strict=True)]
        params = jax.tree.map(lambda a, b, place=place: _mixed(a, b, place), *points)
        there = lambda inputs, p=params, goal=target: correct(p, goal, inputs)  # noqa: E731
        before = number * len(batches)
        (now,) = _over([there], batches, lambda done, before=before: progress(before + done))
        new = _folded(layers, target, now, params)
        yield Repaired(new, *names)


def _mixed(a: Any, b: Any, t: float) -> Any:
    """A leaf at t; a leaf that is not floating-point is the first end's."""
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        return a
    return curves.combine((a, b), np.array([1 - t, t], np.float32))


def _programs(spec: specs.Spec, function: programs.Function) -> tuple[Any, Any]:
    """Functions of ``(params, inputs)`` and ``(params, target, inputs)`` to layers' statistics."""

    def run(params: Any, given: Any, inputs: tuple[Any, ...], visit: _Visit) -> list[_Statistics]:
        program, found = taps.read(spec, function, params, *inputs)
        layers = [tap for tap in found if tap.folds]
        given = given or [None] * len(layers)
        at = {
            tap.var: programs.Tap(lambda x, g, tap=tap: visit(tap, x, g), _in_scan(tap, g))
            for tap, g in zip(layers, given, strict=True)
        }
        records = programs.evaluate(program, jax.tree.leaves((params, inputs)), at)[1]
        return [
            jax.tree.map(lambda x, tap=tap: x if tap.layers else x[None], records[tap.var])
            for tap in layers
        ]

    def measured(tap: taps.Tap, value: jax.Array, _: Any) -> tuple[jax.Array, _Statistics]:
        return value, _statistics(tap.rows(value))

    def corrected(tap: taps.Tap, value: jax.Array, target: Any) -> tuple[jax.Array, _Statistics]:
        rows = tap.rows(value)
        now = _statistics(rows)
        scale, shift = _correction(tap, target, now, jnp)
        return tap.like(rows * scale[None] + shift[None], value), now

    measure = jax.jit(lambda params, inputs: run(params, None, inputs, measured))
    correct = jax.jit(lambda params, target, inputs: run(params, target, inputs, corrected))
    return measure, correct


def _in_scan(tap: taps.Tap, given: Any) -> Any:
    return given if tap.layers else jax.tree.map(lambda x: x[0], given)


def _statistics(rows: Float[Array, "samples units"]) -> _Statistics:
    rows = rows.astype(jnp.promote_types(rows.dtype, jnp.float32))
    return _Statistics(jnp.float32(len(rows)), rows.mean(0), rows.var(0))


def _over(
    measures: Sequence[Callable[..., list[_Statistics]]],
    batches: Sequence[Any],
    progress: Callable[[int], None],
) -> list[list[_Statistics]]:
    """Each measure's statistics over all batches, of every layer."""
    totals: list[list[list[_Statistics]]] = [[] for _ in measures]
    for i, inputs in enumerate(batches):
        for total, measure in zip(totals, measures, strict=True):
            total.append(measure(inputs))
        progress(i + 1)
    return [[_pooled(parts) for parts in zip(*total, strict=True)] for total in totals]


def _pooled(parts: Sequence[_Statistics]) -> _Statistics:
    """Means over batches, weighted by samples, in float64."""
    counts, means, variances = (
        np.stack([np.asarray(p[i], np.float64) for p in parts]) for i in range(3)
    )
    weights = (counts / counts.sum(0)).reshape(len(parts), -1, 1)
    return _Statistics(counts.sum(0), (weights * means).sum(0), (weights * variances).sum(0))


def _interpolated(a: _Statistics, b: _Statistics, t: float) -> _Statistics:
    deviation = (1 - t) * np.sqrt(a.variance) + t * np.sqrt(b.variance)
    mean = (1 - t) * a.mean + t * b.mean
    return _Statistics(a.count, mean.astype(np.float32), np.square(deviation).astype(np.float32))


def _correction(tap: taps.Tap, target: _Statistics, now: _Statistics, xp: Any) -> tuple[Any, Any]:
    """Each unit's ``scale`` and ``shift``; the shift is zero if the layer has no bias."""
    varies = now.variance > CONSTANT**2 * (now.variance + now.mean**2)
    scale = xp.sqrt(target.variance / xp.where(varies, now.variance, 1))
    scale = xp.where(varies, scale, 1)
    return scale, target.mean - scale * now.mean if tap.offset else xp.zeros_like(now.mean)


def _folded(
    layers: list[taps.Tap], target: list[_Statistics], now: list[_Statistics], params: Any
) -> Any:
    """The parameters with the corrections folded into them."""
    leaves = {specs.leaf_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(params)}
    for tap, goal, found in zip(layers, target, now, strict=True):
        scale, shift = _correction(tap, goal, found, np)
        for name in tap.folds:
            old = leaves[name]
            new = old * tap.spread(name, scale, old.shape)
            if tap.offset and tap.offset[0] == name:
                new = new + tap.offset[1] * tap.spread(name, shift, old.shape)
            leaves[name] = jnp.asarray(new, old.dtype)
    return jax.tree_util.tree_map_with_path(lambda p, _: leaves[specs.leaf_name(p)], params)
