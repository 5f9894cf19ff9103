"""Matching by weights: permuted copies are found back, and the objective rises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mcjax import symmetries
from mcjax.flax import models
from tests.mcjax.symmetries.functions import SCANNED, Transformer, fill, inputs, linen, scanned


def matched_back(function, params, x, seed):
    spec = symmetries.find(function, params, x)
    permuted = symmetries.apply(spec, symmetries.random(spec, jax.random.key(seed)), params)
    match = symmetries.match_weights(spec, params, permuted, seed=seed, restarts=4)
    back = symmetries.apply(spec, match.permutations, permuted)
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (params, back)), strict=True)
    )


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10))]
)
def test_permuted_copies_are_matched_back_exactly(seed):
    model = models.create("vgg7_bn", num_classes=10, width=0.25)
    assert matched_back(*linen(model, inputs(2, 8, 8, 1), False), seed)
    assert matched_back(*linen(Transformer(), jnp.arange(10).reshape(2, 5)), seed)
    assert matched_back(scanned, fill(SCANNED), inputs(2, 3), seed)


def test_matching_maximises_the_inner_product():
    def network(params, x):
        return jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"]) @ params["c"]

    shapes = {"a": jnp.zeros((3, 6)), "b": jnp.zeros((6, 5)), "c": jnp.zeros((5, 2))}
    one, two = fill(shapes, 1), fill(shapes, 2)
    spec = symmetries.find(network, one, inputs(4, 3))
    done: list[int] = []
    match = symmetries.match_weights(spec, one, two, restarts=3, progress=done.append)
    assert done == list(range(1, len(done) + 1))
    assert len(done) >= 3 * 2 * len(spec.groups)  # two rounds or more each; the last improves none
    aligned = symmetries.apply(spec, match.permutations, two)
    product = sum(float((one[n] * np.asarray(aligned[n])).sum()) for n in one)
    assert product == pytest.approx(match.inner_product, rel=1e-5)
    assert product > sum(float((one[n] * two[n]).sum()) for n in one)
    np.testing.assert_allclose(
        network(aligned, inputs(4, 3)), network(two, inputs(4, 3)), rtol=1e-4
    )


def test_no_restart_follows_an_exact_match():
    shapes = {"x": jnp.zeros((3, 8)), "out": jnp.zeros((8, 2)), "frozen": jnp.zeros(3)}
    one = fill(shapes)
    spec = symmetries.by_hand(one, {"x": (None, "P"), "out": ("P", None)})
    two = symmetries.apply(spec, symmetries.random(spec, jax.random.key(0)), one)
    for other, visits in ((two, 2), (fill(shapes, 1), 10)):
        done: list[int] = []
        symmetries.match_weights(spec, one, other, restarts=5, progress=done.append)
        assert done == list(range(1, visits + 1))  # one group: a round that improves, and one more


def test_matching_ends_where_a_group_occurs_twice_in_a_leaf():
    """With the other occurrence held, an assignment may lower the objective: it is not taken."""
    params = {"w": np.diag([5.0, 5.0])}
    spec = symmetries.by_hand(params, {"w": ("P", "P")})
    assert symmetries.match_weights(spec, {"w": -np.eye(2)}, params).inner_product == -10
    shapes = {"x": jnp.zeros((3, 8)), "h": jnp.zeros((8, 8)), "out": jnp.zeros((8, 2))}
    spec = symmetries.by_hand(shapes, {"x": (None, "P"), "h": ("P", "P"), "out": ("P", None)})
    for seed in range(4):
        one, two = fill(shapes, seed), fill(shapes, seed + 10)
        match = symmetries.match_weights(spec, one, two)
        assert match.inner_product > sum(float((one[n] * two[n]).sum()) for n in one) - 1e-5


def test_bfloat16_networks_are_matched():
    params = {"a": jnp.arange(12.0, dtype=jnp.bfloat16).reshape(3, 4)}
    spec = symmetries.by_hand(params, {"a": (None, "P")})
    moved = symmetries.apply(spec, {"P": np.array([2, 0, 3, 1])}, params)
    back = symmetries.apply(spec, symmetries.match_weights(spec, params, moved).permutations, moved)
    assert back["a"].dtype == jnp.bfloat16
    assert (back["a"] == params["a"]).all()


def test_gates_in_one_kernel_are_matched_back():
    def network(params, x):
        gate, value = jnp.split(x @ params["in"] + params["bias"][None], 2, axis=-1)
        return (jax.nn.sigmoid(gate) * jnp.tanh(value)) @ params["out"]

    shapes = {"in": jnp.zeros((3, 10)), "bias": jnp.zeros(10), "out": jnp.zeros((5, 2))}
    assert matched_back(network, fill(shapes), inputs(4, 3), 0)


@pytest.mark.parametrize("restarts", [1, 3])
def test_the_objective_never_falls(restarts):
    one, two = fill(SCANNED, 1), fill(SCANNED, 2)
    spec = symmetries.find(scanned, one, inputs(20, 3))
    matches = [
        symmetries.match_weights(spec, one, two, restarts=restarts),
        symmetries.match_activations(
            spec, scanned, one, two, [(inputs(20, 3),)], restarts=restarts
        ),
    ]
    for match in matches:
        assert len(match.history) > 2
        assert (np.diff(match.history) > 0).all()
        assert match.history[-1] == pytest.approx(match.inner_product)


def test_weights_of_batch_norm_s_averages_need_not_count():
    shapes = {"params": {"w": jnp.zeros((3, 6))}, "batch_stats": {"mean": jnp.zeros(6)}}
    one, two = fill(shapes, 1), fill(shapes, 2)
    two["batch_stats"]["mean"] = 1e3 * two["batch_stats"]["mean"]
    spec = symmetries.by_hand(one, {"params/w": (None, "P"), "batch_stats/mean": ("P",)})
    match = symmetries.match_weights(spec, one, two, counts=lambda n: n.startswith("params/"))
    gains = np.asarray(one["params"]["w"]).T @ np.asarray(two["params"]["w"])
    best = linear_sum_assignment(gains, maximize=True)[1]
    np.testing.assert_array_equal(match.permutations["P"], best)
    moved = symmetries.apply(spec, match.permutations, two)["batch_stats"]["mean"]
    np.testing.assert_array_equal(moved, two["batch_stats"]["mean"][best])
