"""Runs the tests against every mutant of mcjax; exits 1 if one survives.

python -m tests.mutation [--only=MODULE]
"""

import argparse
import collections
import tempfile
import time
from pathlib import Path

from tests import mutation


def main() -> int:
    """A line for each mutant as it is done, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="mutants of modules whose path contains it")
    only = parser.parse_args().only
    chosen = [m for m in mutation.mutants() if only in m.module]
    if not chosen:
        parser.error(f"--only={only}: no mutated module has that in its path")
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        mutation.copy_to(Path(folder))
        mutation.preload(Path(folder))
        for mutant in chosen:
            began = time.monotonic()
            found = "equivalent" if mutant.equivalent else mutation.verdict(mutant, Path(folder))
            counts[found] += 1
            took = f"{time.monotonic() - began:3.0f} s"
            print(
                f"{found:10} {took} {mutant.module}: {mutant.old!r} -> {mutant.new!r}", flush=True
            )
    print(", ".join(f"{count} {found}" for found, count in counts.items()))
    return int(not counts.keys() <= {"killed", "equivalent"})


raise SystemExit(main())
