"""Flagfiles: finding, reading and writing them.

A line is ``--name=value``. Empty lines and lines that begin with ``#`` or ``//`` are comments. One
pair of quotes around a value, or around the whole line, is stripped.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from mcjax import paths

from . import flag_parsers

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the package ``experiments``."""
QUOTES = "\"'"


def locate(name: str) -> Path | None:
    """Finds a flagfile, relative to the current folder or to `PACKAGE_ROOT`, or at a bucket.

    Raises:
      ValueError: the name is another URL, or there is no such bucket.
    """
    name = flag_parsers.path_text(name)
    if paths.is_url(name):
        file = paths.at(name)
        return file if file.is_file() else None
    places = Path(name), PACKAGE_ROOT / name
    return next((place for place in places if os.path.isfile(place)), None)


def expand(argv: Iterable[str], within: tuple[Path, ...] = ()) -> list[str]:
    """Replaces each ``--flagfile`` of a command line by the flags of its file.

    Flags from files come first, so that a flag on the command line overrides them wherever it
    stands. In the same way a file's own lines override those of a file that it includes.

    Args:
      argv: words of a command line, or lines of a flagfile.
      within: the files that include this one.

    Raises:
      ValueError: there is no such file, it is not UTF-8 text, or it includes itself.
      OSError: it cannot be read.
    """
    own: list[str] = []
    from_files: list[str] = []
    words = iter(argv)
    for word in words:
        match = re.fullmatch(r"--?flagfile(?:=(.*))?", word, re.DOTALL)
        if match is None:
            own.append(word)
            continue
        name = next(words, "") if match[1] is None else match[1]
        from_files += _expand_file(name, within)
    return from_files + own


def _expand_file(name: str, within: tuple[Path, ...]) -> list[str]:
    """The flags of a file; arguments and errors as `expand`."""
    file = locate(name)
    if file is None:
        raise ValueError(f"no flagfile {name or '(--flagfile without a name)'}")
    place = file.resolve()
    if place in within:
        raise ValueError(f"--flagfile={name}: the file includes itself")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise ValueError(f"--flagfile={name} is not UTF-8 text: {error}") from None
    lines = (line.strip() for line in content.split("\n"))
    flags = [_unquoted(x) for x in lines if x and not x.startswith(("#", "//"))]
    return expand(flags, (*within, place))


def _unquoted(line: str) -> str:
    """A line without quotes around it or around its value."""
    line = _strip_quotes(line)
    name, equals, value = line.partition("=")
    return name + equals + _strip_quotes(value)


def _strip_quotes(text: str) -> str:
    return text[1:-1] if _is_quoted(text) else text


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES


def line(argument: str) -> str:
    """The line of a flagfile from which `expand` reads this ``--name=value`` unchanged."""
    name, equals, value = argument.partition("=")
    if value != value.strip() or _is_quoted(value):
        value = f'"{value}"'
    return f"{name}{equals}{value}\n"
