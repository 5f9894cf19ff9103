"""Flax linen: dropout while fitting a curve; accuracy and F1 along it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mcjax import api, data, results
from mcjax.engine import parallel
from mcjax.flax.objective import cross_entropy
from mcjax.flax.ops import layers

from . import shared


class Net(nn.Module):
    """An MLP; with the mesh's axis, masks do not depend on the number of devices."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits ``[B, 10]``; training requires the random stream ``dropout``."""
        x = nn.relu(nn.Dense(48)(images.reshape(len(images), -1) / 255))
        x = layers.Dropout(0.2, self.axis_name)(x, train)
        return nn.Dense(10)(nn.relu(nn.Dense(48)(x)))


def loss(params: shared.Tree, batch: shared.Tree, key: jax.Array) -> jax.Array:
    """Mean cross-entropy, to train a mode; every step has a new key."""
    variables, rngs = {"params": params}, {"dropout": key}
    logits = jnp.asarray(Net().apply(variables, batch["images"], True, rngs=rngs))
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()


def main(figure: str | None = None, epochs: int = 30, points: int = 61) -> results.Profile:
    """Trains two networks, fits a curve between them, and evaluates it."""
    digits = data.load("digits")
    train, held_out = digits.train._asdict(), digits.validation._asdict()
    ends = []
    for seed in (0, 1):
        params = jax.jit(Net().init, static_argnums=2)(
            jax.random.key(seed), jnp.zeros((1, 8, 8, 1)), False
        )["params"]
        ends.append(shared.train(loss, params, train, seed=seed, epochs=epochs, batch_size=50))
    objective = cross_entropy(Net(parallel.DATA_AXIS))  # dropout is on in training only
    found, _ = api.fit_curve(
        objective, ends[0], ends[1], train, optimizer=shared.ADAM, epochs=epochs, batch_size=50,
        key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(
        objective, api.ONE_BEND, found, train, held_out, points=points, metrics=shared.F1
    )
    return shared.show(profile, "Flax linen with dropout", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
