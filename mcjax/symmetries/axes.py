"""The structure of an axis, found by unification.

An axis is a tree. A `Leaf` is a *group* of positions whose order nothing has fixed yet; a `Product`
is a row-major product of factors (heads times the width of a head); a `Sum` is a concatenation of
parts (the gates of an LSTM). `unify` makes two axes equal, refining both where their structures
differ: unification as in type inference, with sizes. Axes without a common refinement, and those
in operations that depend on positions, are frozen.
"""

import math
from typing import NamedTuple


class Leaf:
    """A group: a unification variable of known size.

    Attributes:
      size: number of positions.
      frozen: why permutations are forbidden, or None.
      value: the axis that it is bound to, or None.
    """

    __slots__ = ("frozen", "size", "value")

    def __init__(self, size: int, frozen: str | None = None) -> None:
        self.size, self.frozen = size, frozen
        self.value: Axis | None = None


class Product(NamedTuple):
    """Factors of an axis; the last one varies fastest."""

    parts: tuple["Axis", ...]


class Sum(NamedTuple):
    """Parts of an axis, one after the other."""

    parts: tuple["Axis", ...]


Axis = Leaf | Product | Sum


def size(axis: Axis) -> int:
    """Positions along an axis."""
    match axis:
        case Product(parts):
            return math.prod(map(size, parts))
        case Sum(parts):
            return sum(map(size, parts))
    return axis.size


def resolve(axis: Axis) -> Axis:
    """The axis as known so far, without trivial factors, empty parts and nested products or sums.

    Adjacent frozen leaves are merged.
    """
    if isinstance(axis, Leaf):
        if axis.size == 1:
            return Product(())
        if axis.value is None:
            return axis
        axis.value = resolve(axis.value)
        return axis.value
    kind = type(axis)
    flat: list[Axis] = []
    for part in map(resolve, axis.parts):
        for one in part.parts if isinstance(part, kind) else (part,):
            last = flat[-1] if flat else one
            if flat and isinstance(last, Leaf) and last.frozen and _is_frozen(one):
                flat[-1] = Leaf(size(kind((last, one))), last.frozen)
            elif kind is Product or size(one) > 0:
                flat.append(one)
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def _is_frozen(axis: Axis) -> bool:
    return isinstance(axis, Leaf) and axis.frozen is not None


def leaves(axis: Axis) -> list[Leaf]:
    """The groups of an axis, as known so far."""
    axis = resolve(axis)
    if isinstance(axis, Leaf):
        return [axis]
    return [leaf for part in axis.parts for leaf in leaves(part)]


def freeze(axis: Axis, why: str) -> None:
    """Forbids permutations of an axis; the first reason is kept."""
    for leaf in leaves(axis):
        leaf.frozen = leaf.frozen or why


def unify(a: Axis, b: Axis, why: str) -> None:
    """Makes two axes of equal size equal.

    Args:
      a: an axis.
      b: another axis.
      why: the reason to record if they have no common refinement and are frozen.
    """
    a, b = resolve(a), resolve(b)
    assert size(a) == size(b), (size(a), size(b), why)
    if a is b:
        return
    if isinstance(b, Leaf) and not (isinstance(a, Leaf) and a.frozen):
        a, b = b, a
    if isinstance(a, Leaf):
        _bind(a, b)
    elif isinstance(a, Product) and isinstance(b, Product):
        _unify_products(a.parts, b.parts, why)
    else:
        _unify_sums(a, b, why)


def cut(axis: Axis, at: int) -> tuple[Axis, Axis]:
    """Splits an axis into its first ``at`` positions and the rest.

    A cut through a product's later factors singles out one position of its first factor.
    """
    axis = resolve(axis)
    if at in (0, size(axis)):
        return (axis, Leaf(0)) if at else (Leaf(0), axis)
    if isinstance(axis, Leaf):
        first, second = Leaf(at, axis.frozen), Leaf(axis.size - at, axis.frozen)
        if not axis.frozen:
            axis.value = Sum((first, second))
        return first, second
    if isinstance(axis, Sum):
        return _cut_sum(axis.parts, at)
    rest = axis.parts[1:]
    outer, inner = divmod(at, size(Product(rest)))
    before, others = cut(axis.parts[0], outer)
    if inner == 0:
        return Product((before, *rest)), Product((others, *rest))
    after = cut(others, 1)[1]
    first, second = cut(Product(rest), inner)
    return Sum((Product((before, *rest)), first)), Sum((second, Product((after, *rest))))


def _cut_sum(parts: tuple[Axis, ...], at: int) -> tuple[Axis, Axis]:
    for i, part in enumerate(parts):
        if at < size(part):
            one, two = cut(part, at)
            return Sum((*parts[:i], one)), Sum((two, *parts[i + 1 :]))
        at -= size(part)
    raise AssertionError("a cut past the end")


def _bind(leaf: Leaf, axis: Axis) -> None:
    if leaf.frozen:
        freeze(axis, leaf.frozen)
    elif any(inner is leaf for inner in leaves(axis)):
        freeze(axis, "an axis that contains itself")
    else:
        leaf.value = axis


def _unify_products(a: tuple[Axis, ...], b: tuple[Axis, ...], why: str) -> None:
    """Unifies two row-major products factor by factor, splitting the larger one."""
    if not a or not b:
        return
    first, second = size(a[0]), size(b[0])
    if first < second:
        a, b, first, second = b, a, second, first
    if first % second:
        freeze(Product(a), why)
        freeze(Product(b), why)
        return
    if first == second:
        unify(a[0], b[0], why)
        rest: tuple[Axis, ...] = a[1:]
    else:
        outer, inner = Leaf(second), Leaf(first // second)
        unify(a[0], Product((outer, inner)), why)
        unify(outer, b[0], why)
        rest = (inner, *a[1:])
    _unify_products(_factors(rest), _factors(b[1:]), why)


def _factors(parts: tuple[Axis, ...]) -> tuple[Axis, ...]:
    axis = resolve(Product(parts))
    return axis.parts if isinstance(axis, Product) else (axis,)


def _unify_sums(a: Axis, b: Axis, why: str) -> None:
    """Cuts two axes, at least one of them a sum, at the same places and unifies the pieces."""
    while size(a) > 0:
        pieces = [x.parts[0] if isinstance(x, Sum) else x for x in (a, b)]
        at = min(map(size, pieces))
        if at == size(a) and not any(isinstance(x, Sum) for x in (a, b)):
            return unify(a, b, why)
        (one, a), (two, b) = cut(a, at), cut(b, at)
        unify(one, two, why)
        a, b = resolve(a), resolve(b)
    return None
