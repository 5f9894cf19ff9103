"""Shared by the examples: training, the F1 score, printing and drawing."""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import plots, results
from mcjax.engine import metrics, objectives

ADAM = optax.adam(3e-3)


Tree = Any
"""A pytree of arrays."""
Loss = Callable[[Tree, Tree], jax.Array] | Callable[[Tree, Tree, jax.Array], jax.Array]
"""The loss of parameters on a batch, a scalar; with dropout it also takes a key."""


class Main(Protocol):
    """An example."""

    def __call__(self, *, figure: str | None) -> Any:
        """Runs it; with ``figure`` draws figures with this path and all suffixes."""
        ...


def train(loss: Loss, params: Tree, data: Tree, seed: int, epochs: int, batch_size: int) -> Any:
    """Trains ``params`` by plain JAX, without mcjax."""
    opt_state, rng, key = ADAM.init(params), np.random.default_rng(seed), jax.random.key(seed)
    size = len(jax.tree.leaves(data)[0])
    for i, rows in enumerate(rng.integers(size, size=(epochs * size // batch_size, batch_size))):
        batch = jax.tree.map(lambda x: x[rows], data)  # noqa: B023
        params, opt_state = _step(loss, params, opt_state, batch, key, i)
    return params


@functools.partial(jax.jit, static_argnums=0)
def _step(
    loss: Loss, params: Tree, opt_state: optax.OptState, batch: Tree, key: jax.Array, i: int
) -> tuple[Any, optax.OptState]:
    """Takes step ``i`` of Adam."""
    gradient = jax.grad(objectives.with_key(loss))(params, batch, jax.random.fold_in(key, i))
    updates, opt_state = ADAM.update(gradient, opt_state)
    return optax.apply_updates(params, updates), opt_state


def _counts(logits: jax.Array, batch: Tree) -> dict[str, jax.Array]:
    """For each example, counts by class ``[B, classes]``."""
    classes = (jnp.argmax(logits, -1), batch["labels"])
    guessed, actual = (jax.nn.one_hot(x, logits.shape[1]) for x in classes)
    return {"hits": guessed * actual, "guessed": guessed, "actual": actual}


def _f1(means: dict[str, np.ndarray]) -> np.ndarray:
    """The mean over classes, from the counts' means over examples."""
    return (2 * means["hits"] / np.maximum(means["guessed"] + means["actual"], 1e-9)).mean(-1)


F1 = metrics.Metric("F1", _counts, _f1)
"""The macro F1 score of a classifier: no mean over examples, but a function of such means."""


def show(found: results.Profile, title: str, figure: str | None) -> results.Profile:
    """Prints the barriers of segment and curve; draws both if ``figure`` is a path."""
    for name, path in (("segment", found.segment), ("curve", found.curve)):
        height = path.barriers["train"]["loss"].over_max
        print(f"{name}: barrier of {height:.3g} over the higher end's training loss")
    if figure:
        with plots.style():
            print(f"figure: {plots.save(plots.curve_figure(found, title), Path(figure))}")
    return found


def command(main: Main, doc: str) -> None:
    """Runs an example with the command line's ``--figure``."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--figure", metavar="PATH", help="draws PATH.png, .pdf and .svg")
    main(**vars(parser.parse_args()))
