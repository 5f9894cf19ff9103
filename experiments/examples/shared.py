"""What the examples share: how their networks are trained, what is said and drawn."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from mcjax import plots

ADAM = optax.adam(3e-3)


def train(
    loss: Callable[..., Any], params: Any, data: Any, seed: int, epochs: int, batch_size: int
) -> Any:
    """Trains ``params``, as anyone would; mcjax comes in afterwards."""
    opt_state, rng = ADAM.init(params), np.random.default_rng(seed)
    size = len(jax.tree.leaves(data)[0])
    for rows in rng.integers(size, size=(epochs * size // batch_size, batch_size)):
        batch = jax.tree.map(lambda x: x[rows], data)  # noqa: B023
        params, opt_state = _step(loss, params, opt_state, batch)
    return params


@functools.partial(jax.jit, static_argnums=0)
def _step(loss, params, opt_state, batch):
    updates, opt_state = ADAM.update(jax.grad(loss)(params, batch), opt_state)
    return optax.apply_updates(params, updates), opt_state


def show(arrays: dict[str, np.ndarray], title: str, figure: str | None) -> Any:
    """Prints the barriers of segment and curve, draws both where ``figure`` says; the arrays."""
    for path in ("segment", "curve"):
        height = arrays[f"{path}_train_loss_over_max"]
        print(f"{path}: barrier of {height:.3g} over the higher end's training loss")
    if figure:
        with plots.style():
            print(f"figure: {plots.save(plots.curve_figure(arrays, title), Path(figure))}")
    return arrays


def command(main: Callable[..., Any], doc: str) -> None:
    """Runs an example with the command line's ``--figure``."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--figure", metavar="PATH", help="draws PATH.png, .pdf and .svg")
    main(**vars(parser.parse_args()))
