"""Imports every module of mcjax and makes its calls where no extra can be imported.

Run as a program of its own, it prints what it found as JSON.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

REFUSED = (
    "flax", "orbax", "tensorflow_datasets", "importlib_resources", "matplotlib", "sklearn", "torch",
    "safetensors",
)  # fmt: skip
"""absl is not among them: optax imports it."""


def modules() -> list[str]:
    """The names of all modules of mcjax, from its files."""
    root = Path(importlib.import_module("mcjax").__file__ or "").parent
    parts = (path.relative_to(root.parent).with_suffix("").parts for path in root.rglob("*.py"))
    return sorted(".".join(p).removesuffix(".__init__") for p in parts)


def imports() -> dict[str, str]:
    """What importing each module raised; an empty text for nothing."""
    raised = {}
    for name in modules():
        try:
            importlib.import_module(name)
            raised[name] = ""
        except ImportError as error:
            raised[name] = str(error)
    return raised


def numbers() -> dict[str, Any]:
    """The three calls of README and the sharpness, as short as they can be."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import mcjax
    from mcjax import curves

    def loss(params: jax.Array, batch: jax.Array) -> jax.Array:
        return jnp.mean((batch * jnp.prod(params) - batch) ** 2)

    data = np.linspace(-1, 1, 8, dtype=np.float32)
    start, end = jnp.array([0.2, 5.0]), jnp.array([5.0, 0.2])
    points, losses = mcjax.fit_curve(
        loss, start, end, data, optimizer=optax.sgd(0.05), epochs=1, batch_size=4,
        key=jax.random.key(0),
    )  # fmt: skip
    chain = curves.polygonal_chain(1)
    profile = mcjax.profile(loss, chain, points, data, points=3)
    surface = mcjax.surface(loss, (start, end, points[1]), data, grid=(2, 3))
    sharpness = mcjax.sharpness(loss, points[1], data, samples=2)
    return {
        "losses": losses.tolist(),
        "profile": profile.segment.metrics["train"]["loss"].tolist(),
        "surface": surface.metrics["train"]["loss"].tolist(),
        "eigenvalue": float(sharpness.eigenvalues[0]),
    }


def calls() -> dict[str, str]:
    """What functions raise that need an extra in modules that do not."""
    import numpy as np

    from mcjax import data
    from mcjax.analysis import embedding

    needy = {
        "digits": lambda: data.load("digits"),
        "tfds": lambda: data.load("tfds:mnist"),
        "tsne": lambda: embedding.tsne(np.zeros((6, 6))),
    }
    raised = {}
    for name, call in needy.items():
        try:
            call()
        except (ImportError, ValueError) as error:
            raised[name] = str(error)
    return raised


if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(REFUSED, None))  # importing them raises
    print(json.dumps({"imports": imports(), "numbers": numbers(), "calls": calls()}))
