"""Where in a program the activations of a spec's groups are: the results of its layers.

A layer is a set of leaves in which a value is homogeneous (`mcjax.symmetries.origins`): kernel and
bias, batch norm's scale and bias. Its result is the last such value through which all goes that
the leaves contribute, before any nonlinearity: the units' pre-activations.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from mcjax.symmetries import axes as trees
from mcjax.symmetries import origins, programs, tracing
from mcjax.symmetries import spec as specs

NO_DATA = "activations need data: there are no batches; give tuples of the function's inputs"


class Fold(NamedTuple):
    """How a layer's units lie in one of its leaves (in one iteration of a scan).

    Attributes:
      shape: the leaf's axes in factors.
      places: the factor that each factor of the units is.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]


class Tap(NamedTuple):
    """A layer's result.

    Attributes:
      var: in the flat program.
      axes: of the value, in one iteration of a scan.
      units: the axes that groups permute.
      layers: iterations of the scan that it is in, or None.
      factors: sizes that the units are a product of, as `Fold.places` counts them.
      folds: by name of a leaf; none where the layer cannot be rescaled by its leaves.
      offset: the leaf that is added to it, and whether times 1 or -1; or None.
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

    def rows(self, value: jax.Array) -> jax.Array:
        """A value as ``[samples, units]``."""
        last = range(value.ndim - len(self.units), value.ndim)
        return jnp.moveaxis(value, self.units, last).reshape(-1, specs.extent(self.joint))

    def like(self, rows: jax.Array, value: jax.Array) -> jax.Array:
        """The inverse of `rows`, in the shape and dtype of ``value``."""
        last = range(value.ndim - len(self.units), value.ndim)
        shape = jnp.moveaxis(value, self.units, last).shape
        return jnp.moveaxis(rows.reshape(shape), last, self.units).astype(value.dtype)

    def groups(self) -> set[str]:
        """Names of the groups that permute it."""
        return {f.group for axis in self.axes for f in specs.factors(axis) if f.group}


class _Scope(NamedTuple):
    """A program, or the body of a scan in it.

    Attributes:
      names: leaves that may be rescaled here.
      layers: iterations, or None.
    """

    program: core.Jaxpr
    arguments: list[origins.Origin]
    names: dict[core.Var, str]
    layers: int | None = None


def read(
    spec: specs.Spec, function: Callable[..., Any], params: Any, *inputs: Any
) -> tuple[core.ClosedJaxpr, list[Tap]]:
    """The flat program of ``function(params, *inputs)`` and its taps.

    Args:
      spec: of the function's groups.
      function: as in `mcjax.symmetries.find`.
      params: the parameters, or their shapes.
      *inputs: the inputs, or their shapes.

    Returns:
      The program and the results of its layers in order; for a group that permutes none of these
      the last value that it permutes.

    Raises:
      ValueError: there are no inputs, or no activation of a group is found.
    """
    programs.check_call(function, params, inputs)
    specs.check_names(spec, params)
    if not jax.tree.leaves(inputs):
        raise ValueError("activations need data: give batches of the function's inputs")
    program = programs.flatten(function, params, *inputs)
    groups, own = specs.seeds(spec)
    tracer = specs.walk(program, own)
    names = {id(trees.resolve(leaf)): name for name, leaf in groups.items()}
    leaves = program.jaxpr.invars[: len(spec.leaves)]
    arguments = [origins.leaf(v) for v in leaves]
    arguments += [origins.DATA] * (len(program.jaxpr.invars) - len(leaves))
    scope = _Scope(program.jaxpr, arguments, dict(zip(leaves, spec.leaves, strict=True)))
    layers: list[Tap] = []
    others: dict[str, Tap] = {}
    for tap, is_layer in _of_scope(scope, tracer, names):
        if is_layer:
            layers.append(tap)
        else:
            others |= dict.fromkeys(tap.groups(), tap)
    missing = set(spec.groups) - {name for tap in layers for name in tap.groups()}
    missing -= {name for name, group in spec.groups.items() if group.size == 1}
    for name in sorted(missing):
        if name not in others:
            raise ValueError(
                f"the program shows no activation of group {name}: match by weights instead"
            )
        if others[name] not in layers:
            layers.append(others[name])
    return program, layers


def as_inputs(batch: Any) -> tuple[Any, ...]:
    """A batch's inputs; raises ValueError where it is not a tuple of them."""
    if not isinstance(batch, tuple | list):
        raise ValueError(
            f"a batch is a tuple of the function's inputs, not {type(batch).__name__}: "
            "give (images,) for function(params, images)"
        )
    return tuple(batch)


def _of_scope(
    scope: _Scope, tracer: tracing.Tracer, names: dict[int, str]
) -> Iterator[tuple[Tap, bool]]:
    """Taps of a program and of the scans in it, with whether they are layers' results."""
    known, operands = origins.trace(scope.program, scope.arguments)
    uses = _uses(scope.program)
    for equation, found in zip(scope.program.eqns, operands, strict=True):
        if equation.primitive.name == "scan" and scope.layers is None:
            yield from _of_scope(_body(equation, found, scope, uses), tracer, names)

    def tap(var: core.Var) -> Tap | None:
        axes = tuple(
            specs.describe(a, lambda leaf: names.get(id(leaf))) for a in tracer.values[var]
        )
        units = [i for i, axis in enumerate(axes) if any(f.group for f in specs.factors(axis))]
        floating = jnp.issubdtype(var.aval.dtype, jnp.floating)  # pyrefly: ignore
        return Tap(var, axes, tuple(units), scope.layers) if units and floating else None

    for var, origin in known.items():
        found = tap(var) if origin.data else None
        if found is not None:
            yield found, False
    for members in _regions(known):
        cuts = [v for v in _cuts(scope.program, members, known, uses) if tap(v) is not None]
        if cuts:
            best = ([v for v in cuts if known[v].offsets] or cuts)[-1]
            found = tap(best)
            assert found is not None
            yield _with_folds(found, scope, known, members), True


def _uses(program: core.Jaxpr) -> dict[core.Var, list[int]]:
    """By variable, the equations that take it; the number of equations for a result."""
    uses: dict[core.Var, list[int]] = {}
    taken = [*(e.invars for e in program.eqns), program.outvars]
    for i, atoms in enumerate(taken):
        for atom in atoms:
            if not isinstance(atom, core.Literal):
                uses.setdefault(atom, []).append(i)
    return uses


def _body(
    equation: Any, found: list[origins.Origin], scope: _Scope, uses: dict[core.Var, list[int]]
) -> _Scope:
    """The body of a scan. What all iterations share is not one iteration's to rescale."""
    params = equation.params
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    body, names, arguments = params["jaxpr"].jaxpr, {}, []
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


def _regions(known: dict[core.Var, origins.Origin]) -> list[list[core.Var]]:
    """Values that are linear in leaves, by the sets that these form, in the program's order."""
    parent: dict[core.Var, core.Var] = {}

    def root(var: core.Var) -> core.Var:
        while parent.setdefault(var, var) is not var:
            var = parent[var]
        return var

    for origin in known.values():
        for var in origin.leaves:
            parent[root(var)] = root(next(iter(origin.leaves)))
    regions: dict[core.Var, list[core.Var]] = {}
    for var, origin in known.items():
        if origin.leaves:
            regions.setdefault(root(next(iter(origin.leaves))), []).append(var)
    return list(regions.values())


def _cuts(
    program: core.Jaxpr,
    members: list[core.Var],
    known: dict[core.Var, origins.Origin],
    uses: dict[core.Var, list[int]],
) -> Iterator[core.Var]:
    """Values of a region through which all goes that its leaves contribute."""
    inside = set(members)
    whole = frozenset().union(*(known[v].leaves for v in members))
    made = {v: i for i, e in enumerate(program.eqns) for v in e.outvars}
    keeps = [any(v in inside for v in e.outvars) for e in program.eqns] + [False]
    ends = {v: [i if keeps[i] else len(keeps) for i in uses.get(v, [])] for v in members}
    for var in members:
        at = made.get(var, -1)
        others = (v for v in members if v is not var and made.get(v, -1) <= at)
        through = all(end <= at for v in others for end in ends[v])
        if through and known[var].data and known[var].leaves == whole:
            yield var


def _with_folds(
    tap: Tap, scope: _Scope, known: dict[core.Var, origins.Origin], members: list[core.Var]
) -> Tap:
    """The tap with how its units lie in the leaves, if they lie in each of them once.

    Found by carrying axes through the region alone: what the rest of the program ties together,
    as a residual stream its layers' inputs and outputs, is apart here.
    """
    leaves = known[tap.var].leaves
    if not all(v in scope.names for v in leaves):
        return tap
    env = _axes_within(scope.program, set(members), tap.var)
    units = [leaf for i in tap.units for leaf in trees.leaves(env[tap.var][i])]
    folds = {}
    for name, var in sorted((scope.names[v], v) for v in leaves):
        fold = _fold(env[var], units)
        if fold is None:
            return tap
        folds[name] = fold
    offset = next(((scope.names[v], sign) for v, sign in known[tap.var].offsets), None)
    return tap._replace(factors=tuple(leaf.size for leaf in units), folds=folds, offset=offset)


def _axes_within(
    program: core.Jaxpr, inside: set[core.Var], last: core.Var
) -> dict[core.Var, tracing.Axes]:
    tracer, env = tracing.Tracer(), {}

    def axes(atom: Any) -> tracing.Axes:
        if isinstance(atom, core.Literal):
            return tracing.constant(atom.val)
        return env.setdefault(atom, tuple(trees.Leaf(n) for n in atom.aval.shape))

    for equation in program.eqns:
        if any(v in inside for v in equation.outvars):
            results = tracer.equation(equation, [axes(v) for v in equation.invars], None)
            env.update(zip(equation.outvars, results, strict=True))
        if last in equation.outvars:
            break
    return env


def _fold(axes: tracing.Axes, units: Sequence[trees.Leaf]) -> Fold | None:
    """Where the units are among a leaf's factors; None unless each is there once."""
    there: list[Any] = []
    for axis in map(trees.resolve, axes):
        parts = axis.parts if isinstance(axis, trees.Product) else (axis,)
        moved = any(part is unit for part in parts for unit in units)
        there += parts if moved else [trees.Leaf(trees.size(axis))]
    places = [[i for i, part in enumerate(there) if part is unit] for unit in units]
    if any(unit.frozen for unit in units) or any(len(found) != 1 for found in places):
        return None
    return Fold(tuple(map(trees.size, there)), tuple(i for (i,) in places))


def spread(tap: Tap, name: str, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A number for each unit, ``[layers, units]``, where it is in a leaf, in the leaf's shape."""
    fold = tap.folds[name]
    order = [0, *(1 + np.argsort(fold.places))]
    values = values.reshape(-1, *tap.factors).transpose(order)
    sizes = [n if i in fold.places else 1 for i, n in enumerate(fold.shape)]
    whole = np.broadcast_to(values.reshape(-1, *sizes), (len(values), *fold.shape))
    return whole.reshape(shape)
