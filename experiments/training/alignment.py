"""Aligning a network with another by permuting its units (`mcjax.symmetries`)."""

import functools
import math
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mcjax import symmetries
from mcjax.engine import checks, parallel
from mcjax.symmetries.matching import Match
from mcjax.symmetries.programs import Function
from mcjax.symmetries.spec import Spec

from ..cli import Progress, UsageError, say
from ..runs import Point
from .problem import Problem

BATCH = 500
"""The maximal number of images per batch of activations."""


class Method(NamedTuple):
    """How to match: ``weights`` or ``activations``, and `symmetries.match_weights`'s settings.

    Activations are those on the training split without augmentation, with batch norm's statistics
    recomputed.
    """

    name: str
    restarts: int = 1
    seed: int = 0


class Alignment(NamedTuple):
    """A network with its units permuted to match another's.

    Attributes:
      point: the permuted network, including batch norm's averages.
      facts: ``method``; the number of ``groups`` of units and of ``units`` in them, the fraction
        of these that ``moved``; the ``rounds`` over the groups, and the ``seconds`` taken.
    """

    point: Point
    facts: dict[str, Any]


def align(
    problem: Problem,
    start: Point,
    end: Point,
    method: Method,
    name: str,
    spec: Spec | None = None,
) -> Alignment:
    """Permutes the units of ``end`` to match ``start``; the function of ``end`` does not change.

    Args:
      problem: of both networks.
      start: the reference network, on one device.
      end: the network to permute, on one device.
      method: what to match, and how often.
      name: of the end, for progress and errors.
      spec: the end's groups of units, from `groups`, if they are known.

    Raises:
      UsageError: a weight is not finite, or the network's symmetries cannot be verified.
    """
    began = time.monotonic()
    check_finite("aligned", {"the start": start, name: end})
    function = logits(problem)
    spec = groups(problem, end, name) if spec is None else spec
    try:
        with jax.default_matmul_precision("float32"):
            match = _match(problem, function, spec, start, end, method, name)
        moved = dict(symmetries.apply(spec, match.permutations, variables(end)))
    except ValueError as error:
        raise UsageError(f"{name} cannot be aligned: {error}") from None
    facts = {
        "method": method.name,
        "groups": len(spec.groups),
        **moved_units(spec, match.permutations),
        "rounds": match.rounds,
        "seconds": round(time.monotonic() - began, 3),
    }
    say(f"{name} is {describe(facts)}")
    return Alignment(Point(moved.pop("params"), moved), facts)


def describe(facts: dict[str, Any]) -> str:
    """`Alignment.facts` as text."""
    return (
        f"aligned by {facts['method']}: {100 * facts['moved']:.1f} % of {facts['units']} units in "
        f"{facts['groups']} groups moved ({facts['rounds']} rounds, {facts['seconds']:.1f} s)"
    )


def _match(
    problem: Problem,
    function: Function,
    spec: Spec,
    start: Point,
    end: Point,
    method: Method,
    name: str,
) -> Match:
    """Matches the units of ``end`` to those of ``start``; arguments as in `align`."""
    settings: dict[str, Any] = {"seed": method.seed, "restarts": method.restarts}
    if method.name == "weights":
        is_weight = lambda leaf: leaf.startswith("params/")  # noqa: E731
        bar = Progress(f"{name}: weights", None, "group")
        try:
            return symmetries.match_weights(
                spec, variables(start), variables(end), counts=is_weight, progress=bar.update,
                **settings,
            )  # fmt: skip
        finally:
            bar.close()
    a, b = (variables(_with_statistics(problem, point)) for point in (start, end))
    batches = training_images(problem)
    total = math.ceil(len(problem.dataset.train.labels) / BATCH)
    bar = Progress(f"{name}: activations", total, "batch")
    try:
        return symmetries.match_activations(
            spec, function, a, b, batches, progress=bar.update, **settings
        )
    finally:
        bar.close()


def groups(problem: Problem, point: Point, name: str) -> Spec:
    """`find` for the network called ``name``, whose errors are those of a user."""
    try:
        return find(problem, logits(problem), point)
    except ValueError as error:
        raise UsageError(f"{name} cannot be aligned: {error}") from None


def find(problem: Problem, function: Function, point: Point) -> Spec:
    """Finds the permutation groups of a network's parameters and state, and checks them.

    Raises:
      ValueError: random permutations change the logits.
    """
    images = next(training_images(problem, most=2))[0]
    spec = symmetries.find(function, variables(point), images)
    with jax.default_matmul_precision("float32"):
        symmetries.check(spec, function, variables(point), images)
    return spec


def logits(problem: Problem) -> Function:
    """The problem's network in evaluation; equal networks share the compiled program."""
    return functools.partial(_logits, problem.model)


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: nn.Module, variables: Any, images: jax.Array) -> Any:
    return model.apply(variables, images, False)


def variables(point: Point) -> dict[str, Any]:
    """Parameters and state as one pytree, so that one spec permutes both."""
    return {"params": point.params, **point.state}


def training_images(problem: Problem, most: int | None = None) -> Iterator[tuple[jax.Array]]:
    """Yields normalized training images without augmentation, in batches of nearly equal size.

    Args:
      problem: the problem.
      most: number of images, the first ones; all by default.
    """
    train = problem.dataset.train
    rows = np.arange(len(train.labels))[:most]
    for part in np.array_split(rows, math.ceil(len(rows) / BATCH)):
        data = jax.tree.map(lambda x, part=part: x[part], train)
        here = jnp.arange(len(part))
        batch = problem.evaluator.fetch(data, here, here, jnp.ones(len(part)), jax.random.key(0))
        yield (batch["images"],)


def moved_units(spec: Spec, permutations: dict[str, np.ndarray]) -> dict[str, Any]:
    """The number of ``units`` in a spec's groups, and the fraction of them that ``moved``."""
    still = symmetries.identity(spec)
    units = sum(order.size for order in still.values())
    moved = sum(int((permutations[name] != order).sum()) for name, order in still.items())
    return {"units": units, "moved": moved / max(1, units)}


def check_finite(what: str, points: Mapping[str, Point]) -> None:
    """Raises UsageError, "NAME cannot be WHAT", for a point with a parameter that is not finite."""
    for name, point in points.items():
        try:
            checks.finite(f"{name} cannot be {what}", point.params)
        except ValueError as error:
            raise UsageError(str(error)) from None


def checksum(params: Any) -> int:
    """CRC-32 of all parameters, to detect that an end has been retrained."""
    total = 0
    for leaf in jax.tree.leaves(params):
        total = zlib.crc32(np.ascontiguousarray(np.asarray(leaf)).tobytes(), total)
    return total


def has_batch_norm(problem: Problem, point: Point) -> bool:
    """Whether the network has statistics that evaluation recomputes."""
    return problem.objective.statistics is not None and bool(jax.tree.leaves(point.state))


def _with_statistics(problem: Problem, point: Point) -> Point:
    """The point with batch norm's statistics recomputed, if there is batch norm."""
    if not has_batch_norm(problem, point):
        return point
    placed = parallel.replicate((point.params, point.state), problem.mesh)
    return Point(point.params, jax.device_get(problem.evaluator.statistics(*placed)))
