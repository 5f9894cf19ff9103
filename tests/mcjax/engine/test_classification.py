"""A classifier's objective from its logits alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import api, curves
from mcjax.engine import classification, parallel
from mcjax.flax.models.mlp import MLP
from mcjax.flax.objective import cross_entropy

RNG = np.random.default_rng(4)
BATCH = {
    "images": RNG.normal(size=(6, 2, 2, 1)).astype(np.float32),
    "labels": RNG.integers(0, 3, 6).astype(np.int32),
    "weight": np.float32([1, 1, 1, 1, 1, 0]),
}
PARAMS = {
    "Dense_0": {
        "kernel": RNG.normal(size=(4, 3)).astype(np.float32),
        "bias": np.zeros(3, np.float32),
    }
}


def dense(params, batch):
    layer = params["Dense_0"]
    return batch["images"].reshape(-1, 4) @ layer["kernel"] + layer["bias"][None]


def dropped(params, batch, rng=None):
    logits = dense(params, batch)
    if rng is None:
        return logits
    return jnp.where(jax.random.bernoulli(rng, shape=logits.shape), logits, 0)


def test_it_is_the_objective_of_the_same_network_in_flax():
    mine = classification.cross_entropy(dense)
    theirs = cross_entropy(MLP(num_classes=3, hidden=()))
    key = jax.random.key(0)
    with_gradient = [
        jax.jit(jax.value_and_grad(objective.train, has_aux=True))(PARAMS, {}, BATCH, key)
        for objective in (mine, theirs)
    ]
    for a, b in zip(*map(jax.tree.leaves, with_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    sums = mine.evaluate(PARAMS, {}, BATCH)
    for name, total in theirs.evaluate(PARAMS, {}, BATCH).items():
        np.testing.assert_allclose(sums[name], total, rtol=1e-6)


def test_dropout_is_on_in_training_only():
    plain, objective = map(classification.cross_entropy, (dense, dropped))
    assert objective.evaluate(PARAMS, {}, BATCH) == plain.evaluate(PARAMS, {}, BATCH)
    np.testing.assert_array_equal(objective.logits(PARAMS, {}, BATCH), dense(PARAMS, BATCH))
    losses = [float(objective.train(PARAMS, {}, BATCH, jax.random.key(i))[0]) for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_with_the_axis_devices_draw_their_own_masks():
    """The same rows on two devices: equal losses without the axis' name, different ones with it."""
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), BATCH)

    def losses(axis_name):
        train = classification.cross_entropy(dropped, axis_name).train
        mapped = jax.vmap(
            lambda batch: train(PARAMS, {}, batch, jax.random.key(0))[0],
            axis_name=parallel.DATA_AXIS,
        )
        return mapped(twice)

    shared, own = losses(None), losses(parallel.DATA_AXIS)
    assert shared[0] == shared[1]
    assert own[0] != own[1]


def test_accuracy_may_be_asked_for_though_it_is_measured_anyhow():
    points, t = (PARAMS, PARAMS), curves.segment()
    data = {name: x for name, x in BATCH.items() if name != "weight"}
    found = api.profile(
        classification.cross_entropy(dense),
        t,
        points,
        data,
        points=2,
        metrics=["accuracy", "error"],
    )
    of_train = found.segment.metrics["train"]
    assert set(of_train) == {"loss", "accuracy", "error"}
    np.testing.assert_allclose(of_train["accuracy"], 1 - of_train["error"])


def test_wrong_logits_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^logits takes \(params\): expected \(params, batch"):
        classification.cross_entropy(lambda params: params)
