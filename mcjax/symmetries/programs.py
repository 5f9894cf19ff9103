"""Programs as flat jaxprs, evaluated with taps on their values."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.extend import core

CALLS = frozenset([
    "checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "jit", "pjit", "remat", "remat2",
])  # fmt: skip
"""Primitives that call the program among their parameters."""


@runtime_checkable
class Function(Protocol):
    """A function whose symmetries are looked for, such as a network's output or a loss."""

    def __call__(self, params: Any, /, *inputs: Any) -> Any:
        """From a pytree of parameters, and inputs, to a pytree of outputs."""


class Tap(NamedTuple):
    """What to do with a value.

    Attributes:
      of: from the value and ``given`` to its replacement and a record.
      given: a pytree; for a value in a scan, with a leading axis of iterations.
    """

    of: Callable[[jax.Array, Any], tuple[jax.Array, Any]]
    given: Any = None


Taps = Mapping[core.Var, Tap]


def flatten(function: Callable[..., Any], *args: Any) -> core.ClosedJaxpr:
    """The jaxpr of ``function(*args)`` with all calls inlined.

    Each variable, inside scans too, then stands for one value.

    Args:
      function: any function of pytrees.
      *args: arrays, or their shapes.
    """
    program = jax.make_jaxpr(function)(*args)
    return jax.make_jaxpr(lambda *values: evaluate(program, values, {})[0])(*program.in_avals)


def evaluate(
    program: core.ClosedJaxpr, args: Sequence[Any], taps: Taps
) -> tuple[list[Any], dict[core.Var, Any]]:
    """Evaluates a program, recording and replacing the values that are tapped.

    Args:
      program: from `flatten`.
      args: values of its arguments.
      taps: by variable of the program or of a scan's body (but not of a scan within a scan).

    Returns:
      The results, and the records by variable; those from a scan have a leading axis of iterations.
    """
    jaxpr = program.jaxpr
    env = dict(zip(jaxpr.constvars, program.consts, strict=True))
    env |= dict(zip(jaxpr.invars, args, strict=True))
    records: dict[core.Var, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else env[atom]

    for equation in jaxpr.eqns:
        results, inner = _results(
            equation, [read(v) for v in equation.invars], taps, jaxpr.debug_info
        )
        records |= inner
        for var, value in zip(equation.outvars, results, strict=True):
            env[var] = value
            if var in taps:
                env[var], records[var] = taps[var].of(value, taps[var].given)
    return [read(v) for v in jaxpr.outvars], records


def _results(
    equation: Any, operands: list[Any], taps: Taps, names: core.DebugInfo
) -> tuple[Sequence[Any], dict[core.Var, Any]]:
    primitive, params = equation.primitive, equation.params
    if primitive.name == "scan":
        return _scan(params, operands, taps)
    body = body_of(params) if primitive.name in CALLS else None
    if body is not None:
        return evaluate(body, operands, taps)
    there = [i for i, v in enumerate(equation.invars) if not isinstance(v, core.Literal)]
    alone = core.Jaxpr(
        (), [equation.invars[i] for i in there], equation.outvars, [equation], debug_info=names
    )
    run = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))
    return run(*(operands[i] for i in there)), {}


def _scan(
    params: dict[str, Any], operands: list[Any], taps: Taps
) -> tuple[list[Any], dict[core.Var, Any]]:
    first = params["num_consts"]
    last = first + params["num_carry"]
    consts, carry, scanned = operands[:first], operands[first:last], operands[last:]

    body = params["jaxpr"]
    here = [v for e in body.jaxpr.eqns for v in e.outvars if v in taps]
    recorded: list[core.Var] = []  # variables cannot be the keys of a pytree

    def step(carry: list[Any], now: Any) -> tuple[list[Any], Any]:
        now, given = now
        inner = {v: taps[v]._replace(given=g) for v, g in zip(here, given, strict=True)}
        results, records = evaluate(body, [*consts, *carry, *now], inner)
        recorded[:] = records
        return results[: len(carry)], (results[len(carry) :], list(records.values()))

    over = (scanned, [taps[v].given for v in here])
    carry, (stacked, records) = jax.lax.scan(
        step, carry, over, params["length"], params["reverse"], params["unroll"]
    )
    return [*carry, *stacked], dict(zip(recorded, records, strict=True))


def body_of(params: dict[str, Any]) -> core.ClosedJaxpr | None:
    """The program among a primitive's parameters, or None."""
    for name in ("call_jaxpr", "fun_jaxpr", "jaxpr"):
        body = params.get(name)
        if isinstance(body, core.ClosedJaxpr):
            return body
        if isinstance(body, core.Jaxpr) and not body.constvars:
            return core.ClosedJaxpr(body, ())
    return None


def check_call(function: Function, params: Any, inputs: Sequence[Any]) -> None:
    """Raises ValueError unless a function can be called as ``function(params, *inputs)``."""
    if not any(np.size(x) for x in jax.tree.leaves(params)):
        raise ValueError("there are no parameters: params holds no arrays")
    try:
        inspect.signature(function).bind(params, *inputs)
    except TypeError as error:
        raise ValueError(
            f"the function is not one of parameters and {len(inputs)} inputs: {error}; "
            "wrap it as lambda params, *inputs: ..."
        ) from None
    except ValueError:  # a callable without a signature
        return
