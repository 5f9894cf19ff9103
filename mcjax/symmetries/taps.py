"""Where in a program the activations of a spec's groups are: the results of its layers.

A layer is a set of leaves in which a value is homogeneous (`mcjax.symmetries.origins`): kernel and
bias, batch norm's scale and bias. Its result is the last such value that carries everything the
leaves contribute, before any nonlinearity: the units' pre-activations.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from mcjax.symmetries import axes as trees
from mcjax.symmetries import finding, folds, layers, origins, programs, tracing
from mcjax.symmetries import spec as specs
from mcjax.symmetries.folds import Fold
from mcjax.typing import Array, Float, Num

NO_DATA = "activations need data: there are no batches; give tuples of the function's inputs"


class Tap(NamedTuple):
    """A layer's result.

    Attributes:
      var: its variable in the flat program.
      axes: the value's, in one iteration of a scan.
      units: indices of the axes that groups permute.
      layers: iterations of the scan around it, or None.
      factors: sizes whose product is the number of units, as `folds.Fold.places` counts them.
      folds: by leaf name; empty if rescaling leaves cannot rescale the layer.
      offset: the leaf that is added to it and its sign, 1 or -1; or None.
    """

    var: core.Var
    axes: tuple[specs.Axis, ...]
    units: tuple[int, ...]
    layers: int | None
    factors: tuple[int, ...] = ()
    folds: dict[str, Fold] = {}  # noqa: RUF012
    offset: tuple[str, int] | None = None

    @property
    def joint(self) -> specs.Axis:
        """The units as one axis."""
        return specs.Product(tuple(self.axes[i] for i in self.units))

    def rows(self, value: jax.Array) -> Float[Array, "samples units"]:
        """A value with its units on one axis, behind one of samples."""
        last = range(value.ndim - len(self.units), value.ndim)
        return jnp.moveaxis(value, self.units, last).reshape(-1, specs.extent(self.joint))

    def like(self, rows: Float[Array, "samples units"], value: jax.Array) -> jax.Array:
        """The inverse of `rows`, in the shape and dtype of ``value``."""
        last = range(value.ndim - len(self.units), value.ndim)
        shape = jnp.moveaxis(value, self.units, last).shape
        return jnp.moveaxis(rows.reshape(shape), last, self.units).astype(value.dtype)

    def spread(
        self, name: str, values: Num[np.ndarray, "layers units"], shape: Sequence[int]
    ) -> np.ndarray:
        """A number per unit, put where the unit lies in a leaf of some shape."""
        fold = self.folds[name]
        order = [0, *(1 + np.argsort(fold.places))]
        values = values.reshape(-1, *self.factors).transpose(order)
        sizes = [n if i in fold.places else 1 for i, n in enumerate(fold.shape)]
        whole = np.broadcast_to(values.reshape(-1, *sizes), (len(values), *fold.shape))
        return whole.reshape(shape)

    def groups(self) -> set[str]:
        """Names of the groups that permute it."""
        return {f.group for axis in self.axes for f in specs.factors(axis) if f.group}


class _Scope(NamedTuple):
    """A program, or the body of a scan in it.

    Attributes:
      program: its equations.
      arguments: origins of its arguments.
      names: names of the leaves that may be rescaled here, by variable.
      layers: iterations of the scan, or None.
    """

    program: core.Jaxpr
    arguments: list[origins.Origin]
    names: dict[core.Var, str]
    layers: int | None = None


def read(
    spec: specs.Spec, function: programs.Function, params: Any, *inputs: Any
) -> tuple[core.ClosedJaxpr, list[Tap]]:
    """The flat program of ``function(params, *inputs)`` and its taps.

    Args:
      spec: of the function's groups.
      function: as in `mcjax.symmetries.find`.
      params: the parameters, or their shapes.
      *inputs: the inputs, or their shapes.

    Returns:
      The program and the results of its layers in order. A group that permutes none of them is
      represented by the last value that it permutes.

    Raises:
      ValueError: there are no inputs, or a group has no activation.
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
    scope = _Scope(program.jaxpr, arguments, dict(zip(leaves, spec.leaves, strict=True)))
    taps: list[Tap] = []
    others: dict[str, Tap] = {}
    for tap, is_layer in _of_scope(scope, tracer, names):
        if is_layer:
            taps.append(tap)
        else:
            others |= dict.fromkeys(tap.groups(), tap)
    missing = set(spec.groups) - {name for tap in taps for name in tap.groups()}
    missing -= {name for name, group in spec.groups.items() if group.size == 1}
    for name in sorted(missing):
        if name not in others:
            raise ValueError(
                f"the program shows no activation of group {name}: match by weights instead"
            )
        if others[name] not in taps:
            taps.append(others[name])
    return program, taps


def as_inputs(batch: Any) -> tuple[Any, ...]:
    """A batch's inputs; raises ValueError unless it is a tuple or list."""
    if not isinstance(batch, (tuple, list)):
        raise ValueError(
            f"a batch is a tuple of the function's inputs, not {type(batch).__name__}: "
            "give (images,) for function(params, images)"
        )
    return tuple(batch)


def _of_scope(
    scope: _Scope, tracer: tracing.Tracer, names: dict[int, str]
) -> Iterator[tuple[Tap, bool]]:
    """Taps of a program and of its scans, each with whether it is a layer's result."""
    known, operands = origins.trace(scope.program, scope.arguments)
    uses = layers.uses_of(scope.program)
    for equation, found in zip(scope.program.eqns, operands, strict=True):
        if equation.primitive.name == "scan" and scope.layers is None:
            yield from _of_scope(_body(equation, found, scope, uses), tracer, names)

    def tap(var: core.Var) -> Tap | None:
        axes = tuple(
            finding.describe(a, lambda leaf: names.get(id(leaf))) for a in tracer.values[var]
        )
        units = [i for i, axis in enumerate(axes) if any(f.group for f in specs.factors(axis))]
        floating = jnp.issubdtype(var.aval.dtype, jnp.floating)  # pyrefly: ignore
        return Tap(var, axes, tuple(units), scope.layers) if units and floating else None

    for var, origin in known.items():
        found = tap(var) if origin.data else None
        if found is not None:
            yield found, False
    for members in layers.regions(known):
        cuts = [v for v in layers.cuts(scope.program, members, known, uses) if tap(v) is not None]
        if cuts:
            best = ([v for v in cuts if known[v].offsets] or cuts)[-1]
            found = tap(best)
            assert found is not None
            yield _with_folds(found, scope, known, members), True


def _body(
    equation: Any, found: list[origins.Origin], scope: _Scope, uses: dict[core.Var, list[int]]
) -> _Scope:
    """The body of a scan; one iteration cannot rescale leaves that all iterations share."""
    params = equation.params
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    body = params["jaxpr"].jaxpr
    names: dict[core.Var, str] = {}
    arguments: list[origins.Origin] = []
    for i, (var, atom, origin) in enumerate(zip(body.invars, equation.invars, found, strict=True)):
        if origin.data or first <= i < last:
            arguments.append(origins.DATA)
        elif not origin.params:
            arguments.append(origins.CONSTANT)
        else:
            arguments.append(origins.leaf(var))
            if i >= last and len(uses[atom]) == 1 and atom in scope.names:
                names[var] = scope.names[atom]
    return _Scope(body, arguments, names, params["length"])


def _with_folds(
    tap: Tap, scope: _Scope, known: dict[core.Var, origins.Origin], members: list[core.Var]
) -> Tap:
    """Adds how the tap's units lie in the leaves, if they lie in each exactly once.

    Axes are traced through the region alone: the rest of the program may tie axes together, as a
    residual stream ties its layers' inputs and outputs, that are separate here.
    """
    leaves = known[tap.var].leaves
    if not all(v in scope.names for v in leaves):
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
