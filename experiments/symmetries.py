"""Prints which units of a network can be permuted, and whether permuted copies are matched back.

    python -m experiments.symmetries
    python -m experiments.symmetries --networks=vgg16,preresnet20 --width=1 --copies=3

One row per network: the number of permutation groups, the share of parameters that they move, how
much the outputs change under a random permutation of all groups, how many permuted copies were
matched back exactly from the weights alone, and the seconds per match. Parameters are random.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import spelling
from mcjax.flax import models
from mcjax.symmetries.recovery import Recovery, recovery

from .cli import LAUNCH, Machine, UsageError, flag, main

Case = tuple[Callable[..., Any], Any, tuple[Any, ...]]
"""A function, its parameters, and its other inputs, for `recovery`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymmetriesConfig(Machine):
    """The table of symmetries."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "data_dir", "precision", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    networks: tuple[str, ...] = flag((), "Networks and examples, by name; all by default.")
    width: float = flag(0.125, "Multiplies the channels and hidden features of the networks.")
    copies: int = flag(10, "Permuted copies of each network.")


def run(config: SymmetriesConfig) -> dict[str, Recovery]:
    """Prints the table.

    Returns:
      The measurements, by network.

    Raises:
      UsageError: an unknown network, or settings out of range.
    """
    known = (*models.names(), *EXAMPLES)
    unknown = [name for name in config.networks if name not in known]
    if unknown:
        raise UsageError(f"--networks={unknown[0]}: {spelling.hint(unknown[0], known)}")
    if config.copies < 1:
        raise UsageError(f"--copies={config.copies}: use 1 or more")
    print(f"{'network':<24} groups   moved  matched back  change of outputs  seconds")
    found = {}
    for name in config.networks or known:
        try:
            function, params, inputs = case(name, config.width)
        except ValueError as error:
            raise UsageError(str(error)) from error
        found[name] = row = recovery(function, params, *inputs, copies=config.copies)
        back = f"{row.exact} of {row.copies}"
        print(
            f"{name:<24} {row.groups:>6}  {row.moved:>5.1%}  {back:>12}  {row.change:>17.1e}  "
            f"{row.seconds:>7.2g}"
        )
    return found


def case(name: str, width: float) -> Case:
    """A network of the registry at a width, or an example, with random parameters."""
    if name in EXAMPLES:
        return EXAMPLES[name]()
    model = models.create(name, num_classes=10, width=width)
    return _linen(model, _normal(2, 32, 32, 3), False)


def drawn(shapes: Any, seed: int = 0) -> Any:
    """Draws random parameters; vectors are positive, because some of them are variances."""
    rng = np.random.default_rng(seed)

    def draw(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return jnp.zeros(x.shape, x.dtype)
        spread = rng.normal(size=x.shape)
        if x.ndim > 1:
            spread *= np.sqrt(2 / max(1, np.prod(x.shape[:-1])))
        return jnp.asarray(spread if x.ndim > 1 else 0.5 + 0.3 * np.abs(spread), x.dtype)

    return jax.tree.map(draw, shapes)


def _normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


def _linen(model: Any, x: Any, *args: Any) -> Case:
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, *args))
    return lambda params, x: model.apply(params, x, *args), drawn(shapes), (x,)


def _example_linen() -> Case:
    from .examples import linen

    return _linen(linen.MODEL, _normal(2, 8, 8, 1))


def _example_dropout_linen() -> Case:
    from .examples import dropout_linen

    return _linen(dropout_linen.Net(), _normal(2, 8, 8, 1), False)


def _example_nnx() -> Case:
    from flax import nnx

    from .examples import nnx as example

    graph, params, rest = nnx.split(example.create(0), nnx.Param, ...)
    return lambda p, x: nnx.merge(graph, p, rest)(x), drawn(params), (_normal(2, 64),)


def _example_dropout_nnx() -> Case:
    from flax import nnx

    from .examples import dropout_nnx

    params = nnx.state(dropout_nnx.Net(nnx.Rngs(0)), nnx.Param)
    logits = lambda p, x: dropout_nnx.logits(p, {"images": x})  # noqa: E731
    return logits, drawn(params), (_normal(2, 8, 8, 1),)


def _example_equinox() -> Case:
    if importlib.util.find_spec("equinox") is None:
        raise UsageError("equinox_mlp needs Equinox: pip install equinox")
    import equinox as eqx

    from .examples import equinox_mlp

    params, rest = equinox_mlp.create(0)
    return lambda p, x: jax.vmap(eqx.combine(p, rest))(x), drawn(params), (_normal(2, 64),)


def _example_language_model() -> Case:
    from .examples import language_model

    params = language_model.create(jax.random.key(0), characters=20)
    text = jax.random.randint(jax.random.key(1), (2, language_model.LENGTH), 0, 20)
    return language_model.loss, params, (text,)


EXAMPLES: dict[str, Callable[[], Case]] = {
    "examples.linen": _example_linen,
    "examples.nnx": _example_nnx,
    "examples.equinox_mlp": _example_equinox,
    "examples.language_model": _example_language_model,
    "examples.dropout_linen": _example_dropout_linen,
    "examples.dropout_nnx": _example_dropout_nnx,
}


if __name__ == "__main__":
    main(SymmetriesConfig, run, __doc__)
