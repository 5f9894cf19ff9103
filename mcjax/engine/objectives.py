"""Objectives: what is minimised, and what is measured.

An `Objective` is a NamedTuple of pure functions of ``(params, state, batch, ...)``; code that uses
one does not depend on the network or the library behind it. ``state`` is what a network has besides
its parameters, such as batch norm's running averages; ``{}`` for most.

Metrics are *sums* over the examples, never means: ``sums["count"]`` is the number of examples, and
the caller divides when it reports. An example of weight zero (``batch["weight"]``) does not count,
so a batch can be padded to any size.

>>> from mcjax.engine import objectives
>>> def evaluate(params, state, batch):
...     losses = (batch["x"] * params - batch["y"]) ** 2
...     return {"loss": losses @ batch["weight"], "count": batch["weight"].sum()}
>>> def train(params, state, batch, key):
...     sums = evaluate(params, state, batch)
...     return sums["loss"] / sums["count"], (sums, state)
>>> objective = objectives.Objective(train, evaluate)
>>> x, y, weight = np.float32([[1, 2, 9], [2, 2, 9], [1, 1, 0]])
>>> batch = {"x": x, "y": y, "weight": weight}
>>> loss, (sums, state) = objective.train(np.float32(3), {}, batch, jax.random.key(0))
>>> float(loss), {name: float(x) for name, x in sums.items()}  # the third example is padding
(8.5, {'loss': 17.0, 'count': 2.0})
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.typing import Array, Float, Int, Integer, Key, PyTree

Sums = dict[str, jax.Array]
"""Sums over examples by metric, with the number of examples as ``count``."""

Loss = Callable[..., jax.Array]
"""A user's ``loss(params, batch)`` or ``loss(params, batch, key)``, the mean over a batch."""

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@runtime_checkable
class Train(Protocol):
    """The training loss of a batch, to be differentiated with respect to ``params``.

    Returns ``(loss, (sums, state))``: ``loss`` is a mean over the batch, ``sums`` holds ``count``
    and one sum over examples per metric, and ``state`` is the new state. ``key`` is for dropout and
    the like.
    """

    def __call__(
        self, params: PyTree, state: PyTree, batch: Any, key: Key[Array, ""], /
    ) -> tuple[jax.Array, tuple[Sums, PyTree]]:
        """Returns ``(loss, (sums, state))``."""
        ...


@runtime_checkable
class StratumLoss(Protocol):
    """The loss that the trainer differentiates: `Train` for one stratum of a batch.

    ``trained`` are the parameters to differentiate (a mode's, or a curve's bends) and ``fixed`` the
    others (a curve's ends, or ``()``). ``stratum`` selects the part of ``[0, 1]`` from which a
    curve's ``t`` is drawn. Made by `at_point`, `on_curve` and `on_curve_with_free_ends`.
    """

    def __call__(
        self,
        trained: PyTree,
        fixed: PyTree,
        state: PyTree,
        batch: Any,
        key: Key[Array, ""],
        stratum: int | Int[Array, ""],
        /,
    ) -> tuple[jax.Array, tuple[Sums, PyTree]]:
        """Returns ``(loss, (sums, state))``, as `Train`."""
        ...


@runtime_checkable
class Evaluate(Protocol):
    """The metrics of a batch as sums over its examples: dropout off, batch norm with ``state``."""

    def __call__(self, params: PyTree, state: PyTree, batch: Any, /) -> Sums:
        """Returns one sum per metric, and ``count``."""
        ...


@runtime_checkable
class Statistics(Protocol):
    """The state whose averages are those of one batch; the caller averages over batches."""

    def __call__(self, params: PyTree, state: PyTree, batch: Any, /) -> PyTree:
        """Returns a pytree like ``state``."""
        ...


@runtime_checkable
class Logits(Protocol):
    """The logits of a batch, computed as in `Evaluate`."""

    def __call__(
        self, params: PyTree, state: PyTree, batch: Any, /
    ) -> Float[Array, "batch classes"]:
        """Returns the logits."""
        ...


@runtime_checkable
class Report(Protocol):
    """The reported metrics, from `Evaluate`'s sums divided by ``count``.

    Maps numpy arrays ``[points, ...]`` to numpy arrays ``[points]``, ``loss`` among them.
    """

    def __call__(self, means: dict[str, np.ndarray], /) -> dict[str, np.ndarray]:
        """Returns one number per point and metric."""
        ...


class Objective(NamedTuple):
    """What is minimised and what is measured.

    Attributes:
      train: the training loss of a batch, metric sums and the new state.
      evaluate: the metric sums of a batch.
      statistics: the state of a batch alone; None for a network without such a state.
      logits: the logits of a batch; None if the network is not a classifier.
      metrics: for metrics that are not means over examples, such as F1; None reports the means.

    >>> square = from_loss(lambda w, batch: jnp.mean((batch - w) ** 2))
    >>> with_rms = square._replace(metrics=lambda means: means | {"rms": np.sqrt(means["loss"])})
    >>> with_rms.metrics({"loss": np.array([4.0, 9.0])})  # at two points
    {'loss': array([4., 9.]), 'rms': array([2., 3.])}
    """

    train: Train
    evaluate: Evaluate
    statistics: Statistics | None = None
    logits: Logits | None = None
    metrics: Report | None = None


def from_loss(loss: Loss, axis_name: str | None = None, numbers: str | None = None) -> Objective:
    """Lifts a mean loss, ``loss(params, batch)`` or ``loss(params, batch, key)``.

    The only metric is ``loss``. A dict batch with ``weight`` (padded by the evaluator, or to divide
    it over devices) is passed to ``loss`` one example at a time, under ``vmap``, without the
    weights, which then weight the losses. Any other batch is passed as a whole.

    Args:
      loss: the mean over a batch.
      axis_name: the mapped axis over which a batch is divided, in equal contiguous parts. An
        example's key is then that of its position in the whole batch, whatever the number of
        devices.
      numbers: the key of a dict batch that holds the examples' numbers in the data. An example's
        key is then that of its number, whatever batch it is in. ``loss`` does not see this entry.

    Raises:
      ValueError: ``loss`` cannot be called with these arguments.

    >>> objective = from_loss(lambda w, batch: jnp.mean((batch["x"] - w) ** 2))
    >>> batch = {"x": np.float32([1, 3, 0]), "weight": np.float32([1, 1, 0])}
    >>> sums = jax.jit(objective.evaluate)(np.float32(0), {}, batch)
    >>> {name: float(x) for name, x in sums.items()}
    {'count': 2.0, 'loss': 10.0}
    """
    mean = with_key(loss)

    def total_and_count(
        params: PyTree, batch: Any, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
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

    def train(
        params: PyTree, state: PyTree, batch: Any, key: Key[Array, ""]
    ) -> tuple[jax.Array, tuple[Sums, PyTree]]:
        total, count = total_and_count(params, batch, key)
        mean = total / jnp.maximum(count, 1).astype(total.dtype)
        return mean, ({"loss": total, "count": count}, state)

    def evaluate(params: PyTree, state: PyTree, batch: Any) -> Sums:
        return train(params, state, batch, jax.random.key(0))[1][0]

    return Objective(train, evaluate)


def with_key(loss: Loss, name: str = "loss") -> Callable[[PyTree, Any, Any], jax.Array]:
    """Turns a loss with or without a key into ``loss(params, batch, key)``.

    The key is passed by keyword to an argument named ``key``, ``rng``, ``*_key`` or ``*_rng`` whose
    default is None or absent; otherwise to a third argument without a default. All other arguments
    keep their defaults.

    Args:
      loss: the function.
      name: what messages call it.

    Raises:
      ValueError: ``loss`` cannot be called this way.

    >>> loss = with_key(lambda params, batch, scale=2.0: scale * params * batch)
    >>> loss(3.0, 5.0, jax.random.key(0))
    30.0
    >>> with_key(lambda params: params)
    Traceback (most recent call last):
    ValueError: loss takes (params): expected (params, batch[, key]); ...
    """
    if not callable(loss):
        raise ValueError(
            f"{name}={loss!r} is not a function: expected {name}(params, batch[, key])"
        )
    signature = inspect.signature(loss)
    more = list(signature.parameters.values())[2:]
    asking = [p for p in more if _asks_for_key(p)]
    required = [p for p in more if p.default is p.empty and p.kind in _BY_PLACE]
    if asking:
        keyword = asking[0].name
        called = lambda params, batch, key: loss(params, batch, **{keyword: key})  # noqa: E731
        bind = lambda: signature.bind(None, None, **{keyword: None})  # noqa: E731
    elif required:
        called, bind = loss, lambda: signature.bind(None, None, None)
    else:
        called = lambda params, batch, key: loss(params, batch)  # noqa: E731
        bind = lambda: signature.bind(None, None)  # noqa: E731
    try:
        bind()
    except TypeError as error:
        raise ValueError(
            f"{name} takes {signature}: expected (params, batch[, key]); bind other arguments "
            f"with functools.partial ({error})"
        ) from None
    return called


def _asks_for_key(parameter: inspect.Parameter) -> bool:
    named = f"_{parameter.name}".endswith(("_key", "_rng")) and parameter.kind in _BY_NAME
    return named and (parameter.default is None or parameter.default is parameter.empty)


def exact_cross_entropy(
    logits: Float[Array | np.ndarray, "batch classes"],
    labels: Integer[Array | np.ndarray, " batch"],
) -> Float[Array, " batch"]:
    """Softmax cross-entropy whose small values keep their digits, down to 1e-38.

    Computes ``log(1 + sum_{j != k} exp(z_j - z_k)) + z_k - z_label`` with ``k`` the largest logit:
    ``log`` of a sum close to one would round to multiples of 1e-7.

    Args:
      logits: unnormalised log-probabilities.
      labels: the classes; a label that is not a class gives NaN.

    Returns:
      The losses, in nats.

    >>> losses = jax.jit(exact_cross_entropy)(np.float32([[18, 0, 1]]), np.array([0]))
    >>> [f"{loss:.2e}" for loss in losses]
    ['5.66e-08']
    """
    largest = jnp.argmax(logits, -1)[:, None]
    below = logits - jnp.take_along_axis(logits, largest, -1)
    others = jnp.where(jnp.arange(logits.shape[-1])[None] == largest, 0, jnp.exp(below))
    own = jnp.take_along_axis(below, labels[:, None], -1, mode="fill")[:, 0]
    # A negative label would index from the last class.
    return jnp.where(labels < 0, jnp.nan, jnp.log1p(jnp.sum(others, -1)) - own)


def with_l2(objective: Objective, weight_decay: float) -> Objective:
    """Adds the penalty ``0.5 * weight_decay * ||params||^2`` to the training loss.

    On a curve ``params`` is the curve's point (Garipov et al., 2018). The metric ``l2`` records
    ``||params||^2``; the metric ``loss`` does not include the penalty.

    Args:
      objective: what to minimise besides.
      weight_decay: in units of loss per squared weight distance.

    >>> objective = with_l2(from_loss(lambda w, batch: jnp.float32(1)), weight_decay=0.1)
    >>> batch = np.zeros((2, 1), np.float32)
    >>> params = np.float32([3, 4])
    >>> loss, (sums, _) = jax.jit(objective.train)(params, {}, batch, jax.random.key(0))
    >>> float(loss), float(sums["loss"] / sums["count"])
    (2.25, 1.0)
    """

    def train(
        params: PyTree, state: PyTree, batch: Any, key: Key[Array, ""]
    ) -> tuple[jax.Array, tuple[Sums, PyTree]]:
        loss, (sums, state) = objective.train(params, state, batch, key)
        loss = curves.wide(loss)
        l2 = curves.squared_norm(params).astype(loss.dtype)
        count = jnp.asarray(sums["count"], loss.dtype)
        sums = {**sums, "l2": jax.lax.stop_gradient(l2) * count}
        return loss + 0.5 * weight_decay * l2, (sums, state)

    return objective._replace(train=train)


def on_curve(curve: curves.Curve, objective: Objective, strata: int = 1) -> StratumLoss:
    """Trains a curve's bends: `mcjax.curves.curve_loss` of the objective, for the trainer.

    Args:
      curve: the family.
      objective: what is minimised at the curve's points.
      strata: number of equal parts of ``[0, 1]`` from which ``t`` is drawn.

    Returns:
      ``train(bends, endpoints, state, batch, key, stratum)``.

    Raises:
      ValueError: ``curve`` is not a curve.

    >>> at = from_loss(lambda w, batch: w)  # the curve's point itself
    >>> train = on_curve(curves.polygonal_chain(1), at)
    >>> bends, ends = (jnp.float32(5),), (jnp.float32(5), jnp.float32(5))
    >>> loss, (sums, state) = jax.jit(train)(bends, ends, {}, np.zeros(2), jax.random.key(0), 0)
    >>> float(loss)
    5.0
    """
    loss = curves.curve_loss(curve, objective.train, strata)
    return lambda bends, endpoints, state, batch, key, stratum: loss(
        bends, endpoints, state, batch, key, stratum=stratum
    )


def on_curve_with_free_ends(
    curve: curves.Curve, objective: Objective, strata: int = 1
) -> StratumLoss:
    """As `on_curve`, but trains all control points: ``train((start, *bends, end), (), ...)``.

    Args:
      curve: the family.
      objective: what is minimised at the curve's points.
      strata: number of equal parts of ``[0, 1]`` from which ``t`` is drawn.

    Raises:
      ValueError: ``curve`` is not a curve.

    >>> train = on_curve_with_free_ends(curves.segment(), from_loss(lambda w, batch: w))
    >>> ends = (jnp.float32(5), jnp.float32(5))
    >>> float(jax.jit(train)(ends, (), {}, np.zeros(2), jax.random.key(0), 0)[0])
    5.0
    """
    loss = on_curve(curve, objective, strata)
    return lambda points, _, state, batch, key, stratum: loss(
        points[1:-1], (points[0], points[-1]), state, batch, key, stratum
    )


def at_point(objective: Objective) -> StratumLoss:
    """Trains a mode: the objective at the parameters themselves.

    >>> train = at_point(from_loss(lambda w, batch: w))
    >>> float(train(jnp.float32(5), (), {}, np.zeros(2), jax.random.key(0), 0)[0])
    5.0
    """
    return lambda params, _, state, batch, key, stratum: objective.train(params, state, batch, key)
