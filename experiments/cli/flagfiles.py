"""Flagfiles: where they are found, how they are read, and what their lines are written like.

A line is ``--name=value``; empty lines and lines that begin with ``#`` or ``//`` are comments, and
one pair of quotes around a value, or around the whole line, is dropped.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from . import flag_parsers

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
QUOTES = "\"'"


def locate(name: str) -> Path | None:
    """A flagfile by its path, from here or from the folder that holds ``experiments``.

    Raises:
      ValueError: it is the address of a remote place.
    """
    name = flag_parsers.local_text(name)
    places = Path(name), PACKAGE_ROOT / name
    return next((place for place in places if os.path.isfile(place)), None)


def expand(argv: Iterable[str], within: tuple[Path, ...] = ()) -> list[str]:
    """A command line with the flags of its flagfiles in place of ``--flagfile``.

    Those of files come first, so that a flag beside ``--flagfile`` overrides the file's wherever
    it stands; likewise a file's own lines override those of a file that it names.

    Args:
      argv: words of a command line, or lines of a flagfile.
      within: the files that led here.

    Raises:
      ValueError: there is no such file, it is not UTF-8 text, or it names itself.
      OSError: it cannot be read.
    """
    own, from_files, words = [], [], iter(argv)
    for word in words:
        match = re.fullmatch(r"--?flagfile(?:=(.*))?", word, re.DOTALL)
        if match is None:
            own.append(word)
            continue
        name = next(words, "") if match[1] is None else match[1]
        from_files += _expand_file(name, within)
    return from_files + own


def _expand_file(name, within):
    file = locate(name)
    if file is None:
        raise ValueError(f"no flagfile {name or '(--flagfile without a name)'}")
    place = file.resolve()
    if place in within:
        raise ValueError(f"--flagfile={name}: the file names itself")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise ValueError(f"--flagfile={name} is not UTF-8 text: {error}") from None
    lines = (line.strip() for line in content.split("\n"))
    flags = [_unquoted(x) for x in lines if x and not x.startswith(("#", "//"))]
    return expand(flags, (*within, place))


def _unquoted(line):
    line = _without_quotes(line)
    name, equals, value = line.partition("=")
    return name + equals + _without_quotes(value)


def _without_quotes(text):
    return text[1:-1] if _is_quoted(text) else text


def _is_quoted(text):
    return len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES


def line(argument: str) -> str:
    """A flag ``--name=value`` as a flagfile's line that `expand` reads as it is."""
    name, equals, value = argument.partition("=")
    if value != value.strip() or _is_quoted(value):
        value = f'"{value}"'
    return f"{name}{equals}{value}\n"
