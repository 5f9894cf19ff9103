"""The commands of mcjax: flags, run folders, progress and figures."""

import os
import sys

from mcjax import extras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before jax is imported, which sets a lower one

PACKAGES = ("absl", "flax", "matplotlib", "orbax", "tqdm")
"""What every command imports in addition to the library's own dependencies."""


def check_extra() -> None:
    """Exits with status 2 and a one-line message if a package that commands need is missing."""
    if absent := extras.missing(PACKAGES):
        print(extras.message("the command", absent, "experiments"), file=sys.stderr)
        sys.exit(2)


def discard_output() -> None:
    """Discards further output, buffered output included, after its reader has closed the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


# `python -m` imports a command's package before the command, which imports what may be missing.
# The list of commands, `python -m experiments`, needs nothing.
if sys.argv[:1] == ["-m"] and not {__name__, f"-m{__name__}"} & {*sys.orig_argv}:
    check_extra()
