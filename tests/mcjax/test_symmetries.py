"""The groups that are found are the ones a network has, and its function does not change."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mcjax import symmetries
from mcjax.flax import models


def fill(shapes, seed=0):
    """Random values; those of vectors are positive, so that variances may be among them."""
    rng = np.random.default_rng(seed)

    def draw(x):
        spread = rng.normal(size=x.shape)
        return (0.3 * spread if x.ndim > 1 else 0.5 + 0.3 * np.abs(spread)).astype(x.dtype)

    return jax.tree.map(draw, shapes)


def inputs(*shape):
    return jax.random.normal(jax.random.key(1), shape)


def linen(module, x, *args):
    params = fill(jax.eval_shape(lambda: module.init(jax.random.key(0), x, *args)))
    return lambda p, x: module.apply(p, x, *args), params, x


def prove(function, params, x, groups, share):
    """Finds and proves a spec with so many groups that move that share of the parameters."""
    spec = symmetries.find(function, params, x)
    assert symmetries.check(spec, jax.jit(function), params, x) < 1e-5
    assert symmetries.moved_share(spec, params) > share
    assert sorted(g.size for g in spec.groups.values()) == sorted(groups)
    return spec


def test_vgg_through_every_form_of_convolution():
    model = models.create("vgg7", num_classes=10, width=0.125)
    prove(*linen(model, inputs(2, 8, 8, 1), False), [4, 4, 8, 8, 16, 16], 0.99)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "count"), [("vgg16_bn", 15), ("preresnet20", 12), ("wrn28x10", 13)]
)
def test_residual_networks_and_vgg16(name, count):
    model = models.create(name, num_classes=10, width=0.125)
    function, params, x = linen(model, inputs(2, 32, 32, 3), False)
    spec = symmetries.find(function, params, x)
    assert len(spec.groups) == count
    assert symmetries.check(spec, jax.jit(function), params, x) < 1e-5
    assert symmetries.moved_share(spec, params) > 0.99


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=12)(h, h)
        return x + nn.Dense(10)(nn.gelu(nn.Dense(14)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(11, 10)(tokens)
        return nn.Dense(11)(Block()(x))


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


def scanned(params, x):
    def layer(h, w):
        return h + jnp.tanh(h @ w["a"]) @ w["b"], None

    h, _ = jax.lax.scan(layer, x @ params["in"], params["layers"])
    return h @ params["in"].T


SCANNED = {
    "in": jnp.zeros((3, 7)),
    "layers": {"a": jnp.zeros((4, 7, 5)), "b": jnp.zeros((4, 5, 7))},
}


def test_scanned_layers_have_a_group_each_and_tied_embeddings_one():
    spec = prove(scanned, fill(SCANNED), inputs(2, 3), [7, 5], 0.99)
    assert {g.size: g.layers for g in spec.groups.values()} == {7: None, 5: 4}


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
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(3, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
            self.b = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.norm(self.a(x))))

    graph, state = nnx.split(Network(nnx.Rngs(0)))
    prove(lambda s, x: nnx.merge(graph, s)(x), fill(state), inputs(4, 3), [8], 0.9)


@pytest.mark.parametrize(
    "operation",
    [jnp.cumsum, lambda h: h[:, ::-1], lambda h: jnp.sort(h, -1), lambda h: h[:, ::2],
     lambda h: h * jnp.arange(6.0)[None], lambda h: jax.lax.top_k(h, 2)[0],
     lambda h: h * np.float32([[1, 1, 1, 1, 1, 2]]),
     lambda h: jnp.argmax(h, -1)[:, None],
     lambda h: h[jnp.array([0, 1]), jnp.array([2, 3])][:, None]],
)  # fmt: skip
def test_what_depends_on_positions_freezes(operation):
    def network(params, x):
        h = operation(x @ params["a"])
        return h.astype(float).sum()

    spec = symmetries.find(network, {"a": jnp.ones((3, 6))}, inputs(2, 3))
    assert not spec.groups


def test_an_unknown_primitive_freezes_and_is_named():
    def network(params, x):
        return jnp.linalg.cholesky(params["a"] @ params["a"].T + jnp.eye(4)) @ x

    spec = symmetries.find(network, {"a": jnp.ones((4, 6))}, inputs(4, 2))
    assert [g.size for g in spec.groups.values()] == [6]
    assert "cholesky" in spec.unknown
    assert "cholesky: no rule" in str(spec)


def test_a_wrong_spec_is_refused_and_the_group_named():
    def network(params, x):
        return jnp.tanh(x @ params["a"]) @ params["b"]

    params = fill({"a": jnp.zeros((3, 4)), "b": jnp.zeros((4, 2))})
    right = symmetries.by_hand(params, {"a": (None, "hidden"), "b": ("hidden", None)})
    assert symmetries.check(right, network, params, inputs(5, 3)) < 1e-5
    wrong = symmetries.by_hand(params, {"a": (None, "hidden")})
    with pytest.raises(ValueError, match="hidden by"):
        symmetries.check(wrong, network, params, inputs(5, 3))


def test_wrong_input():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
    spec = symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", None)})
    with pytest.raises(ValueError, match="'Q' is not a group"):
        symmetries.apply(spec, {"Q": np.arange(4)}, params)
    with pytest.raises(ValueError, match="permutation of P"):
        symmetries.apply(spec, {"P": np.zeros(4, int)}, params)
    with pytest.raises(ValueError, match="the spec is of other parameters: b"):
        symmetries.apply(spec, {}, {"a": jnp.ones((3, 4)), "b": jnp.ones((5, 2))})
    with pytest.raises(ValueError, match="4 positions and 2"):
        symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", "P")})
    with pytest.raises(ValueError, match="not finite"):
        symmetries.match_weights(spec, params, {"a": np.full((3, 4), np.nan), "b": params["b"]})


def matched_back(function, params, x, seed):
    spec = symmetries.find(function, params, x)
    permuted = symmetries.apply(spec, symmetries.random(spec, jax.random.key(seed)), params)
    match = symmetries.match_weights(spec, params, permuted, seed=seed, restarts=4)
    back = symmetries.apply(spec, match.permutations, permuted)
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (params, back)), strict=True)
    )


@pytest.mark.parametrize("seed", range(3))
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
    match = symmetries.match_weights(spec, one, two, restarts=3)
    aligned = symmetries.apply(spec, match.permutations, two)
    product = sum(float((one[n] * np.asarray(aligned[n])).sum()) for n in one)
    assert product == pytest.approx(match.inner_product, rel=1e-5)
    assert product > sum(float((one[n] * two[n]).sum()) for n in one)
    np.testing.assert_allclose(
        network(aligned, inputs(4, 3)), network(two, inputs(4, 3)), rtol=1e-4
    )


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


def test_moved_share_counts_numbers_not_leaves():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2)), "c": jnp.ones(5)}
    spec = symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", None)})
    assert symmetries.moved_share(spec, params) == 20 / 25
