"""The objective of a classifier in any library: cross-entropy and accuracy, from its logits.

>>> from mcjax import api
>>> def logits(params, batch):
...     return batch["x"] @ params
>>> data = {"x": np.eye(2, dtype=np.float32), "labels": np.array([0, 1], np.int32)}
>>> start, end = np.eye(2, dtype=np.float32), -np.eye(2, dtype=np.float32)
>>> found = api.profile(cross_entropy(logits), api.ONE_BEND, (start, start, end), data, points=3)
>>> found.segment.metrics["train"]["accuracy"].tolist()  # at t = 0.5 all logits are equal
[1.0, 0.5, 0.0]
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves
from mcjax.engine.objectives import Objective, Sums, exact_cross_entropy, with_key
from mcjax.typing import Array, Float, Key, PyTree

Batch = Mapping[str, jax.Array | np.ndarray]
Logits = Callable[..., jax.Array]
"""A network, ``logits(params, batch)`` or ``logits(params, batch, key)`` with dropout."""


@runtime_checkable
class LossOf(Protocol):
    """A loss per example from logits and labels."""

    def __call__(self, logits: jax.Array, labels: jax.Array, /) -> jax.Array:
        """Returns one loss per example."""
        ...


def cross_entropy(logits: Logits, axis_name: str | None = None) -> Objective:
    """Softmax cross-entropy and accuracy of a classifier without state.

    Networks of Flax linen have `mcjax.flax.objective.cross_entropy`, which also takes batch norm.

    Args:
      logits: ``logits(params, batch)``, or with dropout ``logits(params, batch, key)``, which gets
        a key in training and None in evaluation. As in `mcjax.engine.objectives.with_key`, the key
        is passed to an argument named ``key`` or ``rng``, or to a third one without a default.
      axis_name: the mapped axis over which training divides a batch,
        `mcjax.engine.parallel.DATA_AXIS`: each device then has a key of its own. If None, all
        devices draw the same dropout masks for their parts.

    Returns:
      An objective over dict batches with ``labels`` (int32, ``[B]``), ``weight`` (float32, ``[B]``)
      and what ``logits`` reads. Its sums are ``loss`` in nats, ``accuracy`` and ``count``.

    Raises:
      ValueError: ``logits`` cannot be called with these arguments.

    >>> def dropped(params, batch, key=None):
    ...     x = batch["x"]
    ...     keep = 1 if key is None else 2 * jax.random.bernoulli(key, shape=x.shape)
    ...     return x * keep * params
    >>> objective = cross_entropy(dropped)
    >>> batch = {"x": np.float32([[1, 0], [0, 1]]), "labels": np.array([0, 1]),
    ...          "weight": np.float32([1, 0])}  # the second one is padding
    >>> sums = jax.jit(objective.evaluate)(np.float32(3), {}, batch)
    >>> {name: round(float(total), 3) for name, total in sums.items()}
    {'accuracy': 1.0, 'count': 1.0, 'loss': 0.049}
    """
    network = with_key(logits, "logits")

    def train(
        params: PyTree, state: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[jax.Array, tuple[Sums, PyTree]]:
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        loss, totals = training_loss(curves.wide(network(params, batch, key)), batch)
        return loss, (totals, state)

    def clean(params: PyTree, state: PyTree, batch: Batch) -> jax.Array:
        return curves.wide(network(params, batch, None))

    def evaluate(params: PyTree, state: PyTree, batch: Batch) -> Sums:
        return sums(clean(params, state, batch), batch)

    return Objective(train, evaluate, logits=clean)


def sums(
    logits: Float[Array, "b classes"], batch: Batch, loss_of: LossOf = exact_cross_entropy
) -> Sums:
    """``loss``, ``accuracy`` and ``count``, summed over a batch: for objectives of your own.

    A prediction whose loss is not finite is wrong. Padding (weight zero) does not count, whatever
    its logits.

    Args:
      logits: of the batch.
      batch: with ``labels`` and ``weight``.
      loss_of: the losses of the examples.

    >>> batch = {"labels": np.array([0, 1, 1]), "weight": np.float32([1, 1, 0])}
    >>> found = sums(jnp.array([[2.0, 0.0], [2.0, 0.0], [np.inf, np.nan]]), batch)
    >>> {name: round(float(total), 3) for name, total in found.items()}
    {'loss': 2.254, 'accuracy': 1.0, 'count': 2.0}
    """
    weight = batch["weight"].astype(logits.dtype)
    # A large common offset of the logits would cost small losses their precision.
    logits -= jax.lax.stop_gradient(jnp.max(logits, -1, keepdims=True))
    # where, not a product: padding with overflowing logits must not count, nor pass NaNs on to
    # the gradient.
    logits = jnp.where(weight[:, None] > 0, logits, 0)
    losses = loss_of(logits, jnp.asarray(batch["labels"]))
    # argmax picks a class even among NaNs: a diverged network must not look like a guess.
    best = jnp.argmax(logits, -1)
    right = (best == batch["labels"].astype(best.dtype)) & jnp.isfinite(losses)
    return {
        "loss": jnp.sum(losses * weight),
        "accuracy": jnp.sum(jnp.where(right, weight, 0)),
        "count": jnp.sum(weight),
    }


def training_loss(logits: Float[Array, "b classes"], batch: Batch) -> tuple[jax.Array, Sums]:
    """The mean loss of a batch, to be differentiated, and its `sums`.

    It uses optax's cross-entropy, whose gradient is cheaper and just as exact.

    >>> batch = {"labels": np.array([0, 1]), "weight": np.float32([1, 1])}
    >>> loss, totals = training_loss(jnp.zeros((2, 2)), batch)
    >>> round(float(loss), 3), float(totals["accuracy"])
    (0.693, 1.0)
    """
    totals = sums(logits, batch, optax.softmax_cross_entropy_with_integer_labels)
    return totals["loss"] / jnp.maximum(totals["count"], 1), totals
