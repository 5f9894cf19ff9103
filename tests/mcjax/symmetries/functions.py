"""Functions whose symmetries the tests look for, and random parameters and inputs of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def fill(shapes, seed=0):
    """Random values; those of vectors are positive, so that variances may be among them."""
    rng = np.random.default_rng(seed)

    def draw(x):
        spread = rng.normal(size=x.shape)
        return (0.3 * spread if x.ndim > 1 else 0.5 + 0.3 * np.abs(spread)).astype(x.dtype)

    return jax.tree.map(draw, shapes)


def inputs(*shape):
    return jax.random.normal(jax.random.key(1), shape)


def tokens(*shape):
    return jax.random.randint(jax.random.key(2), shape, 0, 11)


def linen(module, x, *args):
    params = fill(jax.eval_shape(lambda: module.init(jax.random.key(0), x, *args)))
    return lambda p, x: module.apply(p, x, *args), params, x


def nnx_net(rows):
    """A network with batch norm, its filled state, and inputs."""

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(3, 8, rngs=rngs)
            self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
            self.b = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.norm(self.a(x))))

    graph, state = nnx.split(Network(nnx.Rngs(0)))
    return lambda s, x: nnx.merge(graph, s)(x), fill(state), inputs(rows, 3)


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


def scanned(params, x):
    def layer(h, w):
        return h + jnp.tanh(h @ w["a"]) @ w["b"], None

    h, _ = jax.lax.scan(layer, x @ params["in"], params["layers"])
    return h @ params["in"].T


SCANNED = {
    "in": jnp.zeros((3, 7)),
    "layers": {"a": jnp.zeros((4, 7, 5)), "b": jnp.zeros((4, 5, 7))},
}


def lstm(params, x):
    def step(carry, now):
        h, c = carry
        i, f, g = jnp.split(now @ params["x"] + h @ params["h"], 3, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jnp.tanh(c), c), None

    zeros = jnp.zeros((x.shape[1], 5))
    (h, _), _ = jax.lax.scan(step, (zeros, zeros), x)
    return h @ params["out"]


LSTM = {"x": jnp.zeros((3, 15)), "h": jnp.zeros((5, 15)), "out": jnp.zeros((5, 2))}


def tied(params, tokens):
    x = params["table"][tokens] + params["positions"][None]
    x = x + jax.nn.relu(x @ params["up"]) @ params["down"]
    return x @ params["table"].T


TIED = {
    "table": jnp.zeros((11, 6)),
    "positions": jnp.zeros((4, 6)),
    "up": jnp.zeros((6, 7)),
    "down": jnp.zeros((7, 6)),
}
