"""Networks by name: Flax linen modules, called as ``module(images, train) -> logits``.

>>> import jax, jax.numpy as jnp
>>> model = create("vgg7", num_classes=10)
>>> images = jnp.zeros((5, 8, 8, 1))
>>> jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images, False)[0])
ShapeDtypeStruct(shape=(5, 10), dtype=float32)
"""

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from mcjax import spelling
from mcjax.flax.models import mlp, preresnet, resnet, vgg, wide_resnet

_FACTORIES: dict[str, Callable[..., nn.Module]] = {
    **vgg.factories(),
    **preresnet.factories(),
    **resnet.factories(),
    **wide_resnet.factories(),
    **mlp.factories(),
}
_DEFAULTS = {"width": 1.0, "init_scale": 1.0}


def names() -> tuple[str, ...]:
    """Names for `create`, besides ``package.module:factory``.

    >>> len(names()), names()[:3]
    (35, ('mlp', 'mlp10', 'preresnet110'))
    """
    return tuple(sorted(_FACTORIES))


def create(
    name: str,
    *,
    num_classes: int,
    width: float = 1.0,
    dropout: float | None = None,
    init_scale: float = 1.0,
    axis_name: str | None = None,
) -> nn.Module:
    """Builds a network.

    Args:
      name: one of `names`, or ``package.module:factory`` for a network of your own: a callable
        that accepts any of the arguments below by keyword and returns a linen module.
      num_classes: number of logits.
      width: multiplies the channels and hidden features.
      dropout: dropout rate; None for the network's default.
      init_scale: multiplies the standard deviation of the initialisation (the paper's mode E: 3).
      axis_name: mapped axis that shards the batch.

    Returns:
      A module called as ``module(images, train)`` with float32 ``images [B, H, W, C]``, which
      returns logits ``[B, num_classes]``.

    Raises:
      ValueError: the name is unknown, a setting is out of range or not accepted by the factory, the
        factory cannot be imported, or it does not return a linen module.

    >>> create("vgg16", num_classes=10, width=0.5).width
    0.5
    >>> create("vgg15", num_classes=10)
    Traceback (most recent call last):
    ValueError: unknown model 'vgg15': did you mean vgg19 or vgg16 or vgg13? There are ...
    """
    settings: dict[str, Any] = {
        "num_classes": num_classes,
        "width": width,
        "dropout": dropout,
        "init_scale": init_scale,
        "axis_name": axis_name,
    }
    _check(**settings)
    if dropout is None:
        del settings["dropout"]
    if ":" in name:
        return _call_users(name, _import_users(name), settings)
    if name not in _FACTORIES:
        raise ValueError(
            f"unknown model {name!r}: {spelling.hint(name, names())}, "
            "and package.module:factory for your own"
        )
    return _FACTORIES[name](**settings)


def _check(
    num_classes: int, width: float, dropout: float | None, init_scale: float, **_: Any
) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}: it must be at least one")
    for name, value in (("width", width), ("init_scale", init_scale)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}: it must be a positive number")
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}: it must lie in [0, 1)")


def _import_users(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises on import
        raise ValueError(
            f"model {name!r}: importing {module_name!r} failed: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ValueError(f"model {name!r}: {module_name} has no callable {attribute!r}")
    return factory


def _call_users(name: str, factory: Callable[..., Any], settings: dict[str, Any]) -> nn.Module:
    """Calls a user's factory with the settings that it accepts."""
    signature = inspect.signature(factory)
    takes = signature.parameters.values()
    everything = any(p.kind is p.VAR_KEYWORD for p in takes)
    keywords = {p.name for p in takes if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    given = {k: v for k, v in settings.items() if everything or k in keywords}
    ignored = {
        k: settings[k]
        for k in ("width", "dropout", "init_scale")
        if k in settings and k not in given and settings[k] != _DEFAULTS.get(k)
    }
    if ignored:
        raise ValueError(
            f"model {name!r} does not accept {', '.join(ignored)}: {ignored} would be lost"
        )
    try:
        signature.bind(**given)
    except TypeError as error:
        raise ValueError(f"model {name!r} cannot be called with {given}: {error}") from error
    module = factory(**given)
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"model {name!r} returned {type(module).__name__}, not a flax.linen module"
        )
    return module
