"""Flax NNX: dropout while a curve is fitted; accuracy and F1 along it."""

import jax
from flax import nnx

from mcjax import api, data
from mcjax.engine import objectives

from . import shared


class Net(nnx.Module):
    """An MLP that keeps no random numbers: whoever calls it brings them."""

    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(64, 48, rngs=rngs), nnx.Linear(48, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)

    def __call__(self, images, rngs=None):
        """Logits; with ``rngs`` dropout is on."""
        x = nnx.relu(self.first(images.reshape(len(images), -1) / 255))
        return self.last(self.dropout(x, deterministic=rngs is None, rngs=rngs))


GRAPH, _ = nnx.split(Net(nnx.Rngs(0)), nnx.Param)


def logits(params, batch, key=None):
    """``[B, 10]``; merges parameters and graph, and draws dropout's masks from the key, if any."""
    rngs = None if key is None else nnx.Rngs(dropout=key)
    return nnx.merge(GRAPH, params)(batch["images"], rngs)


def loss(params, batch, key):
    """How a mode is trained: the key is new at every step."""
    return objectives.exact_cross_entropy(logits(params, batch, key), batch["labels"]).mean()


# Trains with dropout, evaluates without; measures loss and accuracy, and F1 on top.
OBJECTIVE = shared.with_f1(shared.classifier(logits), classes=10)


def main(figure=None, epochs=30, points=61):
    """Trains two networks, fits the curve between them, and looks at it."""
    digits = data.load("digits")
    examples, held_out = digits.train._asdict(), digits.validation._asdict()
    networks = [nnx.state(Net(nnx.Rngs(seed)), nnx.Param) for seed in (0, 1)]
    ends = [shared.train(loss, networks[i], examples, i, epochs, batch_size=50) for i in (0, 1)]
    found, _ = api.fit_curve(
        OBJECTIVE, ends[0], ends[1], examples, optimizer=shared.ADAM, epochs=epochs, batch_size=50,
        key=jax.random.key(2),
    )  # fmt: skip
    profile = api.profile(OBJECTIVE, api.ONE_BEND, found, examples, held_out, points=points)
    return shared.show(profile, "Flax NNX with dropout", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
