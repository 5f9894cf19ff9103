"""The layers of a program and of its scans, and their results: taps.

A layer is a set of leaves in which a value is homogeneous (`mcjax.symmetries.origins`): kernel and
bias, batch norm's scale and bias. Its result is the last such value that carries everything the
leaves contribute, before any nonlinearity: the units' pre-activations.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from mcjax.symmetries import axes as trees
from mcjax.symmetries import finding, folds, layers, origins, tracing
from mcjax.symmetries import spec as specs
from mcjax.symmetries.folds import Fold
from mcjax.typing import Array, Float, Num


class Tap(NamedTuple):
    """A layer's result.

    Attributes:
      var: its variable in the flat program.
      axes: the value's, in one iteration of a scan.
      units: indices of the axes that groups permute.
      layers: iterations of the scan around it, or None.
      readable: whether it can be read and replaced: not in a scan within a scan, and not if no
        single value carries everything that its leaves contribute.
      leaves: names of the leaves of its layer.
      factors: sizes whose product is the number of units, as ``Fold.places`` counts them.
      folds: by leaf name; empty if rescaling leaves cannot rescale the layer.
      offset: the leaf that is added to it and its sign, 1 or -1; or None.

    >>> tap = Tap(None, (specs.Factor(5), specs.Factor(4, "P0")), units=(1,), layers=None)
    >>> tap.readable, tap.folds
    (True, {})
    """

    var: core.Var
    axes: tuple[specs.Axis, ...]
    units: tuple[int, ...]
    layers: int | None
    readable: bool = True
    leaves: frozenset[str] = frozenset()
    factors: tuple[int, ...] = ()
    folds: dict[str, Fold] = {}  # noqa: RUF012
    offset: tuple[str, int] | None = None

    @property
    def joint(self) -> specs.Axis:
        """The units as one axis.

        >>> Tap(None, (specs.Factor(5), specs.Factor(4, "P0")), (1,), None).joint.parts
        (Factor(size=4, group='P0', frozen=None),)
        """
        return specs.Product(tuple(self.axes[i] for i in self.units))

    def rows(self, value: Float[Array, "..."]) -> Float[Array, "samples units"]:
        """A value with its units on one axis, behind one of samples.

        >>> tap = Tap(None, (specs.Factor(5), specs.Factor(4, "P0"), specs.Factor(7)), (1,), None)
        >>> tap.rows(jnp.zeros((5, 4, 7))).shape
        (35, 4)
        """
        last = range(value.ndim - len(self.units), value.ndim)
        return jnp.moveaxis(value, self.units, last).reshape(-1, specs.extent(self.joint))

    def like(
        self, rows: Float[Array, "samples units"], value: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """The inverse of `rows`, in the shape and dtype of ``value``.

        >>> tap = Tap(None, (specs.Factor(5), specs.Factor(4, "P0"), specs.Factor(7)), (1,), None)
        >>> value = jnp.zeros((5, 4, 7))
        >>> tap.like(tap.rows(value), value).shape
        (5, 4, 7)
        """
        last = range(value.ndim - len(self.units), value.ndim)
        shape = jnp.moveaxis(value, self.units, last).shape
        return jnp.moveaxis(rows.reshape(shape), last, self.units).astype(value.dtype)

    def spread(
        self, name: str, values: Num[np.ndarray, "layers units"], shape: Sequence[int]
    ) -> Num[np.ndarray, "..."]:
        """A number per unit, put where the unit lies in a leaf of some shape.

        >>> tap = Tap(None, (), (), None, factors=(2,), folds={"w": Fold((3, 2), (1,))})
        >>> tap.spread("w", np.array([[1.0, 2.0]]), (3, 2)).tolist()
        [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
        """
        fold = self.folds[name]
        order = [0, *(1 + np.argsort(fold.places))]
        values = values.reshape(-1, *self.factors).transpose(order)
        sizes = [n if i in fold.places else 1 for i, n in enumerate(fold.shape)]
        whole = np.broadcast_to(values.reshape(-1, *sizes), (len(values), *fold.shape))
        return whole.reshape(shape)

    def groups(self) -> set[str]:
        """Names of the groups that permute it.

        >>> Tap(None, (specs.Factor(5), specs.Factor(4, "P0")), (1,), None).groups()
        {'P0'}
        """
        return {f.group for axis in self.axes for f in specs.factors(axis) if f.group}


class Scope(NamedTuple):
    """A program, or the body of a scan in it.

    Attributes:
      program: its equations.
      arguments: origins of its arguments.
      names: names of the leaves that may be rescaled here, by variable.
      sources: by variable, the names of all leaves that it is made of.
      layers: iterations of the scan, or None.
      nested: whether it is in a scan within a scan.
    """

    program: core.Jaxpr
    arguments: list[origins.Origin]
    names: dict[core.Var, str]
    sources: dict[core.Var, frozenset[str]]
    layers: int | None = None
    nested: bool = False


def taps_of(
    scope: Scope, tracer: tracing.Tracer, names: dict[int, str]
) -> Iterator[tuple[Tap, bool]]:
    """Taps of a program and of its scans, each with whether it is a layer's result."""
    known, operands = origins.trace(scope.program, scope.arguments)
    uses = layers.uses_of(scope.program)
    for equation, found in zip(scope.program.eqns, operands, strict=True):
        if equation.primitive.name == "scan":
            yield from taps_of(_body(equation, found, scope, uses), tracer, names)

    def tap(var: core.Var) -> Tap | None:
        axes = tuple(
            finding.describe(a, lambda leaf: names.get(id(leaf))) for a in tracer.values[var]
        )
        units = [i for i, axis in enumerate(axes) if any(f.group for f in specs.factors(axis))]
        floating = jnp.issubdtype(var.aval.dtype, jnp.floating)  # pyrefly: ignore
        if not (units and floating):
            return None
        return Tap(var, axes, tuple(units), scope.layers, not scope.nested)

    for var, origin in known.items():
        found = tap(var) if origin.data and not scope.nested else None
        if found is not None:
            yield found, False
    for members in layers.regions(known):
        within = [v for v in members if known[v].data and tap(v) is not None]
        cuts = [v for v in layers.cuts(scope.program, members, known, uses) if v in within]
        if within:
            found = tap(([v for v in cuts if known[v].offsets] or cuts or within)[-1])
            assert found is not None
            found = found._replace(
                readable=found.readable and bool(cuts),
                leaves=_union(scope, {leaf for v in members for leaf in known[v].leaves}),
            )
            yield _with_folds(found, scope, known, members), True


def _body(
    equation: Any, found: list[origins.Origin], scope: Scope, uses: dict[core.Var, list[int]]
) -> Scope:
    """The body of a scan; one iteration cannot rescale leaves that all iterations share."""
    params = equation.params
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    body = params["jaxpr"].jaxpr
    names: dict[core.Var, str] = {}
    sources: dict[core.Var, frozenset[str]] = {}
    arguments: list[origins.Origin] = []
    for i, (var, atom, origin) in enumerate(zip(body.invars, equation.invars, found, strict=True)):
        if origin.data or first <= i < last:
            arguments.append(origins.DATA)
        elif not origin.params:
            arguments.append(origins.CONSTANT)
        else:
            arguments.append(origins.leaf(var))
            sources[var] = _union(scope, origin.leaves)
            if i >= last and len(uses[atom]) == 1 and atom in scope.names:
                names[var] = scope.names[atom]
    nested = scope.layers is not None
    return Scope(body, arguments, {} if nested else names, sources, params["length"], nested)


def _union(scope: Scope, leaves: Iterable[core.Var]) -> frozenset[str]:
    """Names of all leaves that some variables of a scope are made of."""
    return frozenset().union(*(scope.sources.get(v, ()) for v in leaves))


def _with_folds(
    tap: Tap, scope: Scope, known: dict[core.Var, origins.Origin], members: list[core.Var]
) -> Tap:
    """Adds how the tap's units lie in the leaves, if they lie in each exactly once.

    Axes are traced through the region alone: the rest of the program may tie axes together, as a
    residual stream ties its layers' inputs and outputs, that are separate here.
    """
    leaves = known[tap.var].leaves
    if not (tap.readable and all(v in scope.names for v in leaves)):
        return tap
    env = folds.axes_within(scope.program, set(members), tap.var)
    units = [leaf for i in tap.units for leaf in trees.leaves(env[tap.var][i])]
    found = {}
    for name, var in sorted((scope.names[v], v) for v in leaves):
        fold = folds.of_leaf(env[var], units)
        if fold is None:
            return tap
        found[name] = fold
    offset = next(((scope.names[v], sign) for v, sign in known[tap.var].offsets), None)
    return tap._replace(factors=tuple(leaf.size for leaf in units), folds=found, offset=offset)
