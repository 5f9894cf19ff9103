"""A dataclass's fields as absl flags, and what their values are written like."""

import dataclasses
import os
import re
import sys
import types
import typing
from collections.abc import Iterable
from typing import Any

from absl import flags as absl_flags

from mcjax import spelling


def define(config: type, values: absl_flags.FlagValues) -> None:
    """Defines a config's fields as absl flags."""
    types_of = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        text, words = field.metadata["help"], field.metadata["choices"]
        kind = types_of[field.name]
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        default: Any = field.default
        parser: Any
        serializer: Any
        if words:
            parser, serializer = _ChoiceParser(words), absl_flags.ArgumentSerializer()
        elif bool in options:
            flag_ = absl_flags.BooleanFlag(field.name, default, text)
            absl_flags.DEFINE_flag(flag_, values, module_name=sys.argv[0])
            continue
        elif tuple in map(typing.get_origin, options):
            parser = _NamesParser() if tuple[str, ...] in options else _EpochsParser()
            serializer = absl_flags.ListSerializer(",")
            default = join(default)
        elif int in options:
            parser, serializer = absl_flags.IntegerParser(), absl_flags.ArgumentSerializer()
        elif float in options:
            parser, serializer = absl_flags.FloatParser(), absl_flags.ArgumentSerializer()
        else:
            parser, serializer = _TextParser(), absl_flags.ArgumentSerializer()
        make: Any = absl_flags.Flag
        one = make(parser, serializer, field.name, default, text)
        absl_flags.DEFINE_flag(one, values, module_name=sys.argv[0])


def local_text(value: str) -> str:
    """A text flag's value as commands use it: with the user's home for a leading ``~``.

    Raises:
      ValueError: it is the address of a remote place, is not one line of Unicode text, or there is
        no home folder.
    """
    if remote := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise ValueError(
            f"{remote[0]} is not supported, only local paths: mount the bucket or share as a "
            "folder (gcsfuse, s3fs, sshfs), or copy it, and give the folder's path"
        )
    if set(value) & set("\0\r\n") or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{value!r} is not one line of Unicode text, as flagfiles need")
    expanded = os.path.expanduser(value)
    if expanded == value and re.match(r"~(/|$)", value):
        raise ValueError("there is no home folder for ~ (no HOME): give the whole path")
    return expanded


def split(value: str, separator: str) -> list[str]:
    r"""Splits at a separator but where a backslash stands before it; ``\\`` is a backslash.

    >>> split(r"runs/G,runs/a\,b", ",")
    ['runs/G', 'runs/a,b']
    """
    parts = [""]
    for token in re.findall(rf"\\[\\{separator}]|.", value, re.DOTALL):
        if token == separator:
            parts.append("")
        else:
            parts[-1] += token[-1]
    return parts


def join(values: Iterable[Any]) -> str:
    """The inverse of `split` at commas."""
    return ",".join(re.sub(r"[\\,]", r"\\\g<0>", str(x)) for x in values)


class _TextParser(absl_flags.ArgumentParser):
    """Any text; what it may be stands at `local_text`."""

    def parse(self, argument):
        return local_text(argument)


class _ChoiceParser(absl_flags.ArgumentParser):
    """One of a few words; a wrong one is answered with the nearest."""

    def __init__(self, words):
        self._choices = words

    def parse(self, argument):
        if argument in self._choices:
            return argument
        raise ValueError(spelling.hint(argument, self._choices))

    def flag_type(self):
        return "|".join(self._choices)


class _EpochsParser(absl_flags.ArgumentParser):
    """A comma-separated list of whole numbers."""

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        try:
            return tuple(int(x) for x in argument.split(",") if x.strip())
        except ValueError:
            raise ValueError(
                f"{argument!r} is not a comma-separated list of whole numbers"
            ) from None

    def flag_type(self):
        return "comma-separated whole numbers"


class _NamesParser(absl_flags.ArgumentParser):
    """A comma-separated list of names."""

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(local_text(x.strip()) for x in split(argument, ",") if x.strip())

    def flag_type(self):
        return "comma-separated names"
