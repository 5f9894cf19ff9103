"""Flags from dataclasses: each command's are the fields of one frozen dataclass (`configs`).

`parse` turns a command line into such a config; only a command's ``main`` calls it. ``run(config)``
does the work, so tests and notebooks need no flags.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from absl import flags as absl_flags

from . import flag_help, flag_parsers, flagfiles
from .errors import UsageError

LAUNCH = ("distributed", "coordinator", "num_processes", "process_id")
"""Flags of one process of one launch: never recorded, for whoever runs it again is alone."""


class Config(Protocol):
    """A command's flags: any frozen dataclass whose fields are made by `flag`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


C = TypeVar("C", bound=Config)


def flag(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    identity: bool = True,
    evaluation: bool = False,
) -> Any:
    """A field that is a flag.

    Args:
      default: its value when not given.
      text: what ``--help`` says.
      choices: the values it may have, if they are few.
      identity: whether two runs that differ in it are different runs.
      evaluation: whether it only says how a run is evaluated: the same run is evaluated again
        where it differs.
    """
    metadata = {
        "help": text,
        "choices": choices,
        "identity": identity and not evaluation,
        "evaluation": evaluation,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse(config: type[C], argv: list[str], doc: str = "") -> C:
    """The config of a command line (without the program's name).

    A flag beside ``--flagfile`` overrides the file's, wherever it stands.

    Raises:
      UsageError: a flag is unknown or has a wrong value, a flagfile cannot be read, or words are
        left over.
      SystemExit: ``--help`` was asked for and shown.
    """
    values = absl_flags.FlagValues()
    flag_parsers.define(config, values)
    if {"--help", "-h", "-help", "--helpfull"} & set(argv):
        print(flag_help.page(config, doc))
        raise SystemExit(0)
    try:
        left = values(["", *flagfiles.expand(argv)])[1:]
    except (absl_flags.Error, ValueError, OSError) as error:
        raise UsageError(" ".join(str(error).removeprefix("ERROR:: ").split())) from None
    if left:
        raise UsageError(f"{left[0]!r} is not a flag; flags are written --name=value")
    return config(**{f.name: getattr(values, f.name) for f in dataclasses.fields(config)})


def parse_flagfile(config: type[C], path: Path) -> C:
    """The config of a flagfile alone."""
    return parse(config, [f"--flagfile={path}"])


def find_flagfile(name: str) -> Path | None:
    """A flagfile by its path, from here or from the folder that holds ``experiments``.

    Returns:
      None for what is not named like a flagfile, or is a folder.

    Raises:
      UsageError: there is no such file.
    """
    if not name.endswith((".cfg", ".flags", ".txt")) or os.path.isdir(os.path.expanduser(name)):
        return None
    try:
        found = flagfiles.locate(name)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if found is None:
        raise UsageError(f"no flagfile {name}")
    return found


def to_argv(config: Any) -> list[str]:
    """The command line that gives this config again, without the flags of a launch."""

    def word(name, value):
        if isinstance(value, bool):
            return f"--{'' if value else 'no'}{name}"
        return f"--{name}={flag_parsers.join(value) if isinstance(value, tuple) else value}"

    items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    return [word(n, v) for n, v in items if v is not None and n not in LAUNCH]


def to_flags(config: Any) -> str:
    """The text of a flagfile that gives this config again, without the flags of a launch."""
    return "".join(map(flagfiles.line, to_argv(config)))


def without_effect(config: Any) -> list[str]:
    """The flags that were given a value and do nothing in this command."""
    defaults = type(config)()
    return [n for n in config.unused if getattr(config, n) != getattr(defaults, n)]


def identity(config: Any) -> dict[str, Any]:
    """The flags that make a run what it is, as JSON values."""
    return _json_values(config, "identity")


def recorded(config: Any) -> dict[str, Any]:
    """The flags that ``run.json`` has: the run's identity, and how it was evaluated."""
    return _json_values(config, "identity") | _json_values(config, "evaluation")


def _json_values(config, kind):
    fields = (f for f in dataclasses.fields(config) if f.metadata[kind])
    values = ((f.name, getattr(config, f.name)) for f in fields)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values}
