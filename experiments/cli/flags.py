"""Flags as dataclasses: a command's flags are the fields of one frozen dataclass (`configs`).

`parse` turns a command line into a config; only a command's ``main`` calls it. ``run(config)`` does
the work, so tests and notebooks need no command line.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from absl import flags as absl_flags

from . import flag_help, flag_parsers, flagfiles
from .errors import UsageError

LAUNCH = ("distributed", "coordinator", "num_processes", "process_id")
"""Flags of one process in one launch. They are never recorded: a rerun may be a single process."""
SUBMISSION = ("launcher", "slurm_options", "status")
"""Flags of where a command's jobs run. They are not recorded either."""


URLS = (
    "workdir", "data_dir", "fork", "modes_dir", "start", "end", "points", "against", "curve",
    "iterates", "ensemble_with", "modes", "pairs", "run", "runs",
)  # fmt: skip
"""Flags that may be at a bucket, except those in a config's ``local``."""


class Config(Protocol):
    """A command's flags: a frozen dataclass whose fields are made by `flag`."""

    local: ClassVar[tuple[str, ...]]
    resumes: ClassVar[bool]

    __dataclass_fields__: ClassVar[dict[str, Any]]


C = TypeVar("C", bound=Config)


def flag(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    identity: bool = True,
    evaluation: bool = False,
) -> Any:
    """A dataclass field that is a flag.

    Args:
      default: its value if it is not given.
      text: its explanation in ``--help``.
      choices: the allowed values, if only a few are.
      identity: whether two runs with different values are different runs.
      evaluation: whether it only affects evaluation: with another value the same run is
        reevaluated.
    """
    metadata = {
        "help": text,
        "choices": choices,
        "identity": identity and not evaluation,
        "evaluation": evaluation,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse(config: type[C], argv: list[str], doc: str = "") -> C:
    """Parses a command line (without the program's name).

    A flag on the command line overrides the same flag in a ``--flagfile``, wherever it stands.

    Raises:
      UsageError: a flag is unknown or has a wrong value, a flagfile cannot be read, or a word is
        not a flag.
      SystemExit: ``--help`` was given; the page has been printed.
    """
    values = absl_flags.FlagValues()
    flag_parsers.define(config, values, {*URLS} - {*config.local})
    if {"--help", "-h", "-help", "--helpfull"} & set(argv):
        print(flag_help.page(config, doc), flush=True)
        raise SystemExit(0)
    try:
        left = values(["", *flagfiles.expand(argv)])[1:]
    except (absl_flags.Error, ValueError, OSError) as error:
        raise UsageError(" ".join(str(error).removeprefix("ERROR:: ").split())) from None
    if left:
        raise UsageError(f"{left[0]!r} is not a flag; flags are written --name=value")
    return config(**{f.name: getattr(values, f.name) for f in dataclasses.fields(config)})


def parse_flagfile(config: type[C], path: Path) -> C:
    """Parses a flagfile alone."""
    return parse(config, [f"--flagfile={path}"])


def find_flagfile(name: str) -> Path | None:
    """Finds a flagfile, relative to the current folder or to the one that holds ``experiments``.

    Returns:
      Its path; None for a folder and for a name without a flagfile's suffix.

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


def word(name: str, value: Any) -> str:
    """A flag as on the command line.

    >>> word("keep", (1, 2)), word("flip", False)
    ('--keep=1,2', '--noflip')
    """
    if isinstance(value, bool):
        return f"--{'' if value else 'no'}{name}"
    return f"--{name}={flag_parsers.join(value) if isinstance(value, tuple) else value}"


def to_argv(config: Any) -> list[str]:
    """The command line that parses to this config, without the flags of a launch or launcher."""
    items = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    return [word(n, v) for n, v in items if v is not None and n not in (*LAUNCH, *SUBMISSION)]


def to_flags(config: Any) -> str:
    """The text of a flagfile that parses to this config, without the flags of a launch."""
    return "".join(map(flagfiles.line, to_argv(config)))


def without_effect(config: Any) -> list[str]:
    """The flags that were set although this command ignores them."""
    defaults = type(config)()
    return [n for n in config.unused if getattr(config, n) != getattr(defaults, n)]


def identity(config: Any) -> dict[str, Any]:
    """The flags that identify a run, as JSON values."""
    return _json_values(config, "identity")


def recorded(config: Any) -> dict[str, Any]:
    """The flags that ``run.json`` records: the run's identity and its evaluation."""
    return _json_values(config, "identity") | _json_values(config, "evaluation")


def _json_values(config: Any, kind: Literal["identity", "evaluation"]) -> dict[str, Any]:
    fields = (f for f in dataclasses.fields(config) if f.metadata[kind])
    values = ((f.name, getattr(config, f.name)) for f in fields)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values}
