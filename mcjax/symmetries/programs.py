"""Programs as flat lists of equations: traced, and evaluated with their values in reach."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

CALLS = frozenset([
    "checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "jit", "pjit", "remat", "remat2",
])  # fmt: skip
"""Primitives that do what the program among their parameters does."""


class Tap(NamedTuple):
    """What to do with a value.

    Attributes:
      of: from the value and ``given`` to the value that the program continues with, and a record.
      given: a pytree; of a value in a scan with a leading axis of iterations.
    """

    of: Callable[[jax.Array, Any], tuple[jax.Array, Any]]
    given: Any = None


Taps = Mapping[core.Var, Tap]


def flatten(function: Callable[..., Any], *args: Any) -> core.ClosedJaxpr:
    """The program of ``function(*args)`` with its calls written out.

    Every variable, inside scans as well, is then one value of the program.

    Args:
      function: any function of pytrees.
      *args: arrays or their shapes.
    """
    program = jax.make_jaxpr(function)(*args)
    return jax.make_jaxpr(lambda *values: evaluate(program, values, {})[0])(*program.in_avals)


def evaluate(
    program: core.ClosedJaxpr, args: Sequence[Any], taps: Taps
) -> tuple[list[Any], dict[core.Var, Any]]:
    """Evaluates a program; values that are tapped are recorded and may be replaced.

    Args:
      program: from `flatten`.
      args: a value for each of its arguments.
      taps: at variables of the program, or of the body of a scan in it (not of a scan in a scan).

    Returns:
      The results, and the records by variable. Those from a scan have a leading axis of iterations.
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
    """The program among the parameters of a call-like primitive, or None."""
    for name in ("call_jaxpr", "fun_jaxpr", "jaxpr"):
        body = params.get(name)
        if isinstance(body, core.ClosedJaxpr):
            return body
        if isinstance(body, core.Jaxpr) and not body.constvars:
            return core.ClosedJaxpr(body, ())
    return None


def check_call(function: Callable[..., Any], params: Any, inputs: Sequence[Any]) -> None:
    """Raises ValueError where a function cannot be called as ``function(params, *inputs)``."""
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
