"""Where in a program the activations of a spec's groups are: the results of its layers."""

from collections.abc import Sequence

import jax
from jax.extend import core

from mcjax.symmetries import axes as trees
from mcjax.symmetries import finding, origins, programs
from mcjax.symmetries import spec as specs
from mcjax.symmetries.scopes import Scope, Tap, taps_of
from mcjax.typing import PyTree

__all__ = ["NO_DATA", "Tap", "as_inputs", "hidden", "left", "read"]

NO_DATA = "activations need data: there are no batches; give tuples of the function's inputs"


def read(
    spec: specs.Spec, function: programs.Function, params: PyTree, *inputs: PyTree
) -> tuple[core.ClosedJaxpr, list[Tap]]:
    """The flat program of ``function(params, *inputs)`` and its taps.

    Args:
      spec: of the function's groups.
      function: as in `mcjax.symmetries.find`.
      params: the parameters, or their shapes.
      *inputs: the inputs, or their shapes.

    Returns:
      The program and the results of its layers in order, unreadable ones too. A group that
      permutes none of the others is represented by the last value that it permutes, if the program
      shows one.

    Raises:
      ValueError: there are no inputs, or the parameters do not fit the spec.

    >>> network = lambda params, x: jax.nn.relu(x @ params["in"]) @ params["out"]
    >>> shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jax.numpy.float32)
    >>> params, x = {"in": shape(3, 4), "out": shape(4, 2)}, shape(5, 3)
    >>> program, found = read(finding.find(network, params, x), network, params, x)
    >>> [(sorted(tap.leaves), tap.groups()) for tap in found]
    [(['in'], {'P0'})]
    """
    programs.check_call(function, params, inputs)
    specs.check_names(spec, params)
    if not jax.tree.leaves(inputs):
        raise ValueError("activations need data: give batches of the function's inputs")
    program = programs.flatten(function, params, *inputs)
    groups, own = finding.seeds(spec)
    tracer = finding.walk(program, own)
    names = {id(trees.resolve(leaf)): name for name, leaf in groups.items()}
    leaves = program.jaxpr.invars[: len(spec.leaves)]
    arguments = [origins.leaf(v) for v in leaves]
    arguments += [origins.DATA] * (len(program.jaxpr.invars) - len(leaves))
    own_names = dict(zip(leaves, spec.leaves, strict=True))
    sources = {var: frozenset([name]) for var, name in own_names.items()}
    scope = Scope(program.jaxpr, arguments, own_names, sources)
    taps: list[Tap] = []
    others: dict[str, Tap] = {}
    for tap, is_layer in taps_of(scope, tracer, names):
        if is_layer:
            taps.append(tap)
        else:
            others |= dict.fromkeys(tap.groups(), tap)
    for name in hidden(spec, [tap for tap in taps if tap.readable]):
        if name in others and others[name] not in taps:
            taps.append(others[name])
    return program, taps


def hidden(spec: specs.Spec, taps: Sequence[Tap]) -> list[str]:
    """Names of the groups of two or more units that permute none of the taps.

    >>> spec = specs.by_hand({"w": jax.numpy.zeros((3, 4))}, {"w": [None, "P0"]})
    >>> hidden(spec, [])
    ['P0']
    """
    shown = {name for tap in taps for name in tap.groups()}
    return sorted(n for n, group in spec.groups.items() if n not in shown and group.size > 1)


def left(spec: specs.Spec, taps: Sequence[Tap]) -> tuple[str, ...]:
    """Names of the leaves of all layers that rescaling leaves cannot rescale.

    Of a group that no layer shows, such as one in a branch of a cond, these are all leaves that it
    permutes.

    >>> spec = specs.by_hand({"w": jax.numpy.zeros((3, 4))}, {"w": [None, "P0"]})
    >>> left(spec, [])
    ('w',)
    """
    without = set(hidden(spec, [tap for tap in taps if tap.leaves]))
    unseen = {
        leaf
        for leaf, axes in spec.leaves.items()
        if any(factor.group in without for axis in axes for factor in specs.factors(axis))
    }
    fixed = {leaf for tap in taps if not tap.folds for leaf in tap.leaves}
    return tuple(sorted((unseen | fixed) - {leaf for tap in taps for leaf in tap.folds}))


def as_inputs(batch: PyTree) -> tuple[PyTree, ...]:
    """A batch's inputs; raises ValueError unless it is a tuple or list.

    >>> as_inputs([1.0])
    (1.0,)
    >>> as_inputs({"images": 1.0})
    Traceback (most recent call last):
    ValueError: a batch is a tuple of the function's inputs, not dict: give (images,) ...
    """
    if not isinstance(batch, (tuple, list)):
        raise ValueError(
            f"a batch is a tuple of the function's inputs, not {type(batch).__name__}: "
            "give (images,) for function(params, images)"
        )
    return tuple(batch)
