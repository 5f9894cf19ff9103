"""Lists the commands: ``python -m experiments``, or ``mcjax``.

It reads the modules' docstrings without importing them, so it does not need jax.
"""

import ast
import sys
from pathlib import Path

from . import discard_output

MAIN = "    main("
"""A module that contains this is a command."""


def commands() -> dict[str, str]:
    """Maps each command to the first line of its docstring."""
    found: dict[str, str] = {}
    for file in sorted(Path(__file__).parent.glob("[!_]*.py")):
        source = file.read_text(encoding="utf-8")
        if MAIN in source:
            doc = ast.get_docstring(ast.parse(source)) or ""
            found[file.stem] = doc.partition("\n")[0]
    return found


def show(usage: str) -> None:
    """Prints `page`; stays quiet if the reader, such as ``head``, closes the pipe early."""
    try:
        print(page(usage), flush=True)
    except BrokenPipeError:
        discard_output()


def page(usage: str) -> str:
    """Returns the list of commands, for printing.

    Args:
      usage: how to run a command, such as ``mcjax COMMAND``.
    """
    found = commands()
    width = max(map(len, found))
    lines = [f"  {name:{width}}  {text}" for name, text in found.items()]
    return "\n".join(
        [
            "mcjax: mode connectivity and loss landscapes in JAX. Usage:",
            "",
            f"  {usage} --flag=value ...",
            "",
            f"`{usage} --help` explains a command's flags. The commands:",
            "",
            *lines,
        ]
    )


if __name__ == "__main__":
    show("python -m experiments.COMMAND")
    sys.exit(0 if {*sys.argv[1:]} <= {"--help", "-h"} else 2)
