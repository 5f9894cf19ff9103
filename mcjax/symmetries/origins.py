"""What each value of a program is linear in: the parameters of the layer that made it.

A value is *homogeneous* in a set of leaves where scaling all of these by s scales the value by s,
whatever else the program holds: ``x @ kernel`` in the kernel, ``x @ kernel + bias`` in both,
batch norm's result in its scale and bias. After a nonlinearity nothing is left of it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core


class Origin(NamedTuple):
    """Where a value comes from.

    Attributes:
      data: it depends on the inputs.
      params: it depends on the parameters.
      leaves: it is homogeneous in these.
      copy: it is this leaf, times 1 or -1, in another shape, repeated or not.
      offsets: leaves that are added to it as they are, times 1 or -1.
      depth: layers between the inputs and it.
    """

    data: bool = False
    params: bool = False
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
"""Operations that leave the numbers as they are."""
LINEAR = frozenset([
    "concatenate", "cumsum", "reduce_sum", "reduce_window_sum", "rev", "slice", "split", "stack",
    "unstack",
])  # fmt: skip
"""Linear operations on operands of one layer."""
INDEXING = frozenset(["dynamic_slice", "gather"])
"""Operations that are linear in the first operand; the others are indices."""
PRODUCTS = frozenset(["conv_general_dilated", "dot_general", "mul"])


def leaf(var: core.Var) -> Origin:
    """A parameter itself."""
    return Origin(params=True, leaves=frozenset([var]), copy=(var, 1))


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
        env.update(dict.fromkeys(equation.outvars, _of(equation, known)))
    return env, operands


def _of(equation: Any, operands: list[Origin]) -> Origin:
    name = equation.primitive.name
    data = any(o.data for o in operands)
    meets = data and any(o.leaves and not o.data for o in operands)
    depth = max((o.depth for o in operands), default=0) + meets
    plain = Origin(data, any(o.params for o in operands), depth=depth)
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
        return plain._replace(leaves=first.leaves)
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
    """Of a layer's input and its parameters those count, not what the input is linear in."""
    one = max((a, b), key=lambda o: (bool(o.leaves), not o.data, o.depth))
    return {"leaves": one.leaves}


def _is_zero(atom: Any) -> bool:
    return isinstance(atom, core.Literal) and not atom.val
