"""Plain JAX: a small transformer over characters, on ten chapters of Jane Austen (austen.txt)."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import api, results

from . import shared

WIDTH, HEADS, LENGTH = 32, 4, 32


def create(key: jax.Array, characters: int) -> dict[str, jax.Array]:
    """Parameters: embeddings of characters and positions, two blocks of attention and MLP."""
    shapes = {"characters": (characters, WIDTH), "positions": (LENGTH, WIDTH)}
    shapes |= {"qkv": (2, WIDTH, 3 * WIDTH), "out": (2, WIDTH, WIDTH)}
    shapes |= {"up": (2, WIDTH, 4 * WIDTH), "down": (2, 4 * WIDTH, WIDTH)}
    keys = zip(jax.random.split(key, len(shapes)), shapes.items(), strict=True)
    return {n: jax.random.normal(k, shape) / WIDTH**0.5 for k, (n, shape) in keys}


def loss(params: dict[str, jax.Array], batch: jax.Array) -> jax.Array:
    """Mean cross-entropy of the next character, in nats; ``batch`` is int ``[B, LENGTH]``."""

    def block(x: jax.Array, weights: dict[str, jax.Array]) -> tuple[jax.Array, Any]:
        heads = (jax.nn.standardize(x) @ weights["qkv"]).reshape(*batch.shape, 3, HEADS, -1)
        mixed = jax.nn.dot_product_attention(*jnp.moveaxis(heads, 2, 0), is_causal=True)
        x += mixed.reshape(x.shape) @ weights["out"]
        return x + jax.nn.gelu(jax.nn.standardize(x) @ weights["up"]) @ weights["down"], None

    x = params["characters"][batch] + params["positions"][None]
    x, _ = jax.lax.scan(block, x, {n: params[n] for n in ("qkv", "out", "up", "down")})
    logits = jax.nn.standardize(x) @ params["characters"].T
    return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], batch[:, 1:]).mean()


def main(figure: str | None = None, epochs: int = 5, points: int = 13) -> results.Profile:
    """Trains two networks, fits a curve between them, and evaluates it."""
    text = np.frombuffer(Path(__file__).with_name("austen.txt").read_bytes(), np.uint8)
    characters, codes = np.unique(text, return_inverse=True)
    train, held_out = np.split(codes[: -(len(codes) % LENGTH)].reshape(-1, LENGTH), [-300])
    params = [create(jax.random.key(seed), len(characters)) for seed in (0, 1)]
    start, end = (shared.train(loss, params[i], train, i, epochs, batch_size=32) for i in (0, 1))
    found, _ = api.fit_curve(
        loss, start, end, train, optimizer=shared.ADAM, key=jax.random.key(2),
        epochs=epochs, batch_size=32,
    )  # fmt: skip
    profile = api.profile(loss, api.ONE_BEND, found, train, held_out, points=points,
                          metrics="perplexity")  # fmt: skip
    return shared.show(profile, "a transformer on characters", figure)


if __name__ == "__main__":
    shared.command(main, __doc__)
