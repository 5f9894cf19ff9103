"""What the examples share: how their networks are trained, what is said and drawn."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from mcjax import plots


def train(
    loss: Callable[..., Any], params: Any, data: Any, *, seed: int, epochs: int, batch_size: int
) -> Any:
    """Trains ``params`` with Adam, as anyone would; mcjax comes in afterwards."""
    optimizer = optax.adam(3e-3)
    opt_state, rng = optimizer.init(params), np.random.default_rng(seed)

    @jax.jit
    def step(params, opt_state, batch):
        updates, opt_state = optimizer.update(jax.grad(loss)(params, batch), opt_state)
        return optax.apply_updates(params, updates), opt_state

    size = len(jax.tree.leaves(data)[0])
    for rows in rng.integers(size, size=(epochs * size // batch_size, batch_size)):
        params, opt_state = step(params, opt_state, jax.tree.map(lambda x: x[rows], data))  # noqa: B023
    return params


def show(arrays: dict[str, np.ndarray], title: str, figure: str | None) -> None:
    """Prints the barriers of segment and curve; draws them where ``figure`` says, if it does."""
    for path in ("segment", "curve"):
        height = arrays[f"{path}_train_loss_over_max"]
        print(f"{path}: barrier of {height:.3g} over the higher end's training loss")
    if figure:
        print(f"figure: {plots.save(plots.curve_figure(arrays, title), Path(figure))}")


def command(main: Callable[..., Any], doc: str) -> None:
    """Runs an example with the command line's ``--figure``."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--figure", metavar="PATH", help="draws PATH.png and PATH.pdf")
    main(**vars(parser.parse_args()))
