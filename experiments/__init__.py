"""The commands of mcjax: flags, run folders, progress and figures."""

import os
import sys

from mcjax import extras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before jax is imported, which sets a lower one

PACKAGES = ("absl", "flax", "matplotlib", "orbax", "tqdm")
"""What every command imports beside the library's own dependencies."""


def check_extra() -> None:
    """Ends the process in one line, exit status 2, where a package of the commands is missing."""
    if absent := extras.missing(PACKAGES):
        print(extras.message("the command", absent, "experiments"), file=sys.stderr)
        sys.exit(2)


# `python -m` imports a command's package before the command, which imports what may be missing.
# The list of the commands, `python -m experiments`, needs nothing.
if sys.argv[:1] == ["-m"] and not {__name__, f"-m{__name__}"} & {*sys.orig_argv}:
    check_extra()
