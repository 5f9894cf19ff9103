"""Writes the page of flags from the commands' dataclasses: what ``--help`` prints, as tables."""

import dataclasses
import importlib
import re
import typing
from typing import Any

from sphinx.application import Sphinx

from experiments.__main__ import commands
from experiments.cli import flag_help

HEAD = """# Flags

Generated from the commands; `--help` prints the same. Each command lists its own flags and names
those that it shares with others, which are [explained below](#shared-flags). A default is in
brackets. `--flagfile=FILE` reads flags from a file, one per line; flags on the command line
override the file's.
"""


def config_of(command: str) -> Any:
    """The dataclass of a command's flags: the first argument of its ``main``."""
    module = importlib.import_module(f"experiments.{command}")
    with open(str(module.__file__), encoding="utf-8") as source:
        found = re.search(r"    main\((\w+),", source.read())
    assert found
    return getattr(module, found[1])


def page() -> str:
    """The page's Markdown."""
    blocks, shared = [HEAD], dict[str, dict[str, tuple[dataclasses.Field[Any], Any]]]()
    for command, title in commands().items():
        config = config_of(command)
        kinds = typing.get_type_hints(config)
        (_, fields), *others = flag_help.by_topic(config).items()
        blocks += [f"## {command}", title, table((f, kinds[f.name]) for f in fields)]
        for topic, also in others:
            names = ", ".join(f"`{f.name}`" for f in also)
            blocks.append(f"*{topic.capitalize()}:* {names}")
            for field in also:
                shared.setdefault(topic, {}).setdefault(field.name, (field, kinds[field.name]))
    blocks.append("## Shared flags")
    for topic, found in shared.items():
        blocks += [f"### {topic.capitalize()}", table(found.values())]
    return "\n\n".join(blocks) + "\n"


def table(flags: typing.Iterable[tuple[dataclasses.Field[Any], Any]]) -> str:
    """Flags as a table, one row each."""
    rows = []
    for field, kind in flags:
        spelling = _plain(flag_help.spelling(field, kind), "|")
        rows.append(f"| `{spelling}` | {_plain(flag_help.explanation(field))} |")
    return "\n".join(["| flag | what it does |", "|---|---|", *rows])


def _plain(text: str, special: str = r"|*_<[]\\") -> str:
    """Text in which the characters that are special in Markdown stand for themselves."""
    return re.sub(f"([{re.escape(special)}])", r"\\\1", text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts the tables in place of the stub."""
    if docname == "flags":
        source[0] = page()


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects `read`."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
