"""Equinox: an MLP on scikit-learn's digits (``pip install equinox``).

Run ``python -m experiments.examples.equinox_mlp --figure=mlp``.
"""

from typing import Any

import equinox as eqx
import jax
import optax

from mcjax import api, data, results

from . import shared


def create(seed: int) -> tuple[Any, Any]:
    """A network in two parts: its arrays, which are trained, and the rest, which is fixed."""
    model = eqx.nn.MLP(64, 10, width_size=48, depth=2, key=jax.random.key(seed))
    return eqx.partition(model, eqx.is_inexact_array)


def main(figure: str | None = None, epochs: int = 30) -> results.Profile:
    """Trains two networks, fits a curve between them, and evaluates it."""
    digits = data.load("digits")
    train, held_out = digits.train._asdict(), digits.validation._asdict()
    (first, rest), (second, _) = create(0), create(1)

    def loss(params: Any, batch: Any) -> jax.Array:
        logits = jax.vmap(eqx.combine(params, rest))(batch["images"].reshape(-1, 64) / 255)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()

    start, end = (
        shared.train(loss, params, train, seed=seed, epochs=epochs, batch_size=50)
        for seed, params in enumerate((first, second))
    )
    points, _ = api.fit_curve(
        loss, start, end, train, optimizer=optax.adam(3e-3), epochs=epochs, batch_size=50,
        key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(loss, api.ONE_BEND, points, train, held_out)
    return shared.show(profile, "Equinox", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
