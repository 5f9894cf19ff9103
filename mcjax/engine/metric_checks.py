"""Checks of users' metrics on a few examples, before any long work."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import builtin_metrics, metrics, parallel
from mcjax.engine.metrics import Metric
from mcjax.engine.objectives import Objective
from mcjax.results.paths import SUMMARY_ENDINGS
from mcjax.typing import PyTree

EXAMPLES = 8
"""Examples to call metrics with."""
_Result = TypeVar("_Result")


def with_metrics(
    own: Objective,
    more: Sequence[Metric | Objective],
    params: PyTree,
    state: PyTree,
    batch: Any,
    mesh: jax.sharding.Mesh,
) -> Objective:
    """As `metrics.with_metrics`, after checking the metrics on a few examples.

    The network is traced but not run: metrics are called with random logits of its shape.

    Args:
      own: the objective.
      more: metrics and objectives to add.
      params: the network's parameters, or their shapes.
      state: the network's state, or its shapes.
      batch: a few examples.
      mesh: the devices.

    Raises:
      ValueError: a metric needs logits and the objective has none; or it fails, is not one finite
        number per example (per point, if it has a ``finish``), or has a name that is taken.
    """

    def traced(function: Any) -> Any:
        return jax.eval_shape(parallel.data_parallel(function, mesh), params, state, batch)

    of_objective = metrics.reported(own, _ones(traced(own.evaluate)))
    if "accuracy" in of_objective:
        more = [one for one in more if one is not builtin_metrics.ACCURACY]  # the same number
    taken = set(of_objective)
    sample = None
    for one in more:
        if isinstance(one, Objective):
            found = _of_objective(one, traced)
            found = {name: x for name, x in found.items() if name not in of_objective}
        else:
            if one.values is not None and sample is None:
                sample = _random_logits(own, one.name, traced)
            means = _sample_means(one, sample, batch)
            found = _attempt(one.name, lambda m=one, x=means: metrics.finished(m, x, of_objective))
            _check_finished(one.name, found)
        _check_names(found, taken)
        taken |= set(found)
    return metrics.with_metrics(own, more)


def _attempt(name: str, function: Callable[[], _Result]) -> _Result:
    """Calls a user's function; raises ValueError, with the metric's name, if it fails."""
    try:
        with np.errstate(all="ignore"):
            return function()
    except Exception as error:  # whatever the user's function raises
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        reason = str(error).partition("\n")[0]
        raise ValueError(f"metric {name!r} fails: {kind}{reason}") from error


def _ones(shapes: dict[str, Any]) -> metrics.Means:
    """Means of one point, in the shapes of an objective's sums."""
    return {name: np.ones((1, *x.shape)) for name, x in shapes.items() if name != "count"}


def _of_objective(one: Objective, traced: Callable[[Any], Any]) -> metrics.Means:
    """An objective's metrics of one point, after checking that each is one number."""
    name = "of an objective"
    sums = _attempt(name, lambda: traced(one.evaluate))
    if "count" not in sums:
        raise ValueError(f"an objective's evaluate returns {', '.join(sums)} without count")
    found = _attempt(name, lambda: metrics.reported(one, _ones(sums)))
    _check_finished(name, found)
    return found


def _random_logits(own: Objective, name: str, traced: Callable[[Any], Any]) -> jax.Array:
    """Logits of the shape that the network returns."""
    if own.logits is None:
        raise ValueError(
            f"metric {name!r} needs logits, and the objective has none: give an Objective with "
            "logits, such as mcjax.engine.classification.cross_entropy(logits)"
        )
    shape = traced(own.logits).shape
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _sample_means(metric: Metric, logits: Any, batch: Any) -> metrics.Means:
    """The means of a metric's values over the examples, after checking each."""
    values = metric.values
    if values is None:
        return {}
    found = _attempt(metric.name, lambda: jax.jit(values)(logits, batch))
    means: metrics.Means = {}
    for name, value in metrics.by_name(metric.name, found).items():
        _check_values(metric, name, value, len(logits))
        means[name] = np.asarray(value, np.float64).mean(axis=0)[None]
    return means


def _check_values(metric: Metric, name: str, value: Any, examples: int) -> None:
    if name == "count":
        raise ValueError("a metric's values may not be named 'count', the number of examples")
    if not isinstance(value, jax.Array) or jnp.iscomplexobj(value):
        raise ValueError(f"metric {name!r} returns {type(value).__name__}, not an array of numbers")
    rows = value.shape if metric.finish is None else value.shape[:1]
    if rows != (examples,):
        raise ValueError(
            f"metric {name!r} has shape {list(value.shape)} for {examples} examples: return one "
            f"number per example, [{examples}], or a Metric with a finish that makes one of means"
        )
    strange = int(
        (~np.isfinite(np.asarray(value, np.float64))).any(tuple(range(1, value.ndim))).sum()
    )
    if strange:
        raise ValueError(
            f"metric {name!r} is not finite for {strange} of {examples} examples with random "
            "logits: its mean would not be a number"
        )


def _check_finished(name: str, found: Any) -> None:
    if not isinstance(found, dict) or not found:
        raise ValueError(f"metric {name!r}: no array, nor a dict of arrays")
    for each, value in found.items():
        if np.shape(value) != (1,):
            raise ValueError(
                f"metric {each!r} has shape {list(np.shape(value)[1:])} per point: reduce it to "
                "scalars in Objective.metrics or Metric.finish"
            )


def _check_names(found: metrics.Means, taken: set[str]) -> None:
    for name in found:
        if name in taken:
            raise ValueError(f"metric {name!r} is measured twice: rename one or leave it out")
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name.endswith(SUMMARY_ENDINGS):
            raise ValueError(
                f"metric {name!r}: use letters, digits and _ in its name, and none of the endings "
                f"of summaries in files: {', '.join(SUMMARY_ENDINGS)}"
            )
