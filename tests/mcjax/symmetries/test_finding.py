"""The groups that are found are the ones a network has, and its function does not change."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import symmetries
from mcjax.flax import models
from tests.mcjax.symmetries.functions import (
    SCANNED,
    Transformer,
    fill,
    inputs,
    linen,
    nnx_net,
    scanned,
)


def prove(function, params, x, groups, share):
    """Finds and proves a spec with so many groups that move that share of the parameters."""
    spec = symmetries.find(function, params, x)
    assert symmetries.check(spec, jax.jit(function), params, x) < 1e-5
    assert symmetries.moved_share(spec, params) > share
    assert sorted(g.size for g in spec.groups.values()) == sorted(groups)
    return spec


@pytest.mark.slow
def test_vgg_through_every_form_of_convolution():
    model = models.create("vgg7", num_classes=10, width=0.125)
    prove(*linen(model, inputs(2, 8, 8, 1), False), [4, 4, 8, 8, 16, 16], 0.99)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "count"), [("vgg16_bn", 15), ("preresnet20", 12), ("wrn28x10", 16)]
)
def test_residual_networks_and_vgg16(name, count):
    """A group for each block's inner channels and for each stream between projections."""
    model = models.create(name, num_classes=10, width=0.125)
    function, params, x = linen(model, inputs(2, 32, 32, 3), False)
    spec = symmetries.find(function, params, x)
    assert len(spec.groups) == count
    assert symmetries.check(spec, jax.jit(function), params, x) < 1e-5
    assert symmetries.moved_share(spec, params) > 0.99


def test_a_transformer_s_stream_heads_and_widths():
    tokens = jnp.arange(10).reshape(2, 5)
    # The stream, the heads, queries' and keys' width, values' width, the hidden units.
    prove(*linen(Transformer(), tokens), [10, 3, 4, 4, 14], 0.98)


@pytest.mark.parametrize("cell", [nn.OptimizedLSTMCell, nn.GRUCell])
def test_gated_cells_have_one_group(cell):
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.RNN(cell(6))(x))

    prove(*linen(Network(), inputs(2, 4, 3)), [6], 0.9)


def test_gates_that_are_slices_of_one_kernel_share_a_group():
    def network(params, x):
        def step(carry, now):
            h, c = carry
            i, f, g = jnp.split(now @ params["x"] + h @ params["h"], 3, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jnp.tanh(c), c), None

        zeros = jnp.zeros((2, 5))
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), x)
        return h @ params["out"]

    params = {"x": np.zeros((3, 15)), "h": np.zeros((5, 15)), "out": np.zeros((5, 2))}
    prove(network, fill(jax.tree.map(jnp.asarray, params)), inputs(4, 2, 3), [5], 0.99)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["split", "reshape"])
def test_fused_queries_keys_and_values(first):
    def network(params, x):
        qkv = (x @ params["in"]) @ params["qkv"]
        if first == "split":
            q, k, v = (z.reshape(2, 5, 3, 4) for z in jnp.split(qkv, 3, -1))
        else:
            q, k, v = (qkv.reshape(2, 5, 3, 3, 4)[:, :, i] for i in range(3))
        weights = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
        return jnp.einsum("bhts,bshd->bthd", weights, v).reshape(2, 5, 12) @ params["out"]

    params = {"in": jnp.zeros((3, 7)), "qkv": jnp.zeros((7, 36)), "out": jnp.zeros((12, 2))}
    widths = [4, 4] if first == "split" else [4]  # sliced after the reshape, they share a width
    prove(network, fill(params), inputs(2, 5, 3), [7, 3, *widths], 0.99)


def test_scanned_layers_have_a_group_each_and_tied_embeddings_one():
    spec = prove(scanned, fill(SCANNED), inputs(2, 3), [7, 5], 0.99)
    assert {g.size: g.layers for g in spec.groups.values()} == {7: None, 5: 4}


@pytest.mark.slow
def test_depthwise_and_grouped_convolutions():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(6, (3, 3))(x))
            x = nn.relu(nn.Conv(12, (3, 3), feature_group_count=6)(x))  # two outputs a channel
            x = nn.relu(nn.Conv(15, (3, 3), feature_group_count=3)(x))
            return nn.Dense(2)(x.mean((1, 2)))

    # 6 channels are 3 groups of 2, their outputs 3 x 2 x 2, the last convolution's 3 x 5.
    prove(*linen(Network(), inputs(2, 4, 4, 2)), [3, 2, 2, 5], 0.9)


def test_concatenations_of_unequal_parts():
    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            a = nn.relu(nn.Dense(6)(x))
            b = nn.relu(nn.Dense(4)(a))
            return nn.Dense(3)(jnp.concatenate([a, x, b], -1))

    spec = prove(*linen(Network(), inputs(2, 5)), [6, 4], 0.9)
    assert "axis 1 of an input" in str(spec)


def test_nnx_with_batch_norm():
    prove(*nnx_net(4), [8], 0.9)
