"""A network of two parameters, for examples.

``f(x) = second * tanh(first * x)`` tells positive numbers from negative ones; its logits are
``(-f, f)``. Changing the sign of both parameters changes nothing, so `A` and `B` are the same
function. Half way between them lies zero, which knows nothing and has the loss ``log 2``.

>>> from mcjax.analysis import toy
>>> found = toy.evaluator()([toy.A, toy.B], np.array([[1, 0], [0.5, 0.5], [0, 1]]), {})
>>> found["train"]["loss"].round(2)
array([0.03, 0.69, 0.03])
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax.engine import evaluation, objectives, parallel, training
from mcjax.typing import Array, Float


def _network(first: float, second: float) -> dict[str, dict[str, np.ndarray]]:
    return {
        "first": {"w": np.array([first], np.float32)},
        "second": {"w": np.array([second], np.float32)},
    }


A, B = _network(2, 2), _network(-2, -2)
"""Two equally good networks."""
BEND = _network(-2, 2)
"""A control point between them."""
TRAIN = {
    "x": np.array([-1.5, -1.0, 0.5, 1.0], np.float32),
    "labels": np.array([0, 0, 1, 1], np.int32),
}
"""Four examples; the label of a positive number is 1."""
VALIDATION = {"x": np.array([-0.5, 1.5], np.float32), "labels": np.array([0, 1], np.int32)}
"""Two more."""


def _logits(params: Any, state: Any, batch: Any) -> Float[Array, "batch 2"]:
    f = params["second"]["w"] * jnp.tanh(params["first"]["w"] * batch["x"])
    return jnp.stack([-f, f], axis=-1)


def _loss(params: Any, batch: Any) -> Float[Array, ""]:
    """Mean softmax cross-entropy: ``log(1 + exp(z_other - z_label))`` of two logits."""
    above = jnp.diff(_logits(params, {}, batch), axis=-1)[:, 0]
    sign = 1 - 2 * batch["labels"].astype(above.dtype)
    return jnp.mean(jax.nn.softplus(sign * above))


OBJECTIVE = objectives.from_loss(_loss)._replace(logits=_logits)
"""The mean cross-entropy of a batch, and its logits."""


def _fetch(data: Any, rows: Any, examples: Any, weight: Any, key: Any) -> Any:
    return {name: jnp.asarray(x)[rows] for name, x in data.items()} | {"weight": weight}


@functools.cache
def evaluator() -> evaluation.Evaluator:
    """Evaluates the loss on both splits, on the first device.

    >>> evaluator()((A, B), np.eye(2), {})["validation"]["loss"].round(2)
    array([0.03, 0.03])
    """
    splits = {"train": TRAIN, "validation": VALIDATION}
    return evaluation.Evaluator(OBJECTIVE, _fetch, splits, parallel.make_mesh(jax.devices()[:1]))


@functools.cache
def trainer() -> training.Trainer:
    """Trains networks by gradient descent in batches of two, on the first device.

    >>> state = trainer().init(A, (), {}, TRAIN)
    >>> for chunk in training.chunks(trainer(), state, (), TRAIN, 20, jax.random.key(0)):
    ...     state = chunk.state
    >>> loss = evaluator()((A, state.params), np.eye(2), {})["train"]["loss"]
    >>> bool(loss[1] < 0.8 * loss[0])
    True
    """
    mesh = parallel.make_mesh(jax.devices()[:1])
    return training.make_trainer(
        objectives.at_point(OBJECTIVE), _fetch, optax.sgd(0.5), size=4, batch_size=2, mesh=mesh
    )
