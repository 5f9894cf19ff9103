"""The commands of mcjax: flags, run folders, progress and figures."""

import os
import sys

from mcjax import extras

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before jax is imported, which sets a lower one

PACKAGES = ("absl", "flax", "matplotlib", "orbax", "tqdm")
"""Packages that every command imports besides the library's own dependencies."""


def check_extra() -> None:
    """Exits with status 2 and a one-line message if a package of the commands is missing."""
    if absent := extras.missing(PACKAGES):
        print(extras.message("the command", absent, "experiments"), file=sys.stderr)
        sys.exit(2)


def discard_output() -> None:
    """Discards further output, buffered output included, after its reader has closed the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


# `python -m` imports this package before the command, whose own imports may be missing.
# `python -m experiments`, which lists the commands, needs none of them.
if sys.argv[:1] == ["-m"] and not {__name__, f"-m{__name__}"} & {*sys.orig_argv}:
    check_extra()
