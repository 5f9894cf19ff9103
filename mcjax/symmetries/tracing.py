"""Carries the structure of every axis through a jaxpr, equation by equation.

A primitive without a rule (`mcjax.symmetries.rules`) freezes everything it touches and is reported.
"""

from collections.abc import Sequence
from typing import Any

from jax.extend import core

from mcjax.symmetries import programs, rules
from mcjax.symmetries.axes import Axis, Leaf, freeze, leaves, size
from mcjax.symmetries.values import (
    Axes,
    constant,
    freeze_all,
    opaque,
    result_shapes,
    unify_values,
)


class Tracer:
    """Traces axes through a jaxpr.

    Attributes:
      unknown: names of primitives without a rule.
      seen: pairs of a scope and an axis that occurs there. A scope is None, or the index of a scan
        for its body.
      lengths: the length of each scan, by its index.
      values: the axes of each variable; in a program that is called twice, those of the last call.
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
        rule = rules.find(name)
        if rule is None:
            self.unknown.add(name)
            rule = opaque
        results = rule(equation, operands)
        assert [tuple(map(size, r)) for r in results] == result_shapes(equation), (
            equation,
            results,
        )
        self._see(scope, [*operands, *results])
        return results

    def _see(self, scope: int | None, values: Sequence[Axes]) -> None:
        self.seen += [(scope, axis) for value in values for axis in value]

    def _scan(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        """Iterations share constants and carry; each has its own slice of what is scanned."""
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
        unify_values(carry, results[: len(carry)], "the carry of a scan")
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
        freeze_all([done], "the condition of a while loop")
        results = self.call(params["body_jaxpr"], operands[first:], scope)
        unify_values(carry, results, "the carry of a while loop")
        self._see(scope, operands)
        return list(carry)

    def _cond(self, equation: Any, operands: list[Axes], scope: int | None) -> list[Axes]:
        first, *others = (
            self.call(branch, operands[1:], scope) for branch in equation.params["branches"]
        )
        for results in others:
            unify_values(first, results, "branches of a cond that differ")
        self._see(scope, [*operands, *first])
        return first


def _takes(body: core.ClosedJaxpr, operands: list[Axes]) -> bool:
    """Whether operands have the shapes of the program's arguments (a shard_map's do not)."""
    shapes = [v.aval.shape for v in body.jaxpr.invars]
    return shapes == [tuple(map(size, value)) for value in operands]


def groups_inside(tracer: Tracer) -> dict[int, int]:
    """Maps groups, by id, that occur only within one scan's body to that scan's index."""
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
