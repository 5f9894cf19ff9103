"""The table of mutants fits the code; ``python -m tests.mutation`` tries them all."""

import ast
import collections

from tests import mutation

MUTANTS = mutation.mutants()


def test_the_old_text_of_every_mutant_occurs_once():
    stale = [(m.module, m.old) for m in MUTANTS if mutation.mutated(m) is None]
    assert not stale, "the code has moved on: mend tests/mutation/tables"


def test_every_mutant_can_be_read():
    for mutant in MUTANTS:
        assert mutant.old != mutant.new, mutant
        ast.parse(mutation.mutated(mutant) or "")


def test_every_module_has_mutants():
    counts = collections.Counter(m.module for m in MUTANTS)
    modules = {
        str(p.relative_to(mutation.ROOT)) for p in (mutation.ROOT / "mcjax").rglob("*.py")
        if len(p.read_text().splitlines()) > 20
    }  # fmt: skip
    assert not modules - counts.keys() - {"mcjax/models/convolution_table.py"}  # times alone
    assert counts.total() >= 100
