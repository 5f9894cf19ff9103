"""Flax linen: a convolutional network on scikit-learn's digits, and the plane of its curve.

Run ``python -m experiments.examples.linen --figure=linen``.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mcjax import api, data, plots, results

from . import shared

CONVOLUTIONS = [nn.Conv(16, (2, 2), 2), nn.relu, nn.Conv(32, (2, 2), 2), nn.relu]
MODEL = nn.Sequential([*CONVOLUTIONS, jax.vmap(jnp.ravel), nn.Dense(10)])


def loss(params: Any, batch: Any) -> jax.Array:
    """Mean cross-entropy; a batch has rows of the data, images and labels."""
    logits = jnp.asarray(MODEL.apply(params, batch["images"] / 255))
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()


def main(
    figure: str | None = None, epochs: int = 30, grid: tuple[int, int] = (13, 13)
) -> tuple[results.Profile, results.Surface]:
    """Trains two networks, fits a curve between them, and evaluates it and its plane."""
    digits = data.load("digits")
    train, held_out = digits.train._asdict(), digits.validation._asdict()
    ends = []
    for seed in (0, 1):
        params = jax.jit(MODEL.init)(jax.random.key(seed), jnp.zeros((1, 8, 8, 1)))
        ends.append(shared.train(loss, params, train, seed=seed, epochs=epochs, batch_size=50))

    curve = api.ONE_BEND
    points, _ = api.fit_curve(
        loss, ends[0], ends[1], train, curve=curve, optimizer=optax.adam(3e-3), epochs=epochs,
        batch_size=50, key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(loss, curve, points, train, held_out)
    plane = api.surface(loss, (*ends, points[1]), train, curve=(curve, points), grid=grid)

    shared.show(profile, "Flax linen", figure)
    if figure:
        with plots.style():
            plots.save(plots.surface_figure(plane, "train_loss"), Path(f"{figure}_surface"))
    return profile, plane


if __name__ == "__main__":
    shared.command(main, __doc__)
