"""Mutants of mcjax: small faults, one at a time, each of which some test must notice.

They are made by hand: mutmut and cosmic-ray make thousands, and each would have the tests compile
their jax programs for seconds or minutes, which takes days on two cores. So each mutant is a slip
that someone might make, and names the tests that should notice it.
"""

import contextlib
import functools
import gc
import importlib
import multiprocessing
import os
import shlex
import shutil
import sys
import tomllib
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"
TIMEOUT = 600  # seconds; a mutant that never ends is noticed, too
PRELOADED = (
    "jax", "flax.linen", "optax", "orbax.checkpoint", "scipy.sparse.linalg", "hypothesis",
    "matplotlib.pyplot", "sklearn.datasets", "tensorflow_datasets",
)  # fmt: skip
COPIED = ("mcjax", "experiments", "tests", "pyproject.toml")


class Mutant(NamedTuple):
    """A fault in one module.

    Attributes:
      module: its file, from the root.
      old: text that occurs once in it.
      new: what stands in its place.
      tests: pytest's arguments for the tests that should fail.
      equivalent: why no test can fail, where the program still does the same.
    """

    module: str
    old: str
    new: str
    tests: str
    equivalent: str = ""


def mutants() -> list[Mutant]:
    """All mutants; a table has a module, the tests of its mutants by default, and its mutants."""
    found = []
    for path in sorted(TABLES.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        rows = table.pop("mutants")
        found += [Mutant(**table | row) for row in rows]
    return found


def copy_to(folder: Path) -> None:
    """A copy of the project, to be mutated."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)


def mutated(mutant: Mutant, root: Path = ROOT) -> str | None:
    """The module's text with the fault, or None if the table is stale."""
    path = root / mutant.module
    text = path.read_text() if path.is_file() else ""
    if text.count(mutant.old) != 1 or mutant.new == mutant.old:
        return None
    return text.replace(mutant.old, mutant.new)


def verdict(mutant: Mutant, folder: Path) -> str:
    """Tries a mutant in a copy of the project.

    Returns:
      ``killed``, ``survived``, ``stale`` where the old text is not there, or ``broken`` where
      pytest cannot run the tests or they fail without the mutant, too.
    """
    text = mutated(mutant, folder)
    if text is None:
        return "stale"
    path = folder / mutant.module
    whole = path.read_text()
    path.write_text(text)
    code = exit_code(mutant.tests, folder)
    path.write_text(whole)
    if code == 0:
        return "survived"
    return "killed" if code == 1 and _passes(mutant.tests, folder) else "broken"


@functools.cache
def _passes(tests, folder):
    return exit_code(tests, folder) == 0


def exit_code(tests: str, folder: Path) -> int:
    """Pytest's in a process of its own: 0 if all pass, 1 if one fails or they never end."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(tests, folder))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        return 1
    return process.exitcode


def preload(folder: Path) -> None:
    """Imports what takes long, once for all the processes that `verdict` forks."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")  # for what stays the same
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)  # no threads yet
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()


def _run(tests: str, folder: Path):
    sys.dont_write_bytecode = True  # it would be told apart by size and second alone
    for name in [n for n in sys.modules if n.split(".")[0] == "tests"]:
        del sys.modules[name]
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = pytest.main(
            ["-qxm", "not long", "--assert=plain", "-p", "no:cacheprovider", *shlex.split(tests)]
        )
    os._exit(code)
