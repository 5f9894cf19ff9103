"""Carries the structure of every axis through a jaxpr, equation by equation.

A rule is ``(equation, operands) -> results``: an axis tree for each axis of each value. It unites
what an operation ties together and freezes what depends on positions. Whatever has no rule here
freezes all it touches, and is named.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from mcjax.symmetries import programs
from mcjax.symmetries.axes import Axis, Leaf, Product, Sum, cut, freeze, leaves, size, unify

Axes = tuple[Axis, ...]
"""An axis tree for each axis of a value."""

ELEMENTWISE = frozenset([
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bessel_i0e", "bessel_i1e", "cbrt", "ceil", "clamp", "complex", "conj",
    "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "igamma", "igammac", "imag",
    "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min",
    "mul", "name", "ne", "neg", "nextafter", "not", "optimization_barrier", "or", "pow",
    "pvary", "real", "reduce_precision", "regularized_incomplete_beta", "rem", "round", "rsqrt",
    "select_n", "sharding_constraint", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub",
    "tan", "tanh", "xor", "zeta",
])  # fmt: skip
REDUCTIONS = frozenset([
    "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum",
    "reduce_xor",
])  # fmt: skip
ALONG_AN_AXIS = frozenset(["cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"])
WINDOWS = frozenset([
    "reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum",
])  # fmt: skip


class Tracer:
    """Walks a jaxpr.

    Attributes:
      unknown: names of primitives without a rule.
      seen: which groups occur where: pairs of a scope (None, or the number of a scan whose body it
        is) and an axis.
      lengths: the length of each scan, by its number.
      values: the axes of each variable; of one in a program that is called twice, the last time's.
    """

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self.seen: list[tuple[int | None, Axis]] = []
        self.lengths: list[int] = []
        self.values: dict[core.Var, Axes] = {}

    def call(
        self, jaxpr: core.ClosedJaxpr, operands: Sequence[Axes], scope: int | None
    ) -> list[Axes]:
        """The axes of a jaxpr's results, given those of its arguments."""
        inner, consts = jaxpr.jaxpr, jaxpr.consts
        env: dict[core.Var, Axes] = dict(zip(inner.invars, operands, strict=True))
        env |= {v: constant(c) for v, c in zip(inner.constvars, consts, strict=True)}

        def read(atom: Any) -> Axes:
            if isinstance(atom, core.Literal):
                return constant(atom.val)
            return env[atom]

        for equation in inner.eqns:
            results = self.equation(equation, [read(v) for v in equation.invars], scope)
            env.update(zip(equation.outvars, results, strict=True))
        self.values |= env
        return [read(v) for v in inner.outvars]

    def equation(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        """The axes of an equation's results, given those of its operands."""
        name = equation.primitive.name
        if name == "scan":
            return self._scan(equation, operands, scope)
        if name == "while":
            return self._while(equation, operands, scope)
        if name == "cond":
            return self._cond(equation, operands, scope)
        body = programs.body_of(equation.params)
        if body is not None and _takes(body, operands):
            return self.call(body, operands, scope)
        rule = _rule(name)
        if rule is None:
            self.unknown.add(name)
            rule = _opaque
        results = rule(equation, operands)
        assert [tuple(map(size, r)) for r in results] == _shapes(equation), (equation, results)
        self._see(scope, [*operands, *results])
        return results

    def _see(self, scope: int | None, values: Sequence[Axes]) -> None:
        self.seen += [(scope, axis) for value in values for axis in value]

    def _scan(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        """Consts and carry are the same in every iteration; of what is scanned each has its own."""
        params = equation.params
        consts, carried = params["num_consts"], params["num_consts"] + params["num_carry"]
        carry, scanned = operands[consts:carried], operands[carried:]
        for value in scanned:
            freeze(value[0], "the axis of a scan")
        if scope is None:
            inside: int = len(self.lengths)
            self.lengths.append(params["length"])
        else:
            inside = scope
        results = self.call(
            params["jaxpr"], [*operands[:consts], *carry, *(v[1:] for v in scanned)], inside
        )
        _unify_values(carry, results[: len(carry)], "the carry of a scan")
        stacked = [
            (Leaf(params["length"], "the axis of a scan"), *v) for v in results[len(carry) :]
        ]
        self._see(scope, [*operands[:carried], *stacked])
        return [*carry, *stacked]

    def _while(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        params = equation.params
        first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        carry = operands[second:]
        (done,) = self.call(params["cond_jaxpr"], [*operands[:first], *carry], scope)
        _freeze_values([done], "the condition of a while loop")
        results = self.call(params["body_jaxpr"], operands[first:], scope)
        _unify_values(carry, results, "the carry of a while loop")
        self._see(scope, operands)
        return list(carry)

    def _cond(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        first, *others = (
            self.call(branch, operands[1:], scope) for branch in equation.params["branches"]
        )
        for results in others:
            _unify_values(first, results, "branches of a cond that differ")
        self._see(scope, [*operands, *first])
        return first


def _takes(body: core.ClosedJaxpr, operands: list[Axes]) -> bool:
    """Whether the operands are the program's arguments as they are (a shard_map's are shares)."""
    shapes = [v.aval.shape for v in body.jaxpr.invars]
    return shapes == [tuple(map(size, value)) for value in operands]


def constant(value: Any) -> Axes:
    """A constant's axes: frozen, but where it is uniform along an axis."""
    if not np.ndim(value):
        return ()
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return tuple(Leaf(n, "a constant") for n in np.shape(value))
    array = np.asarray(value)
    same = [bool((array == array.take([0], i)).all()) for i in range(array.ndim)]
    sizes = zip(array.shape, same, strict=True)
    return tuple(Leaf(n, None if uniform else "a constant") for n, uniform in sizes)


def _shapes(equation: Any) -> list[tuple[int, ...]]:
    return [v.aval.shape for v in equation.outvars]


def _frozen(shape: Sequence[int], why: str) -> Axes:
    return tuple(Leaf(n, why) for n in shape)


def _freeze_values(values: Sequence[Axes], why: str) -> None:
    for value in values:
        for axis in value:
            freeze(axis, why)


def _unify_axes(a: Axes, b: Axes, why: str) -> None:
    for one, two in zip(a, b, strict=True):
        unify(one, two, why)


def _unify_values(a: Sequence[Axes], b: Sequence[Axes], why: str) -> None:
    for one, two in zip(a, b, strict=True):
        _unify_axes(one, two, why)


def _opaque(equation: Any, operands: list[Axes]) -> list[Axes]:
    why = f"{equation.primitive.name}, which has no rule"
    _freeze_values(operands, why)
    return [_frozen(shape, why) for shape in _shapes(equation)]


def _elementwise(equation: Any, operands: list[Axes]) -> list[Axes]:
    shape = _shapes(equation)[0]
    result: list[Axis] = [Leaf(n) for n in shape]
    for value in operands:  # scalars tie nothing, nor does an axis of size one that is broadcast
        for i, axis in enumerate(value):
            if size(axis) == shape[i]:
                unify(result[i], axis, equation.primitive.name)
    return [tuple(result)] * len(equation.outvars)


def _barrier(equation: Any, operands: list[Axes]) -> list[Axes]:
    return operands


def _reduction(equation: Any, operands: list[Axes]) -> list[Axes]:
    dropped = equation.params["axes"]
    return [tuple(a for i, a in enumerate(v) if i not in dropped) for v in operands]


def _arg_reduction(equation: Any, operands: list[Axes]) -> list[Axes]:
    for axis in equation.params["axes"]:
        freeze(operands[0][axis], equation.primitive.name)
    return _reduction(equation, operands)


def _along_an_axis(equation: Any, operands: list[Axes]) -> list[Axes]:
    freeze(operands[0][equation.params["axis"]], equation.primitive.name)
    return operands


def _rev(equation: Any, operands: list[Axes]) -> list[Axes]:
    for axis in equation.params["dimensions"]:
        freeze(operands[0][axis], "a reversal")
    return operands


def _sort(equation: Any, operands: list[Axes]) -> list[Axes]:
    for value in operands:
        freeze(value[equation.params["dimension"]], "a sort")
        _unify_axes(operands[0], value, "a sort")
    return operands


def _top_k(equation: Any, operands: list[Axes]) -> list[Axes]:
    freeze(operands[0][-1], "top_k")
    last = _frozen(_shapes(equation)[0][-1:], "top_k")
    return [operands[0][:-1] + last] * len(equation.outvars)


def _iota(equation: Any, operands: list[Axes]) -> list[Axes]:
    along = equation.params["dimension"]
    (shape,) = _shapes(equation)
    return [tuple(Leaf(n, "positions" if i == along else None) for i, n in enumerate(shape))]


def _window(equation: Any, operands: list[Axes]) -> list[Axes]:
    (shape,) = _shapes(equation)
    windows = equation.params["window_dimensions"]
    for axis, window in zip(operands[0], windows, strict=True):
        if window > 1:
            freeze(axis, "a window")
    return [_partly(operands[0], shape, "a window")]


def _dot_general(equation: Any, operands: list[Axes]) -> list[Axes]:
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = operands
    for i, j in zip((*left, *left_batch), (*right, *right_batch), strict=True):
        unify(a[i], b[j], "a product")
    free = [
        tuple(axis for i, axis in enumerate(value) if i not in used)
        for value, used in ((a, (*left, *left_batch)), (b, (*right, *right_batch)))
    ]
    return [tuple(a[i] for i in left_batch) + free[0] + free[1]]


def _convolution(equation: Any, operands: list[Axes]) -> list[Axes]:
    """A convolution of G groups: the image's features are G x inputs, the kernel's outputs G x any.

    So an ordinary one ties the image's features to the kernel's inputs, a depthwise one to the
    kernel's outputs, and in between the groups may trade places, and the features within them.
    """
    params = equation.params
    if params["batch_group_count"] != 1:
        return _opaque(equation, operands)
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    image, kernel = operands
    why = "a convolution"
    outputs, inputs = (kernel[i] for i in numbers.rhs_spec[:2])
    blocks = Leaf(groups)
    unify(image[numbers.lhs_spec[1]], Product((blocks, inputs)), why)
    if groups > 1:
        unify(outputs, Product((blocks, Leaf(size(outputs) // groups))), why)
    for value, spec in ((image, numbers.lhs_spec), (kernel, numbers.rhs_spec)):
        for i in spec[2:]:
            freeze(value[i], why)
    (shape,) = _shapes(equation)
    result: list[Axis] = [Leaf(n, why) for n in shape]
    result[numbers.out_spec[0]] = image[numbers.lhs_spec[0]]
    result[numbers.out_spec[1]] = outputs
    return [tuple(result)]


def _transpose(equation: Any, operands: list[Axes]) -> list[Axes]:
    return [tuple(operands[0][i] for i in equation.params["permutation"])]


def _squeeze(equation: Any, operands: list[Axes]) -> list[Axes]:
    dropped = equation.params["dimensions"]
    return [tuple(axis for i, axis in enumerate(operands[0]) if i not in dropped)]


def _broadcast(equation: Any, operands: list[Axes]) -> list[Axes]:
    result: list[Axis] = [Leaf(n) for n in equation.params["shape"]]  # uniform, so free
    for i, axis in zip(equation.params["broadcast_dimensions"], operands[0], strict=True):
        if size(axis) == size(result[i]):
            result[i] = axis
    return [tuple(result)]


def _reshape(equation: Any, operands: list[Axes]) -> list[Axes]:
    if equation.params.get("dimensions") is not None:
        return _opaque(equation, operands)
    (shape,) = _shapes(equation)
    result = tuple(Leaf(n) for n in shape)
    unify(Product(operands[0]), Product(result), "a reshape that no factors fit")
    return [result]


def _concatenate(equation: Any, operands: list[Axes]) -> list[Axes]:
    along = equation.params["dimension"]
    first, *others = operands
    for value in others:
        for i, (a, b) in enumerate(zip(first, value, strict=True)):
            if i != along:
                unify(a, b, "a concatenation")
    joined = Sum(tuple(value[along] for value in operands))
    return [(*first[:along], joined, *first[along + 1 :])]


def _stack(equation: Any, operands: list[Axes]) -> list[Axes]:
    for value in operands[1:]:
        _unify_axes(operands[0], value, "a stack")
    along = equation.params["axis"]
    first = operands[0]
    return [(*first[:along], Leaf(len(operands), "the axis of a stack"), *first[along:])]


def _unstack(equation: Any, operands: list[Axes]) -> list[Axes]:
    along = equation.params["axis"]
    freeze(operands[0][along], "the axis of a stack")
    return [(*operands[0][:along], *operands[0][along + 1 :])] * len(equation.outvars)


def _pad(equation: Any, operands: list[Axes]) -> list[Axes]:
    def padded(axis: Axis, low: int, high: int, interior: int) -> Axis:
        if min(low, high) < 0 or interior:
            freeze(axis, "a pad")
            n = size(axis)
            return Leaf(low + high + n + interior * max(n - 1, 0), "a pad")
        return Sum((Leaf(low), axis, Leaf(high)))  # the padding is uniform, so free

    config = zip(operands[0], equation.params["padding_config"], strict=True)
    return [tuple(padded(axis, *how) for axis, how in config)]


def _part(axis: Axis, start: int, stop: int) -> Axis:
    return cut(cut(axis, start)[1], stop - start)[0]


def _slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    params = equation.params
    strides = params["strides"] or (1,) * len(operands[0])
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    (shape,) = _shapes(equation)
    result = []
    for axis, (start, stop, stride), n in zip(operands[0], limits, shape, strict=True):
        if stride == 1:
            result.append(_part(axis, start, stop))
        else:
            freeze(axis, "a slice with a stride")
            result.append(Leaf(n, "a slice with a stride"))
    return [tuple(result)]


def _split(equation: Any, operands: list[Axes]) -> list[Axes]:
    along, start, results = equation.params["axis"], 0, []
    for n in map(int, equation.params["sizes"]):
        part = _part(operands[0][along], start, start + n)
        results.append((*operands[0][:along], part, *operands[0][along + 1 :]))
        start += n
    return results


def _dynamic_slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    return [_partly(operands[0], equation.params["slice_sizes"], "a dynamic slice")]


def _dynamic_update_slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    whole, update = operands[:2]
    for a, b in zip(whole, update, strict=True):
        if size(a) == size(b):
            unify(a, b, "an update of a slice")
        else:
            _freeze_values([(a, b)], "an update of a slice")
    return [whole]


def _partly(axes: Axes, sizes: Sequence[int], why: str) -> Axes:
    """Axes that are kept whole stay; the others are frozen."""
    result = []
    for axis, n in zip(axes, sizes, strict=True):
        if size(axis) == n:
            result.append(axis)
        else:
            freeze(axis, why)
            result.append(Leaf(n, why))
    return tuple(result)


def _gather(equation: Any, operands: list[Axes]) -> list[Axes]:
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operand, indices = operands
    why = "indexing"
    for i in numbers.start_index_map:
        freeze(operand[i], why)
    freeze(indices[-1], why)
    for i, j in zip(
        numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True
    ):
        unify(operand[i], indices[j], why)
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    sliced = _partly(
        tuple(axis for i, axis in enumerate(operand) if i not in gone),
        [n for i, n in enumerate(sizes) if i not in gone],
        why,
    )
    offsets, batch = iter(sliced), iter(indices[:-1])
    (shape,) = _shapes(equation)
    dims = range(len(shape))
    return [tuple(next(offsets) if i in numbers.offset_dims else next(batch) for i in dims)]


RULES: dict[str, Callable[[Any, list[Axes]], list[Axes]]] = {
    "argmax": _arg_reduction,
    "argmin": _arg_reduction,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "iota": _iota,
    "optimization_barrier": _barrier,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "top_k": _top_k,
    "transpose": _transpose,
    "unstack": _unstack,
}


def _rule(name: str) -> Callable[[Any, list[Axes]], list[Axes]] | None:
    if name in ELEMENTWISE:
        return RULES.get(name, _elementwise)
    if name in REDUCTIONS:
        return _reduction
    if name in ALONG_AN_AXIS:
        return _along_an_axis
    return _window if name in WINDOWS else RULES.get(name)


def groups_inside(tracer: Tracer) -> dict[int, int]:
    """Groups that occur in the body of one scan only, by identity, with the scan's number."""
    where: dict[int, set[int | None]] = {}
    for scope, axis in tracer.seen:
        for leaf in leaves(axis):
            where.setdefault(id(leaf), set()).add(scope)
    return {
        group: scope
        for group, scopes in where.items()
        for scope in scopes
        if len(scopes) == 1 and scope is not None
    }
