"""Metrics of one's own: sums over examples, and a function that finishes them.

A `Metric` is a function of logits and batch that returns a value per example. The evaluator sums
the values (an example of weight zero does not count) and divides by the number of examples, exactly
for any batch size, number of devices and streamed data. What is not a mean over examples is a
function of such means, ``finish``: calibration error of the means per bin, perplexity of the mean
loss. `with_metrics` adds metrics to an objective, so there is no second evaluator.

>>> import jax.numpy as jnp, numpy as np
>>> from mcjax import api
>>> from mcjax.engine import metrics, objectives
>>> def logits(params, state, batch):
...     return batch["x"][:, None] * params[None]
>>> def evaluate(params, state, batch):
...     losses = objectives.exact_cross_entropy(logits(params, state, batch), batch["labels"])
...     return {"loss": losses @ batch["weight"], "count": batch["weight"].sum()}
>>> def margin(logits, batch):
...     return jnp.max(logits, axis=1) - jnp.min(logits, axis=1)
>>> rms = metrics.Metric("rms", lambda logits, batch: margin(logits, batch) ** 2,
...                      finish=lambda means: np.sqrt(means["rms"]))
>>> data = {"x": np.arange(3.0, dtype=np.float32), "labels": np.array([0, 1, 1], np.int32)}
>>> ends = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
>>> found = api.profile(objectives.Objective(None, evaluate, logits=logits), curves.segment(),
...                     ends, data, points=2, metrics=["error", margin, rms])
>>> {name: values.round(3).tolist() for name, values in found.segment.metrics["train"].items()
...  if name != "loss"}
{'error': [0.667, 0.0], 'margin': [1.0, 1.0], 'rms': [1.291, 1.291]}
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.engine import objectives
from mcjax.engine.objectives import Objective
from mcjax.typing import PyTree

Means = dict[str, np.ndarray]


@runtime_checkable
class Values(Protocol):
    """A value per example, ``[batch]``, or several by name; with a ``finish`` ``[batch, ...]``."""

    def __call__(self, logits: Any, batch: Any, /) -> Any:
        """Returns an array or a dict of arrays."""
        ...


@runtime_checkable
class Finish(Protocol):
    """Makes a metric from means over examples, numpy arrays ``[points, ...]`` by name.

    Beside the means of the metric's own values there are the objective's reported metrics, such as
    ``loss``.
    """

    def __call__(self, means: Means, /) -> Any:
        """Returns an array ``[points]``, or several by name."""
        ...


OWN = "own/"
"""Prefix of an objective's sums that were added to it in the same way before."""


class Metric(NamedTuple):
    """A metric, or several that are made of the same values.

    Attributes:
      name: its name, and that of its values; values and metrics in a dict have their own.
      values: ``(logits, batch) -> values``; None if ``finish`` needs the objective's metrics alone.
      finish: None reports the means.

    >>> rms = Metric("rms", lambda logits, batch: logits[:, 0] ** 2, lambda m: np.sqrt(m["rms"]))
    >>> rms.finish({"rms": np.array([4.0, 9.0])})  # means at two points
    array([2., 3.])
    """

    name: str
    values: Values | None = None
    finish: Finish | None = None


def with_metrics(own: Objective, more: Sequence[Metric | Objective]) -> Objective:
    """Adds metrics to what an objective measures; its training is unchanged.

    Args:
      own: the objective. Its ``logits`` are computed once for all metrics; without them, metrics
        can only be made of its own metrics.
      more: metrics, or other objectives whose metrics to add; ``own`` wins for equal names.

    >>> from mcjax.analysis import toy
    >>> bits = Metric("bits", None, lambda means: means["loss"] / np.log(2))
    >>> with_metrics(toy.OBJECTIVE, [bits]).metrics({"loss": np.log([2.0, 8.0])})
    {'loss': array([0.693..., 2.079...]), 'bits': array([1., 3.])}
    """
    parts = {f"{number}/": one for number, one in enumerate(more)}
    uses_logits = any(isinstance(one, Metric) and one.values for one in more)
    logits_of: Any = own.logits

    def evaluate(params: PyTree, state: PyTree, batch: Any) -> objectives.Sums:
        logits = curves.wide(logits_of(params, state, batch)) if uses_logits else None
        sums: objectives.Sums = {}
        for prefix, one in parts.items():
            if isinstance(one, Objective):
                found = one.evaluate(params, state, batch)
            else:
                found = _sums(one, logits, batch)
            sums |= {prefix + name: x for name, x in found.items()}
        of_own = own.evaluate(params, state, batch)
        return sums | {OWN + n if "/" in n else n: x for n, x in of_own.items()}

    def report(means: Means) -> Means:
        of_own = {n: x for n, x in means.items() if not n.startswith(tuple(parts))}
        mine = {n.removeprefix(OWN): x for n, x in of_own.items()}
        of_objective = reported(own, mine)
        found: Means = {}
        for prefix, one in parts.items():
            theirs = {n.removeprefix(prefix): x for n, x in means.items() if n.startswith(prefix)}
            if theirs:
                count = theirs.pop("count")  # each divides its sums by its own
                theirs = {name: (x.T / count).T for name, x in theirs.items()}
            if isinstance(one, Objective):
                found |= reported(one, theirs)
            else:
                found |= finished(one, theirs, of_objective)
        return of_objective | {n: x for n, x in found.items() if n not in of_objective}

    return own._replace(evaluate=evaluate, metrics=report)


def reported(objective: Objective, means: Means) -> Means:
    """An objective's metrics, made of its means."""
    return objective.metrics(means) if objective.metrics else means


def finished(metric: Metric, means: Means, of_objective: Means) -> Means:
    """A metric by name, made of the means of its values and of the objective's metrics."""
    if metric.finish is None:
        return means
    found = by_name(metric.name, metric.finish(of_objective | means))
    return {name: np.asarray(x) for name, x in found.items()}


def by_name(name: str, found: Any) -> dict[str, Any]:
    """Values or metrics by name; an array has the metric's."""
    return dict(found) if isinstance(found, Mapping) else {name: found}


def _sums(metric: Metric, logits: Any, batch: Any) -> objectives.Sums:
    """A metric's values, summed over a batch, and the number of examples."""
    if metric.values is None:
        return {}
    weight = batch["weight"]
    found = by_name(metric.name, metric.values(logits, batch))
    return {name: _sum(x, weight) for name, x in found.items()} | {"count": jnp.sum(weight)}


def _sum(values: Any, weight: jax.Array) -> jax.Array:
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.float32)
    values = curves.wide(values)
    weight = weight.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    # where, not a product alone: a value that is not finite at padding must not count.
    return jnp.sum(jnp.where(weight > 0, values * weight, 0), axis=0)
