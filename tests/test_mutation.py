"""The tables of mutants fit the code; ``python -m tests.mutation`` tries them all."""

import re

from tests import mutation

MUTANTS = mutation.mutants()


def test_the_old_text_of_every_mutant_occurs_once():
    stale = [(m.module, m.old) for m in MUTANTS if mutation.mutated(m) is None]
    assert not stale, "the code has moved on: mend tests/mutation/tables"


def test_every_module_with_functions_has_mutants():
    modules = {
        str(path.relative_to(mutation.ROOT))
        for path in (mutation.ROOT / "mcjax").rglob("*.py")
        if re.search("^(def|class) ", path.read_text(), re.M)
    }
    without = modules - {m.module for m in MUTANTS}
    assert not without, "write a table for them in tests/mutation/tables"
    assert len(set(MUTANTS)) == len(MUTANTS) >= 100


def test_tests_that_mutants_name_are_there():
    files = {arg for m in MUTANTS for arg in m.tests.split() if arg.endswith(".py")}
    assert not [file for file in files if not (mutation.ROOT / file).is_file()]
