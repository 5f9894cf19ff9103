"""The network and the objective of a mode, from its flags."""

import importlib
import inspect
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from mcjax import data
from mcjax.engine import builtin_metrics, metric_checks, objectives, parallel
from mcjax.engine.metrics import Metric
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

from ..cli import ModeConfig, UsageError


class ObjectiveFactory(Protocol):
    """A user's factory, ``package.module:factory``, of an objective for a model."""

    def __call__(self, model: nn.Module, /) -> objectives.Objective:
        """Returns the objective, whose functions apply the model."""
        ...


def make_model(mode: ModeConfig, num_classes: int) -> nn.Module:
    """Creates the network of a mode's flags."""
    return models.create(
        mode.model,
        num_classes=num_classes,
        width=mode.width,
        dropout=mode.dropout,
        init_scale=mode.init_scale,
        axis_name=parallel.DATA_AXIS,
    )


def check_network(mode: ModeConfig) -> None:
    """Checks the names of a mode's network and objective, and the network's settings.

    Raises:
      UsageError: there is no such network or objective, or a setting is out of range.
    """
    try:
        make_model(mode, num_classes=10)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if mode.objective is None:
        return
    find_objective("objective", mode.objective)
    if mode.precision == "bf16":
        raise UsageError(
            "--precision=bf16 requires the default objective: your own --objective chooses the "
            "dtype that the network computes in"
        )


def make_objective(mode: ModeConfig, model: nn.Module) -> objectives.Objective:
    """Cross-entropy in the mode's precision, or the user's own objective for this model."""
    if mode.objective is not None:
        return users_objective("objective", mode.objective, model)
    return cross_entropy(model, jnp.bfloat16 if mode.precision == "bf16" else None)


def find_objective(flag: str, text: str) -> ObjectiveFactory:
    """Imports a user's ``package.module:factory`` of an objective, without calling it.

    Raises:
      UsageError: it cannot be imported.
    """
    module, _, name = text.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UsageError(f"--{flag}={text}: {_reason(error)}") from None


def users_objective(flag: str, text: str, model: nn.Module) -> objectives.Objective:
    """The objective that a user's ``package.module:factory`` returns for a model.

    Raises:
      UsageError: it cannot be imported, raises, or returns something else.
    """
    factory = find_objective(flag, text)
    two = "; a metric takes two arguments, (logits, batch)" if flag == "metrics" else ""
    try:
        objective = factory(model)
    except Exception as error:
        raise UsageError(f"--{flag}={text} fails for the model: {_reason(error)}{two}") from None
    if not isinstance(objective, objectives.Objective):
        raise UsageError(
            f"--{flag}={text} returned {type(objective).__name__}, not an "
            f"mcjax.engine.objectives.Objective{two}"
        )
    return objective


def _reason(error: Exception) -> str:
    """The first line of what a user's code raised, with its type."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def find_metrics(text: str) -> dict[str, Metric | None]:
    """The metrics of ``--metrics`` by what names each; None for the factory of an objective.

    A ``package.module:name`` is a `Metric`, a function ``(logits, batch)``, or a factory, which is
    called with the model alone.

    Raises:
      UsageError: there is no such metric, one cannot be imported, or one is named twice.
    """
    names = [name.strip() for name in text.split(",")]
    found: dict[str, Metric | None] = {}
    for name in names:
        given: Any = find_objective("metrics", name) if ":" in name else name
        try:
            found[name] = None if _is_factory(given) else builtin_metrics.find(given)
        except ValueError as error:
            own = "; your own is package.module:function" if given is name else ""
            raise UsageError(f"--metrics={name}: {error}{own}") from None
    if len(found) < len(names):
        raise UsageError(f"--metrics={text}: a metric is named twice")
    return found


def _is_factory(given: Any) -> bool:
    """Whether this is a callable that takes one argument, the model."""
    if isinstance(given, str | Metric) or not callable(given):
        return False
    try:
        inspect.signature(given).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def with_metrics(
    own: objectives.Objective,
    text: str,
    model: nn.Module,
    variables: tuple[Any, Any],
    batch: Any,
    mesh: jax.sharding.Mesh,
) -> objectives.Objective:
    """The objective ``own`` with the metrics of ``--metrics``, checked on a few examples.

    Args:
      own: the objective.
      text: the flag.
      model: the network.
      variables: shapes of its parameters and state.
      batch: a few examples.
      mesh: the devices.

    Raises:
      UsageError: a metric or the factory of an objective fails.
    """
    more = [
        users_objective("metrics", name, model) if metric is None else metric
        for name, metric in find_metrics(text).items()
    ]
    try:
        return metric_checks.with_metrics(own, more, *variables, batch, mesh)
    except ValueError as error:
        raise UsageError(f"--metrics={text}: {error}") from None


def check_model(model: nn.Module, dataset: data.Dataset) -> None:
    """Checks the network abstractly on a batch of two images of the data set.

    Raises:
      UsageError: it fails, does not return logits, has no parameters, or one of its arrays is not
        floating-point.
    """
    shape = (2, *dataset.train.images.shape[1:])
    try:
        variables = jax.eval_shape(
            lambda k: model.init(k, jnp.zeros(shape), False), jax.random.key(0)
        )
        logits = jax.eval_shape(lambda v: model.apply(v, jnp.zeros(shape), False), variables)
    except Exception as error:
        message = str(error).split("\n")[0]
        raise UsageError(
            f"--model: module(images, train) must return logits for images of shape {shape}, but "
            f"it fails: {message}"
        ) from None
    if getattr(logits, "shape", None) != (2, dataset.num_classes):
        raise UsageError(
            f"--model returns {getattr(logits, 'shape', type(logits).__name__)} for two images; "
            f"expected logits of shape {(2, dataset.num_classes)}"
        )
    leaves = jax.tree_util.tree_flatten_with_path(variables.get("params", {}))[0]
    if not leaves:
        raise UsageError("--model has no parameters")
    for name, values in (("logits", logits), *((jax.tree_util.keystr(k), x) for k, x in leaves)):
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise UsageError(f"--model: {name} are {values.dtype}, not floating-point")
