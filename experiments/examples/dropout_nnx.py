"""Flax NNX: dropout while fitting a curve; accuracy and F1 along it."""

import jax
from flax import nnx

from mcjax import api, data, results
from mcjax.engine import classification, objectives, parallel

from . import shared


class Net(nnx.Module):
    """An MLP without random state: the caller passes the random streams."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.last = nnx.Linear(64, 48, rngs=rngs), nnx.Linear(48, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)

    def __call__(self, images: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits ``[B, 10]``; with ``rngs``, dropout is on."""
        x = nnx.relu(self.first(images.reshape(len(images), -1) / 255))
        return self.last(self.dropout(x, deterministic=rngs is None, rngs=rngs))


GRAPH, _ = nnx.split(Net(nnx.Rngs(0)), nnx.Param)


def logits(params: shared.Tree, batch: shared.Tree, key: jax.Array | None = None) -> jax.Array:
    """Logits ``[B, 10]`` of the merged parameters and graph; with a key, dropout is on."""
    rngs = None if key is None else nnx.Rngs(dropout=key)
    return nnx.merge(GRAPH, params)(batch["images"], rngs)


def loss(params: shared.Tree, batch: shared.Tree, key: jax.Array) -> jax.Array:
    """Mean cross-entropy, to train a mode; every step has a new key."""
    return objectives.exact_cross_entropy(logits(params, batch, key), batch["labels"]).mean()


OBJECTIVE = classification.cross_entropy(logits, parallel.DATA_AXIS)  # evaluates without dropout


def main(figure: str | None = None, epochs: int = 30, points: int = 61) -> results.Profile:
    """Trains two networks, fits a curve between them, and evaluates it."""
    digits = data.load("digits")
    examples, held_out = digits.train._asdict(), digits.validation._asdict()
    networks = [nnx.state(Net(nnx.Rngs(seed)), nnx.Param) for seed in (0, 1)]
    ends = [shared.train(loss, networks[i], examples, i, epochs, batch_size=50) for i in (0, 1)]
    found, _ = api.fit_curve(
        OBJECTIVE, ends[0], ends[1], examples, optimizer=shared.ADAM, epochs=epochs, batch_size=50,
        key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(
        OBJECTIVE, api.ONE_BEND, found, examples, held_out, points=points, metrics=shared.F1
    )
    return shared.show(profile, "Flax NNX with dropout", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
