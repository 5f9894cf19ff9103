"""Layers of a program: regions of values that are linear in the same leaves."""

from collections.abc import Iterator

from jax.extend import core

from mcjax.symmetries import origins


def uses_of(program: core.Jaxpr) -> dict[core.Var, list[int]]:
    """By variable, indices of the equations that use it; results add the number of equations."""
    uses: dict[core.Var, list[int]] = {}
    taken = [*(e.invars for e in program.eqns), program.outvars]
    for i, atoms in enumerate(taken):
        for atom in atoms:
            if not isinstance(atom, core.Literal):
                uses.setdefault(atom, []).append(i)
    return uses


def regions(known: dict[core.Var, origins.Origin]) -> list[list[core.Var]]:
    """Groups values that share leaves, directly or through others; in program order."""
    parent: dict[core.Var, core.Var] = {}

    def root(var: core.Var) -> core.Var:
        while parent.setdefault(var, var) is not var:
            var = parent[var]
        return var

    for origin in known.values():
        for var in origin.leaves:
            parent[root(var)] = root(next(iter(origin.leaves)))
    found: dict[core.Var, list[core.Var]] = {}
    for var, origin in known.items():
        if origin.leaves:
            found.setdefault(root(next(iter(origin.leaves))), []).append(var)
    return list(found.values())


def cuts(
    program: core.Jaxpr,
    members: list[core.Var],
    known: dict[core.Var, origins.Origin],
    uses: dict[core.Var, list[int]],
) -> Iterator[core.Var]:
    """Values of a region that carry everything its leaves contribute."""
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
