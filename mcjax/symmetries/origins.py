"""Which parameters each value of a program is linear in: those of the layer that made it.

A value is *homogeneous* in a set of leaves if scaling all of them by s scales the value by s:
``x @ kernel`` in the kernel, ``x @ kernel + bias`` in both, batch norm's result in its scale and
bias. A nonlinearity ends this.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core


class Origin(NamedTuple):
    """Where a value comes from.

    Attributes:
      data: whether it depends on the inputs.
      params: whether it depends on the parameters.
      depends: the leaves that it depends on in any way.
      leaves: the leaves in which it is homogeneous.
      copy: the leaf that it copies, reshaped or repeated, and the sign, 1 or -1; or None.
      offsets: leaves that were added to it, with their signs.
      depth: number of layers between the inputs and it.
    """

    data: bool = False
    params: bool = False
    depends: frozenset[core.Var] = frozenset()
    leaves: frozenset[core.Var] = frozenset()
    copy: tuple[core.Var, int] | None = None
    offsets: tuple[tuple[core.Var, int], ...] = ()
    depth: int = 0


CONSTANT = Origin()
DATA = Origin(data=True, params=True)
MOVES = frozenset([
    "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "name", "optimization_barrier",
    "pvary", "reduce_precision", "reshape", "sharding_constraint", "squeeze", "transpose",
])  # fmt: skip
"""Operations that do not change the numbers."""
LINEAR = frozenset([
    "concatenate", "cumsum", "reduce_sum", "reduce_window_sum", "rev", "slice", "split", "stack",
    "unstack",
])  # fmt: skip
"""Operations that are linear in all their operands together."""
INDEXING = frozenset(["dynamic_slice", "gather"])
"""Operations that are linear in their first operand; the others are indices."""
PRODUCTS = frozenset(["conv_general_dilated", "dot_general", "mul"])


def leaf(var: core.Var) -> Origin:
    """The origin of a parameter."""
    own = frozenset([var])
    return Origin(params=True, depends=own, leaves=own, copy=(var, 1))


def trace(
    program: core.Jaxpr, arguments: Sequence[Origin]
) -> tuple[dict[core.Var, Origin], list[list[Origin]]]:
    """The origin of every variable, and those of each equation's operands."""
    env = dict(zip(program.invars, arguments, strict=True))
    env |= dict.fromkeys(program.constvars, CONSTANT)
    operands = []
    for equation in program.eqns:
        known = [CONSTANT if isinstance(v, core.Literal) else env[v] for v in equation.invars]
        operands.append(known)
        env.update(dict.fromkeys(equation.outvars, _result(equation, known)))
    return env, operands


def _result(equation: Any, operands: list[Origin]) -> Origin:
    name = equation.primitive.name
    data = any(o.data for o in operands)
    meets = data and any(o.leaves and not o.data for o in operands)
    depth = max((o.depth for o in operands), default=0) + meets
    depends = frozenset[core.Var]().union(*(o.depends for o in operands))
    plain = Origin(data, any(o.params for o in operands), depends, depth=depth)
    if not operands or not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact):
        return plain
    first = operands[0]
    if name in MOVES and len(operands) == 1:
        return first
    if name == "neg":
        return _negative(first)
    if name in ("add", "add_any", "sub"):
        second = operands[1]
        return plain._replace(**_sum(first, _negative(second) if name == "sub" else second))
    if name in PRODUCTS:
        return plain._replace(**_product(*operands))
    if name == "div":
        return plain._replace(**_scaled(first, operands[1]))
    if name == "pad" and _is_zero(equation.invars[1]):
        return plain._replace(leaves=first.leaves)
    if name in INDEXING and not any(o.leaves for o in operands[1:]):
        return plain._replace(leaves=first.leaves)
    if name in LINEAR and all(o.leaves == first.leaves for o in operands):
        return plain._replace(leaves=first.leaves)
    return plain


def _negative(origin: Origin) -> Origin:
    flipped = origin.copy and (origin.copy[0], -origin.copy[1])
    return origin._replace(copy=flipped, offsets=tuple((v, -sign) for v, sign in origin.offsets))


def _sum(a: Origin, b: Origin) -> dict[str, Any]:
    if not (a.leaves and b.leaves) or (a.data and b.data and a.depth != b.depth):
        return {}  # a skip connection ends both of its branches
    added = [o.copy for o in (a, b) if o.copy and not o.data]
    offsets = (*a.offsets, *b.offsets, *added) if a.data or b.data else ()
    return {"leaves": a.leaves | b.leaves, "offsets": offsets}


def _product(a: Origin, b: Origin) -> dict[str, Any]:
    """Of a layer's input and its parameters, only the parameters' leaves count."""
    one, other = sorted((a, b), key=lambda o: (bool(o.leaves), not o.data, o.depth), reverse=True)
    return _scaled(one, other)


def _scaled(value: Origin, by: Origin) -> dict[str, Any]:
    """A multiple of a value; if the factor depends on its leaves, it is not homogeneous in them."""
    return {"leaves": frozenset() if value.leaves & by.depends else value.leaves}


def _is_zero(atom: Any) -> bool:
    return isinstance(atom, core.Literal) and not atom.val
