"""Objectives: what is minimised, and what is measured.

An `Objective` is a NamedTuple of pure functions of ``(params, state, batch, ...)``; nothing that
uses one knows which network or library is behind it. ``state`` is what a network carries beside
its parameters (the running averages of batch norm); ``{}`` for most.

Metrics are *sums* over the examples, never means: ``sums["count"]`` is their number, and whoever
reports divides. An example of weight zero (``batch["weight"]``) counts for nothing, so a batch can
be padded to any size.
"""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves
from mcjax.engine import interop
from mcjax.flax.ops import layers

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


def cross_entropy(model: nn.Module, dtype: Any = None) -> Objective:
    """Softmax cross-entropy and accuracy of a Flax linen classifier.

    Args:
      model: a module called as ``model(images, train) -> logits [B, classes]``. Batch norm keeps
        its averages in the collection ``batch_stats``; dropout draws from the stream ``dropout``.
      dtype: what the network computes in, such as ``jnp.bfloat16``: parameters and images are cast
        to it on their way in; layers that name a dtype of their own keep it. The parameters, their
        gradients, batch norm's averages, the logits once they are there and all sums (those over
        pixels in the gradients of the biases of `nn.Conv` and `nn.Dense`, too) stay float32. None
        for the dtype of the parameters.

    Returns:
      An objective over batches ``{"images": float32 [B, H, W, C], "labels": int32 [B],
      "weight": float32 [B]}``, with the sums ``loss``, ``accuracy`` and ``count``. Evaluation has
      `exact_cross_entropy`, training optax's, whose gradient is as exact.
    """

    def cast(x):
        moved = dtype is not None and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(dtype) if moved else x

    # Batch norm mixes what is cast with its float32 averages.
    mixing = contextlib.nullcontext if dtype is None else interop.standard_promotion

    def apply(params, state, batch, train, **options):
        params, images = jax.tree.map(cast, (params, batch["images"]))
        with nn.intercept_methods(_sum_bias_gradients_in_float32), mixing():
            return model.apply({"params": params, **state}, images, train, **options)

    def sums(logits, batch, loss_of=exact_cross_entropy):
        weight = batch["weight"].astype(logits.dtype)
        # A large common part of the logits would cost the small losses their digits.
        logits -= jax.lax.stop_gradient(jnp.max(logits, -1, keepdims=True))
        # where, not a product: padding whose logits overflow counts for nothing, nor do its NaNs
        # reach the gradient.
        logits = jnp.where(weight[:, None] > 0, logits, 0)
        losses = loss_of(logits, batch["labels"])
        # argmax picks a class even among NaNs: a broken network must not look like a guess.
        best = jnp.argmax(logits, -1)
        right = (best == batch["labels"].astype(best.dtype)) & jnp.isfinite(losses)
        return {
            "loss": jnp.sum(losses * weight),
            "accuracy": jnp.sum(jnp.where(right, weight, 0)),
            "count": jnp.sum(weight),
        }

    def forward(params, state, batch, key):
        options = {"rngs": {"dropout": key}, "mutable": list(state)}
        logits, new = apply(params, state, batch, True, **options)
        return curves.wide(logits), jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)

    def train(params, state, batch, key):
        logits, state = forward(params, state, batch, key)
        totals = sums(logits, batch, optax.softmax_cross_entropy_with_integer_labels)
        return totals["loss"] / jnp.maximum(totals["count"], 1), (totals, state)

    def logits(params, state, batch) -> Any:
        found: Any = apply(params, state, batch, False)
        return curves.wide(found)

    def evaluate(params, state, batch):
        return sums(logits(params, state, batch), batch)

    def statistics(params, state, batch):
        with nn.intercept_methods(_forget_the_past):
            return forward(params, state, batch, jax.random.key(0))[1]

    return Objective(train, evaluate, statistics, logits)


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


def _sum_bias_gradients_in_float32(next_call, args, kwargs, context):
    """Adds a layer's 16-bit bias by `_add_bias`."""
    layer, bias = context.module, None
    if isinstance(layer, nn.Conv | nn.Dense) and context.method_name == "__call__":
        bias = layer.get_variable("params", "bias") if layer.use_bias else None
    if bias is None or bias.dtype.itemsize >= 4:
        return next_call(*args, **kwargs)
    object.__setattr__(layer, "use_bias", False)
    try:
        outputs = next_call(*args, **kwargs)
    finally:
        object.__setattr__(layer, "use_bias", True)
    return _add_bias(outputs, bias.astype(outputs.dtype))


@jax.custom_jvp
def _add_bias(outputs, bias):
    """``outputs + bias``; the gradient's sum over examples and pixels is taken in float32.

    XLA sums 16-bit numbers in 16 bits, where a sum of a hundred thousand ones is a few hundred.
    """
    return outputs + jnp.broadcast_to(bias, outputs.shape)


@_add_bias.defjvp
def _add_bias_jvp(primals, tangents):
    outputs, bias = tangents
    wide = jnp.broadcast_to(bias.astype(jnp.float32), outputs.shape)
    return _add_bias(*primals), outputs + wide.astype(outputs.dtype)


def _forget_the_past(next_call, args, kwargs, context):
    """Makes batch norm's new average the batch's own (momentum zero), with dropout off."""
    if isinstance(context.module, nn.Dropout | layers.Dropout):
        return args[0]
    if isinstance(context.module, nn.BatchNorm):
        object.__setattr__(context.module, "momentum", 0.0)
    return next_call(*args, **kwargs)
