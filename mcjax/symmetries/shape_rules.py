"""Rules of operations that move, join or select positions (see `mcjax.symmetries.rules`)."""

from typing import Any

from mcjax.symmetries.axes import Axis, Leaf, Product, Sum, cut, freeze, size, unify
from mcjax.symmetries.values import (
    Axes,
    freeze_all,
    opaque,
    partly,
    result_shapes,
    unify_axes,
)


def transpose(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``transpose``: axes in another order."""
    return [tuple(operands[0][i] for i in equation.params["permutation"])]


def squeeze(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``squeeze``: axes of size one are dropped."""
    dropped = equation.params["dimensions"]
    return [tuple(axis for i, axis in enumerate(operands[0]) if i not in dropped)]


def broadcast(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``broadcast_in_dim``: new axes are uniform, so free."""
    result: list[Axis] = [Leaf(n) for n in equation.params["shape"]]  # uniform, so free
    for i, axis in zip(equation.params["broadcast_dimensions"], operands[0], strict=True):
        if size(axis) == size(result[i]):
            result[i] = axis
    return [tuple(result)]


def reshape(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``reshape``: the products of all axes are unified."""
    if equation.params.get("dimensions") is not None:
        return opaque(equation, operands)
    (shape,) = result_shapes(equation)
    result = tuple(Leaf(n) for n in shape)
    unify(Product(operands[0]), Product(result), "a reshape that no factors fit")
    return [result]


def concatenate(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``concatenate``: a sum along one axis; the others are unified."""
    along = equation.params["dimension"]
    first, *others = operands
    for value in others:
        for i, (a, b) in enumerate(zip(first, value, strict=True)):
            if i != along:
                unify(a, b, "a concatenation")
    joined = Sum(tuple(value[along] for value in operands))
    return [(*first[:along], joined, *first[along + 1 :])]


def stack(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``stack``: a new, frozen axis; the others are unified."""
    for value in operands[1:]:
        unify_axes(operands[0], value, "a stack")
    along = equation.params["axis"]
    first = operands[0]
    return [(*first[:along], Leaf(len(operands), "the axis of a stack"), *first[along:])]


def unstack(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``unstack``: the axis that is taken apart is frozen."""
    along = equation.params["axis"]
    freeze(operands[0][along], "the axis of a stack")
    return [(*operands[0][:along], *operands[0][along + 1 :])] * len(equation.outvars)


def pad(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``pad``: a sum with free parts; negative or interior padding freezes."""

    def padded(axis: Axis, low: int, high: int, interior: int) -> Axis:
        if min(low, high) < 0 or interior:
            freeze(axis, "a pad")
            n = size(axis)
            return Leaf(low + high + n + interior * max(n - 1, 0), "a pad")
        return Sum((Leaf(low), axis, Leaf(high)))  # the padding is uniform, so free

    config = zip(operands[0], equation.params["padding_config"], strict=True)
    return [tuple(padded(axis, *map(int, how)) for axis, how in config)]


def _part(axis: Axis, start: int, stop: int) -> Axis:
    return cut(cut(axis, start)[1], stop - start)[0]


def slice_(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``slice``: cuts an axis; a stride freezes it."""
    params = equation.params
    strides = params["strides"] or (1,) * len(operands[0])
    limits = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    (shape,) = result_shapes(equation)
    result = []
    for axis, (start, stop, stride), n in zip(operands[0], limits, shape, strict=True):
        if stride == 1:
            result.append(_part(axis, start, stop))
        else:
            freeze(axis, "a slice with a stride")
            result.append(Leaf(n, "a slice with a stride"))
    return [tuple(result)]


def split(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``split``: cuts an axis into consecutive parts."""
    along, start = equation.params["axis"], 0
    results: list[Axes] = []
    for n in map(int, equation.params["sizes"]):
        part = _part(operands[0][along], start, start + n)
        results.append((*operands[0][:along], part, *operands[0][along + 1 :]))
        start += n
    return results


def dynamic_slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``dynamic_slice``: an axis that is kept whole stays; others are frozen."""
    return [partly(operands[0], equation.params["slice_sizes"], "a dynamic slice")]


def dynamic_update_slice(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``dynamic_update_slice``: axes that the update covers whole are unified."""
    whole, update = operands[:2]
    for a, b in zip(whole, update, strict=True):
        if size(a) == size(b):
            unify(a, b, "an update of a slice")
        else:
            freeze_all([(a, b)], "an update of a slice")
    return [whole]


def gather(equation: Any, operands: list[Axes]) -> list[Axes]:
    """``gather``: indexed axes are frozen, batched ones unified."""
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
    sliced = partly(
        tuple(axis for i, axis in enumerate(operand) if i not in gone),
        [n for i, n in enumerate(sizes) if i not in gone],
        why,
    )
    offsets, batch = iter(sliced), iter(indices[:-1])
    (shape,) = result_shapes(equation)
    dims = range(len(shape))
    return [tuple(next(offsets) if i in numbers.offset_dims else next(batch) for i in dims)]
