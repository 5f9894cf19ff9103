"""How a command is launched: in messages, and as a child process."""

import sys

INSTALLED = __name__.startswith("mcjax.")
"""Whether this is the package ``mcjax.experiments`` of the console script or of a wheel."""


def usage(name: str) -> str:
    """What a user types to run a command, the way this process was started.

    >>> usage("fit_curve")
    'python -m experiments.fit_curve'
    """
    return f"mcjax {name}" if INSTALLED else f"python -m experiments.{name}"


def argv(name: str) -> list[str]:
    """The words that start a command in a process of its own."""
    module = ["mcjax", name] if INSTALLED else [f"experiments.{name}"]
    return [sys.executable, "-m", *module]
