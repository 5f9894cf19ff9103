"""The objective of a Flax linen classifier: softmax cross-entropy, with batch norm and dropout."""

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.engine import classification, interop
from mcjax.engine.classification import Batch
from mcjax.engine.objectives import Objective, Sums
from mcjax.flax.ops import layers
from mcjax.typing import Array, Float


@runtime_checkable
class Classifier(Protocol):
    """The part of a `flax.linen.Module` that `cross_entropy` uses.

    >>> isinstance(nn.Dense(10), Classifier)
    True
    """

    def apply(self, variables: Any, images: Any, train: bool, /, **options: Any) -> Any:
        """Returns logits, and the new state if ``mutable`` is passed.

        >>> from mcjax.flax.models.mlp import MLP
        >>> weights = {"kernel": np.zeros((4, 3), np.float32), "bias": np.zeros(3, np.float32)}
        >>> params = {"Dense_0": weights}
        >>> model, images = MLP(num_classes=3, hidden=()), np.zeros((5, 2, 2, 1), np.float32)
        >>> jax.eval_shape(lambda: model.apply({"params": params}, images, False)).shape
        (5, 3)
        """
        ...


def cross_entropy(model: Classifier, dtype: jax.typing.DTypeLike | None = None) -> Objective:
    """Softmax cross-entropy and accuracy of a Flax linen classifier.

    Args:
      model: a module called as ``model(images, train) -> logits [B, classes]``. Batch norm keeps
        its averages in the collection ``batch_stats``; dropout draws from the stream ``dropout``.
      dtype: dtype of the network's computations, such as ``jnp.bfloat16``: parameters and images
        are cast to it; layers with a dtype of their own keep it. Parameters, gradients, batch norm
        averages, the returned logits and all sums (including those over pixels in the bias
        gradients of `nn.Conv` and `nn.Dense`) stay float32. None for the parameters' dtype.

    Returns:
      An objective over batches with ``images`` (float32, ``[B, H, W, C]``), ``labels`` (int32,
      ``[B]``) and ``weight`` (float32, ``[B]``). Its sums are ``loss`` in nats, ``accuracy`` and
      ``count``. Evaluation uses
      `mcjax.engine.objectives.exact_cross_entropy`; training uses that of optax, whose gradient is
      just as exact.

    >>> from mcjax.flax.models.mlp import MLP
    >>> objective = cross_entropy(MLP(num_classes=2, hidden=()))
    >>> params = {"Dense_0": {"kernel": np.zeros((4, 2), np.float32), "bias": np.float32([2, 0])}}
    >>> batch = {"images": np.zeros((3, 2, 2, 1), np.float32), "labels": np.array([0, 0, 1]),
    ...          "weight": np.float32([1, 1, 0])}  # the last one is padding
    >>> sums = jax.jit(objective.evaluate)(params, {}, batch)
    >>> {name: round(float(total), 3) for name, total in sums.items()}
    {'accuracy': 2.0, 'count': 2.0, 'loss': 0.254}
    """

    def cast(x: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        moved = dtype is not None and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(dtype) if moved else x

    # Batch norm mixes cast values with its float32 averages.
    mixing = contextlib.nullcontext if dtype is None else interop.standard_promotion

    def apply(params: Any, state: Any, batch: Batch, train: bool, **options: Any) -> Any:
        params, images = jax.tree.map(cast, (params, batch["images"]))
        with nn.intercept_methods(_sum_bias_gradients_in_float32), mixing():
            return model.apply({"params": params, **state}, images, train, **options)

    def forward(params: Any, state: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        options = {"rngs": {"dropout": key}, "mutable": list(state)}
        logits, new = apply(params, state, batch, True, **options)
        return curves.wide(logits), jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)

    @jax.jit  # all who train with this objective trace and differentiate it once
    def train(
        params: Any, state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Sums, Any]]:
        logits, state = forward(params, state, batch, key)
        loss, totals = classification.training_loss(logits, batch)
        return loss, (totals, state)

    def logits(params: Any, state: Any, batch: Batch) -> jax.Array:
        return curves.wide(apply(params, state, batch, False))

    def evaluate(params: Any, state: Any, batch: Batch) -> Sums:
        return classification.sums(logits(params, state, batch), batch)

    def statistics(params: Any, state: Any, batch: Batch) -> Any:
        with nn.intercept_methods(_forget_the_past):
            return forward(params, state, batch, jax.random.key(0))[1]

    return Objective(train, evaluate, statistics, logits)


def _sum_bias_gradients_in_float32(
    next_call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Adds a layer's 16-bit bias with `_add_bias`."""
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
def _add_bias(
    outputs: Float[Array, "... features"], bias: Float[Array, " features"]
) -> Float[Array, "... features"]:
    """Returns ``outputs + bias``; its gradient sums over examples and pixels in float32.

    XLA sums 16-bit numbers in 16 bits, in which a hundred thousand ones add up to a few hundred.
    """
    return outputs + jnp.broadcast_to(bias, outputs.shape)


@_add_bias.defjvp
def _add_bias_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    outputs, bias = tangents
    wide = jnp.broadcast_to(bias.astype(jnp.float32), outputs.shape)
    return _add_bias(*primals), outputs + wide.astype(outputs.dtype)


def _forget_the_past(
    next_call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """Sets batch norm's momentum to zero, so its averages become the batch's; skips dropout."""
    if isinstance(context.module, nn.Dropout | layers.Dropout):
        return args[0]
    if isinstance(context.module, nn.BatchNorm):
        object.__setattr__(context.module, "momentum", 0.0)
    return next_call(*args, **kwargs)
