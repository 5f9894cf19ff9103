"""Layer-wise barriers (Adilova et al., 2024): paths along which only some layers move.

A point has coefficients of its own for every layer, a pytree prefix of the parameters
(`mcjax.curves.combine`): a layer that moves is at ``(1 - t) A + t B``, one that stays is at ``A``.
Barriers are measured from the metrics of the networks ``A`` and ``B``, whatever moves::

    max_t [L(t) - (1 - t) L(A) - t L(B)]

is the barrier over the chord, Adilova et al.'s; the others are over the higher network and over the
networks' mean (`mcjax.analysis.barriers`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from mcjax import results
from mcjax.analysis import barriers, interpolation
from mcjax.engine import evaluation
from mcjax.results import LAYER_PATHS, Values
from mcjax.symmetries import programs
from mcjax.typing import Num

TOP = "(top)"
"""The layer of leaves whose path has one key only."""
Span = tuple[int, int]
"""The first and the last layer that move along a path; all between them move, too."""


def of_leaves(params: Any) -> list[str]:
    """The layer of each leaf: its path without the last key.

    >>> of_leaves({"Dense_0": {"bias": 0.0, "kernel": 0.0}, "blocks": [{"w": 0.0}], "scale": 0.0})
    ['Dense_0', 'Dense_0', 'blocks/0', '(top)']
    """
    paths = (path[:-1] for path, _ in jax.tree_util.tree_leaves_with_path(params))
    return [jax.tree_util.keystr(path, simple=True, separator="/") or TOP for path in paths]


def order(f: programs.Function, params: Any, *inputs: Any) -> list[str]:
    """The layers in the order in which a program first uses them.

    A leaf is used where it first meets the inputs, or a value made of them: converting the dtype of
    all parameters beforehand uses none. Leaves that never meet the inputs are used where they first
    occur. Layers that are not used are last, in the order of the leaves.

    Args:
      f: any JAX function of the parameters and inputs, such as a network or a loss.
      params: the parameters, or their shapes.
      *inputs: the inputs, or their shapes.

    Raises:
      ValueError: there are no parameters, or ``f`` cannot be called like that.

    >>> import jax.numpy as jnp
    >>> params = {"a": {"w": jnp.ones((3, 2))}, "b": {"w": jnp.ones((4, 3)), "scale": jnp.ones(())}}
    >>> def network(params, x):
    ...     return jnp.tanh(x @ params["b"]["w"]) * params["b"]["scale"] @ params["a"]["w"]
    >>> order(network, params, jnp.ones((5, 4)))
    ['b', 'a']
    """
    programs.check_call(f, params, inputs)
    program, names = jax.make_jaxpr(f)(params, *inputs), of_leaves(params)
    arguments = [_Origin(False, (leaf,)) for leaf in range(len(names))]
    arguments += [_Origin(True, ())] * (len(program.in_avals) - len(names))
    uses = _Uses({}, {})
    _walk(program, arguments, uses)
    return list(dict.fromkeys(names[i] for i in [*uses.met, *uses.seen, *range(len(names))]))


class _Origin(NamedTuple):
    """Whether a value depends on the inputs, and the leaves that it is made of, if not."""

    data: bool
    leaves: tuple[int, ...]


class _Uses(NamedTuple):
    """Leaves in the order in which they first met the inputs, and first occurred."""

    met: dict[int, None]
    seen: dict[int, None]


def _walk(program: core.ClosedJaxpr, arguments: Sequence[_Origin], uses: _Uses) -> list[_Origin]:
    """Records the uses in a program; returns the origins of its results."""
    jaxpr, constant = program.jaxpr, _Origin(False, ())
    env = dict(zip(jaxpr.invars, arguments, strict=True))
    read = lambda atom: constant if isinstance(atom, core.Literal) else env.get(atom, constant)  # noqa: E731
    for equation in jaxpr.eqns:
        found = _equation(equation, [read(atom) for atom in equation.invars], uses)
        env |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation: Any, operands: Sequence[_Origin], uses: _Uses) -> Sequence[_Origin]:
    """Enters a call or a scan; a `while` or `cond` is one use of all its operands."""
    body = programs.body_of(equation.params)
    if body is not None and len(body.jaxpr.invars) == len(operands):
        found = _walk(body, operands, uses)
        if equation.primitive.name in programs.CALLS:
            return found
    data = any(one.data for one in operands)
    leaves = dict.fromkeys(leaf for one in operands for leaf in one.leaves)
    uses.seen.update(leaves)
    if data:
        uses.met.update(leaves)
    return [_Origin(data, () if data else tuple(leaves))] * len(equation.outvars)


def spans(layers: int) -> dict[str, list[Span]]:
    """The layers that move along each path of each kind.

    >>> spans(2)
    {'single': [(0, 0), (1, 1)], 'from_input': [(0, 0), (0, 1)], 'from_output': [(0, 1), (1, 1)]}
    """
    numbers = range(layers)
    found = (
        [(k, k) for k in numbers],
        [(0, k) for k in numbers],
        [(k, layers - 1) for k in numbers],
    )
    return dict(zip(LAYER_PATHS, found, strict=True))


def coefficients(
    params: Any, layer: Sequence[str], span: Span, t: Num[np.ndarray, " points"]
) -> Any:
    """Coefficients over the two networks along a path: a pytree like the parameters.

    Args:
      params: a network.
      layer: the names of all of its layers, from `order`.
      span: the layers that move.
      t: positions along the path; any numbers.

    Returns:
      An array ``[points, 2]`` at every leaf.

    >>> from mcjax.analysis import toy
    >>> moving = coefficients(toy.A, ["first", "second"], (1, 1), np.array([0.0, 1.0]))
    >>> moving["first"]["w"].tolist(), moving["second"]["w"].tolist()
    ([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    moving = np.stack([1 - t, t], axis=1)
    still = np.broadcast_to([1.0, 0.0], moving.shape)
    moves = set(layer[span[0] : span[1] + 1])
    rows = [moving if name in moves else still for name in of_leaves(params)]
    return jax.tree.unflatten(jax.tree.structure(params), rows)


def rows(
    params: Any, layer: Sequence[str], t: Num[np.ndarray, " points"]
) -> dict[Span | None, Any]:
    """Coefficients of all paths, each once, and with the key None of the two networks.

    Args:
      params: a network.
      layer: the names of all of its layers, from `order`.
      t: positions along the paths.

    >>> from mcjax.analysis import toy
    >>> list(rows(toy.A, ["first", "second"], np.linspace(0, 1, 3)))
    [None, (0, 0), (1, 1), (0, 1)]
    """
    networks = {None: jax.tree.map(lambda _: np.eye(2), params)}
    every = dict.fromkeys(span for found in spans(len(layer)).values() for span in found)
    return networks | {span: coefficients(params, layer, span, t) for span in every}


def measure(
    evaluator: evaluation.Evaluator,
    networks: tuple[Any, Any],
    names: Sequence[str],
    layer: Sequence[str],
    t: Num[np.ndarray, " points"],
    state: Any,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Layers:
    """Metrics and barriers along all paths.

    Args:
      evaluator: for the network and data.
      networks: the parameters of ``A`` and ``B``.
      names: the networks' names.
      layer: the names of the layers, from `order`.
      t: rising, from 0 to 1.
      state: the network's state; its batch-norm averages are replaced at every point.
      progress: called with how many points are done.

    Raises:
      ValueError: the networks differ in structure, shape or dtype.

    >>> from mcjax.analysis import toy
    >>> t = np.linspace(0, 1, 3)
    >>> found = measure(toy.evaluator(), (toy.A, toy.B), ("A", "B"), ["first", "second"], t, {})
    >>> found.paths["single"].barriers["train"]["loss"].over_max.round(1)  # one layer's sign alone
    array([3.7, 3.7])
    >>> found.paths["from_input"].barriers["train"]["loss"].over_max.round(1)
    array([3.7, 0.7])
    """
    every = rows(networks[0], layer, t)
    return collect(
        dict(interpolation.evaluate(evaluator, networks, every, state, progress)), names, layer, t
    )


def collect(
    found: Mapping[Span | None, Values],
    names: Sequence[str],
    layer: Sequence[str],
    t: Num[np.ndarray, " points"],
) -> results.Layers:
    """The metrics of all `rows`, with their barriers.

    Args:
      found: by key.
      names: the networks' names.
      layer: the names of the layers.
      t: rising, from 0 to 1.

    >>> at = lambda *losses: Values({"train": {"loss": np.array(losses)}})
    >>> found = {None: at(0.1, 0.1), (0, 1): at(0.1, 0.1)}
    >>> found |= {(0, 0): at(0.1, 0.5), (1, 1): at(0.1, 0.3)}
    >>> layers = collect(found, ("A", "B"), ["conv", "dense"], np.array([0.0, 1.0]))
    >>> layers.paths["single"].barriers["train"]["loss"].over_max
    array([0.4, 0.2])
    """
    networks = found[None]
    ends = jax.tree.map(lambda x: np.broadcast_to(x, (len(layer), 2)), networks.metrics)
    paths: dict[str, results.LayerPaths] = {}
    for path, own in spans(len(layer)).items():
        values = results.Values.stacked([found[span] for span in own])
        heights = barriers.of_paths(values.metrics, ends, t)
        paths[path] = results.LayerPaths(values.metrics, values.l2, heights)
    return results.Layers(t, np.array(list(names)), np.array(list(layer)), networks, paths)
