"""The console script ``mcjax``, also ``python -m mcjax``: runs a command or lists all of them.

    mcjax fit_curve --flagfile=experiments/flags/quickstart.cfg --workdir=runs/quickstart

The commands are the modules of the package ``experiments``: next to mcjax in a checkout, inside it
as ``mcjax.experiments`` in a wheel. This script always imports them under the second name, so that
it does not clash with a user's own package called ``experiments``.
"""

import importlib.util
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import mcjax
from mcjax import spelling

COMMANDS = "mcjax.experiments"


def main() -> None:
    """Runs ``mcjax COMMAND --flag=value ...`` and exits with the command's status."""
    name, *flags = sys.argv[1:] or ["--help"]
    listing = _load_commands()
    if name in ("--help", "-h", "help"):
        listing.show("mcjax COMMAND")
    elif name == "--version":
        print(mcjax.__version__)
    elif name in (known := listing.commands()):
        importlib.import_module(COMMANDS).check_extra()
        sys.path.insert(0, os.getcwd())  # --model=my.package:factory, as with python -m
        sys.argv = [name, *flags]
        runpy.run_module(f"{COMMANDS}.{name}", run_name="__main__", alter_sys=True)
    else:
        sys.exit(f"mcjax: unknown command {name!r}: {spelling.hint(name, known)}")


def _load_commands() -> ModuleType:
    """Makes the commands importable as `COMMANDS`; returns the module that lists them."""
    if importlib.util.find_spec(COMMANDS) is None:
        folder = Path(mcjax.__file__).parents[1] / "experiments"
        spec = importlib.util.spec_from_file_location(
            COMMANDS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None or not folder.is_dir():
            sys.exit(f"mcjax: found the commands neither in {COMMANDS} nor in {folder}")
        sys.modules[COMMANDS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[COMMANDS])
    return importlib.import_module(f"{COMMANDS}.__main__")


if __name__ == "__main__":
    main()
