"""How each primitive ties the axes of its operands to those of its results.

A rule is ``(equation, operands) -> results``: an axis tree for each axis of each value. It unifies
what the operation ties together and freezes what depends on positions.
"""

from collections.abc import Callable
from typing import Any

from mcjax.symmetries import shape_rules
from mcjax.symmetries.axes import Axis, Leaf, Product, freeze, size, unify
from mcjax.symmetries.values import Axes, frozen, opaque, partly, result_shapes, unify_axes

Rule = Callable[[Any, list[Axes]], list[Axes]]
"""From an equation and its operands' axes to its results'."""


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


def _elementwise(equation: Any, operands: list[Axes]) -> list[Axes]:
    shape = result_shapes(equation)[0]
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
        unify_axes(operands[0], value, "a sort")
    return operands


def _top_k(equation: Any, operands: list[Axes]) -> list[Axes]:
    freeze(operands[0][-1], "top_k")
    last = frozen(result_shapes(equation)[0][-1:], "top_k")
    return [operands[0][:-1] + last] * len(equation.outvars)


def _iota(equation: Any, operands: list[Axes]) -> list[Axes]:
    along = equation.params["dimension"]
    (shape,) = result_shapes(equation)
    return [tuple(Leaf(n, "positions" if i == along else None) for i, n in enumerate(shape))]


def _window(equation: Any, operands: list[Axes]) -> list[Axes]:
    (shape,) = result_shapes(equation)
    windows = equation.params["window_dimensions"]
    for axis, window in zip(operands[0], windows, strict=True):
        if window > 1:
            freeze(axis, "a window")
    return [partly(operands[0], shape, "a window")]


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
    """A convolution of G groups: the image has G x inputs features, the kernel G x any outputs.

    With G = 1 it ties the image's features to the kernel's inputs, in a depthwise convolution to
    the kernel's outputs; in between, groups can be permuted, and so can features within a group.
    """
    params = equation.params
    if params["batch_group_count"] != 1:
        return opaque(equation, operands)
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
    (shape,) = result_shapes(equation)
    result: list[Axis] = [Leaf(n, why) for n in shape]
    result[numbers.out_spec[0]] = image[numbers.lhs_spec[0]]
    result[numbers.out_spec[1]] = outputs
    return [tuple(result)]


RULES: dict[str, Rule] = {
    "argmax": _arg_reduction,
    "argmin": _arg_reduction,
    "broadcast_in_dim": shape_rules.broadcast,
    "concatenate": shape_rules.concatenate,
    "conv_general_dilated": _convolution,
    "dot_general": _dot_general,
    "dynamic_slice": shape_rules.dynamic_slice,
    "dynamic_update_slice": shape_rules.dynamic_update_slice,
    "gather": shape_rules.gather,
    "iota": _iota,
    "optimization_barrier": _barrier,
    "pad": shape_rules.pad,
    "reshape": shape_rules.reshape,
    "rev": _rev,
    "slice": shape_rules.slice_,
    "sort": _sort,
    "split": shape_rules.split,
    "squeeze": shape_rules.squeeze,
    "stack": shape_rules.stack,
    "top_k": _top_k,
    "transpose": shape_rules.transpose,
    "unstack": shape_rules.unstack,
}


def find(name: str) -> Rule | None:
    """The rule of a primitive, or None."""
    if name in ELEMENTWISE:
        return RULES.get(name, _elementwise)
    if name in REDUCTIONS:
        return _reduction
    if name in ALONG_AN_AXIS:
        return _along_an_axis
    return _window if name in WINDOWS else RULES.get(name)
