"""Objectives: what is minimised, and what is measured.

An `Objective` is a NamedTuple of pure functions of ``(params, state, batch, ...)``; nothing that
uses one knows which network or library is behind it. ``state`` is what a network carries beside
its parameters (the running averages of batch norm); ``{}`` for most.

Metrics are *sums* over the examples, never means: ``sums["count"]`` is their number, and whoever
reports divides. An example of weight zero (``batch["weight"]``) counts for nothing, so a batch can
be padded to any size.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves

Sums = dict[str, jax.Array]
Means = dict[str, np.ndarray]

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Objective(NamedTuple):
    """What is minimised and what is measured.

    Attributes:
      train: ``(params, state, batch, key) -> (loss, (sums, state))``. ``loss`` is a mean over the
        batch it is given, and what is differentiated; ``sums`` holds ``count`` and one sum over
        examples for each metric.
      evaluate: ``(params, state, batch) -> sums``, dropout off, batch norm with ``state``.
      statistics: ``(params, state, batch) -> state`` whose averages are this batch's alone, or
        None for a network without such a state. Averages over batches are the caller's work.
      logits: ``(params, state, batch) -> [B, classes]`` as in ``evaluate``, or None for what is no
        classifier.
      metrics: ``means -> metrics``, what is reported of ``evaluate``'s sums divided by ``count``:
        numpy arrays ``[points, ...]`` in, ``[points]`` out, ``loss`` among them. For what is not a
        mean over examples, such as F1; None reports the means as they are.
    """

    train: Callable[..., tuple[jax.Array, tuple[Sums, Any]]]
    evaluate: Callable[..., Sums]
    statistics: Callable[..., Any] | None = None
    logits: Callable[..., jax.Array] | None = None
    metrics: Callable[[Means], Means] | None = None


def from_loss(
    loss: Callable[..., jax.Array], axis_name: str | None = None, numbers: str | None = None
) -> Objective:
    """Lifts the simplest form, ``loss(params, batch)`` or ``loss(params, batch, key)``, a mean.

    The only metric is ``loss``. A batch that is a dict with ``weight`` (as the evaluator and
    several devices pad them) is given to ``loss`` example by example, under ``vmap``, without the
    weights; these then weigh its values. Any other batch is taken as whole.

    Args:
      loss: the mean over a batch.
      axis_name: the mapped axis over which a batch is shared, in equal contiguous parts: then an
        example's key is that of its place in the whole batch, whatever the number of devices.
      numbers: the entry of such a dict that holds the examples' numbers in the data: then an
        example's key is that of its number, whatever batch it is in. ``loss`` is not given it.

    Raises:
      ValueError: ``loss`` cannot be called with these arguments.
    """
    mean = with_key(loss)

    def total_and_count(params, batch, key):
        if not (isinstance(batch, dict) and "weight" in batch):
            count = len(jax.tree.leaves(batch)[0])
            return mean(params, batch, key) * count, jnp.float32(count)
        weight = batch["weight"]
        if numbers is not None:
            positions = batch[numbers]
        else:
            positions = jnp.arange(len(weight), dtype=jnp.int32)
            if axis_name is not None:
                positions += jax.lax.axis_index(axis_name) * len(weight)
        apart = ("weight", numbers)
        alone = jax.tree.map(
            lambda x: x[:, None], {name: x for name, x in batch.items() if name not in apart}
        )
        each = jax.vmap(lambda one, i: mean(params, one, jax.random.fold_in(key, i)))(
            alone, positions
        )
        each = curves.wide(each)
        weighted = jnp.where(weight > 0, each * weight.astype(each.dtype), 0)
        return jnp.sum(weighted), jnp.sum(weight)

    def train(params, state, batch, key):
        total, count = total_and_count(params, batch, key)
        mean = total / jnp.maximum(count, 1).astype(total.dtype)
        return mean, ({"loss": total, "count": count}, state)

    def evaluate(params, state, batch):
        return train(params, state, batch, jax.random.key(0))[1][0]

    return Objective(train, evaluate)


def with_key(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """``loss(params, batch, key)`` of a loss that takes a key or none.

    The key is given, by keyword, to an argument named ``key``, ``rng``, ``*_key`` or ``*_rng``
    whose default is None or absent; otherwise to a third argument without a default. All other
    arguments keep their defaults.

    Raises:
      ValueError: ``loss`` cannot be called so.
    """
    if not callable(loss):
        raise ValueError(f"loss={loss!r} is not a function: expected loss(params, batch[, key])")
    signature = inspect.signature(loss)
    more = list(signature.parameters.values())[2:]
    asking = [p for p in more if _asks_for_key(p)]
    required = [p for p in more if p.default is p.empty and p.kind in _BY_PLACE]
    if asking:
        name = asking[0].name
        called = lambda params, batch, key: loss(params, batch, **{name: key})  # noqa: E731
        given: tuple[tuple, dict] = ((None, None), {name: None})
    elif required:
        called, given = loss, ((None, None, None), {})
    else:
        called, given = lambda params, batch, key: loss(params, batch), ((None, None), {})
    try:
        signature.bind(*given[0], **given[1])
    except TypeError as error:
        raise ValueError(
            f"loss takes {signature}: expected (params, batch[, key]); bind what it takes besides "
            f"with functools.partial ({error})"
        ) from None
    return called


def _asks_for_key(parameter):
    named = f"_{parameter.name}".endswith(("_key", "_rng")) and parameter.kind in _BY_NAME
    return named and (parameter.default is None or parameter.default is parameter.empty)


def exact_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy whose small values keep their digits, down to 1e-38.

    With ``k`` the largest logit, ``log(1 + sum_{j != k} exp(z_j - z_k)) + z_k - z_label``: the
    logarithm of a sum that is all but one would round to 1e-7.

    Args:
      logits: ``[B, classes]``.
      labels: int ``[B]``; one that is not a class gives NaN.

    Returns:
      ``[B]``, in nats.

    >>> exact_cross_entropy(jnp.array([[18.0, 0.0, 1.0]]), jnp.array([0])).round(10)
    Array([5.66e-08], dtype=float32)
    """
    largest = jnp.argmax(logits, -1)[:, None]
    below = logits - jnp.take_along_axis(logits, largest, -1)
    others = jnp.where(jnp.arange(logits.shape[-1])[None] == largest, 0, jnp.exp(below))
    own = jnp.take_along_axis(below, labels[:, None], -1, mode="fill")[:, 0]
    # A label below zero would count from the last class.
    return jnp.where(labels < 0, jnp.nan, jnp.log1p(jnp.sum(others, -1)) - own)


def with_l2(objective: Objective, weight_decay: float) -> Objective:
    """Adds the penalty ``0.5 * weight_decay * ||params||^2`` to the training loss.

    On a curve ``params`` is the curve's point (Garipov et al., 2018). The penalty is recorded as
    the metric ``l2`` (``||params||^2``); the metric ``loss`` stays free of it.
    """

    def train(params, state, batch, key):
        loss, (sums, state) = objective.train(params, state, batch, key)
        loss = curves.wide(loss)
        l2 = curves.squared_norm(params).astype(loss.dtype)
        count = jnp.asarray(sums["count"], loss.dtype)
        sums = {**sums, "l2": jax.lax.stop_gradient(l2) * count}
        return loss + 0.5 * weight_decay * l2, (sums, state)

    return objective._replace(train=train)


def on_curve(curve: curves.Curve, objective: Objective, strata: int = 1) -> Callable[..., Any]:
    """The training function of a curve: `curves.curve_loss` of the objective's.

    Returns:
      ``train(bends, endpoints, state, batch, key, stratum)``, for `mcjax.engine.training`.
    """
    loss = curves.curve_loss(curve, objective.train, strata)
    return lambda bends, endpoints, state, batch, key, stratum: loss(
        bends, endpoints, state, batch, key, stratum=stratum
    )


def on_curve_with_free_ends(
    curve: curves.Curve, objective: Objective, strata: int = 1
) -> Callable[..., Any]:
    """As `on_curve`, with all control points trained: ``train((start, *bends, end), (), ...)``."""
    loss = on_curve(curve, objective, strata)
    return lambda points, _, *args: loss(points[1:-1], (points[0], points[-1]), *args)


def at_point(objective: Objective) -> Callable[..., Any]:
    """The training function of a mode: the objective at the parameters themselves."""
    return lambda params, _, state, batch, key, stratum: objective.train(params, state, batch, key)
