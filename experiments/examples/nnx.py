"""Flax NNX: a network with layer norm on scikit-learn's digits, and a Bezier curve."""

from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from mcjax import api, curves, data, results

from . import shared


def create(seed: int) -> nnx.Module:
    """A network; each seed gives another one."""
    rngs, norm = nnx.Rngs(seed), nnx.LayerNorm(48, rngs=nnx.Rngs(seed))
    layers = [nnx.Linear(m, n, rngs=rngs) for m, n in ((64, 48), (48, 48), (48, 10))]
    return nnx.Sequential(layers[0], norm, nnx.relu, layers[1], nnx.relu, layers[2])


def model_loss(model: Any, batch: Any) -> jax.Array:
    """Mean cross-entropy; a batch has rows of the data, images and labels."""
    logits = model(batch["images"].reshape(-1, 64) / 255)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()


@nnx.jit
def step(model: nnx.Module, optimizer: nnx.Optimizer[nnx.Module], batch: Any) -> None:
    """Takes a training step, in place."""
    optimizer.update(model, nnx.grad(model_loss)(model, batch))


def train(model: nnx.Module, examples: dict[str, Any], seed: int, steps: int) -> Any:
    """Trains a module and returns its parameters."""
    optimizer = nnx.Optimizer(model, shared.ADAM, wrt=nnx.Param)
    for rows in np.random.default_rng(seed).integers(len(examples["labels"]), size=(steps, 50)):
        step(model, optimizer, {name: x[rows] for name, x in examples.items()})
    return nnx.state(model, nnx.Param)


def main(figure: str | None = None, epochs: int = 30) -> results.Profile:
    """Trains two networks, fits a curve between them, and evaluates it."""
    digits = data.load("digits")
    examples, held_out = digits.train._asdict(), digits.validation._asdict()
    start, end = (train(create(seed), examples, seed, 25 * epochs) for seed in (0, 1))
    graph, _, rest = nnx.split(create(0), nnx.Param, ...)  # rest: dropout's keys
    loss = lambda params, batch: model_loss(nnx.merge(graph, params, rest), batch)  # noqa: E731
    curve = curves.bezier(1)
    points, _ = api.fit_curve(
        loss, start, end, examples, curve=curve, optimizer=optax.adam(3e-3), epochs=epochs,
        batch_size=50, key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(loss, curve, points, examples, held_out)
    return shared.show(profile, "Flax NNX", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
