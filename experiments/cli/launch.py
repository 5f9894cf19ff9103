"""How to launch a command: for messages, and as a child process."""

import sys

INSTALLED = __name__.startswith("mcjax.")
"""Whether this package is ``mcjax.experiments``, as in a wheel and under the console script."""


def usage(name: str) -> str:
    """What a user types to run a command, in the style in which this process was started.

    >>> usage("fit_curve")
    'python -m experiments.fit_curve'
    """
    return f"mcjax {name}" if INSTALLED else f"python -m experiments.{name}"


def argv(name: str) -> list[str]:
    """The command line that starts a command as a child process."""
    module = ["mcjax", name] if INSTALLED else [f"experiments.{name}"]
    return [sys.executable, "-m", *module]
