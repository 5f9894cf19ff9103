"""A dataclass's fields as absl flags, and the syntax of their values."""

import dataclasses
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable
from typing import Any

from absl import flags as absl_flags

from mcjax import paths, spelling


def define(config: type, values: absl_flags.FlagValues, urls: Collection[str]) -> None:
    """Defines a config's fields as absl flags, of which ``urls`` may be at a bucket."""
    types_of = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        text, choices = field.metadata["help"], field.metadata["choices"]
        kind = types_of[field.name]
        text_of = path_text if field.name in urls else local_text
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        default: Any = field.default
        parser: Any
        serializer: Any
        if choices:
            parser, serializer = _ChoiceParser(choices), absl_flags.ArgumentSerializer()
        elif bool in options:
            flag_ = absl_flags.BooleanFlag(field.name, default, text)
            absl_flags.DEFINE_flag(flag_, values, module_name=sys.argv[0])
            continue
        elif tuple in map(typing.get_origin, options):
            parser = _NamesParser(text_of) if tuple[str, ...] in options else _IntegersParser()
            serializer = absl_flags.ListSerializer(",")
            default = join(default)
        elif int in options:
            parser, serializer = absl_flags.IntegerParser(), absl_flags.ArgumentSerializer()
        elif float in options:
            parser, serializer = absl_flags.FloatParser(), absl_flags.ArgumentSerializer()
        else:
            parser, serializer = _TextParser(text_of), absl_flags.ArgumentSerializer()
        make: Any = absl_flags.Flag
        one = make(parser, serializer, field.name, default, text)
        absl_flags.DEFINE_flag(one, values, module_name=sys.argv[0])


def local_text(value: str, also: str = "") -> str:
    """A text flag's value, with a leading ``~`` expanded to the user's home folder.

    Args:
      value: as it is written.
      also: what else may be written, for the message.

    Raises:
      ValueError: it is a URL, is not one line of Unicode text, or there is no home folder.
    """
    if remote := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise ValueError(
            f"{remote[0]} is not supported, only local paths{also}: mount the bucket or share as a "
            "folder (gcsfuse, s3fs, sshfs), or copy it, and give the folder's path"
        )
    if set(value) & set("\0\r\n") or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{value!r} is not one line of Unicode text, which flagfiles require")
    expanded = os.path.expanduser(value)
    if expanded == value and re.match(r"~(/|$)", value):
        raise ValueError("there is no home folder for ~ (HOME is not set): give the full path")
    return expanded


def path_text(value: str) -> str:
    """The value of a flag that may be at a bucket, ``gs://`` or ``s3://``; else `local_text`.

    Raises:
      ValueError: as `local_text`.
    """
    scheme = next((s for s in paths.SCHEMES if value.startswith(s)), "")
    return scheme + local_text(value[len(scheme) :], ", gs:// and s3://")


def split(value: str, separator: str) -> list[str]:
    r"""Splits at a separator that no backslash precedes; ``\\`` is a backslash.

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
    """Joins values with commas: the inverse of `split`."""
    return ",".join(re.sub(r"[\\,]", r"\\\g<0>", str(x)) for x in values)


class _TextParser(absl_flags.ArgumentParser[str]):
    """Any text that `local_text` accepts, or `path_text`."""

    def __init__(self, text_of: Callable[[str], str]) -> None:
        self._text_of = text_of

    def parse(self, argument: str) -> str:
        return self._text_of(argument)


class _ChoiceParser(absl_flags.ArgumentParser[str]):
    """One of a few words; the error for any other suggests the nearest."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self._choices = choices

    def parse(self, argument: str) -> str:
        if argument in self._choices:
            return argument
        raise ValueError(spelling.hint(argument, self._choices))

    def flag_type(self) -> str:
        return "|".join(self._choices)


class _IntegersParser(absl_flags.ArgumentParser[tuple[int, ...]]):
    """A comma-separated list of integers."""

    def parse(self, argument: str | Iterable[int]) -> tuple[int, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        try:
            return tuple(int(x) for x in argument.split(",") if x.strip())
        except ValueError:
            raise ValueError(f"{argument!r} is not a comma-separated list of integers") from None

    def flag_type(self) -> str:
        return "comma-separated integers"


class _NamesParser(absl_flags.ArgumentParser[tuple[str, ...]]):
    """A comma-separated list of such texts."""

    def __init__(self, text_of: Callable[[str], str]) -> None:
        self._text_of = text_of

    def parse(self, argument: str | Iterable[str]) -> tuple[str, ...]:
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(self._text_of(x.strip()) for x in split(argument, ",") if x.strip())

    def flag_type(self) -> str:
        return "comma-separated names"
