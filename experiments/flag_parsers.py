"""A dataclass's fields as absl flags, and what their values are written like."""

import dataclasses
import sys
import types
import typing
from typing import Any

from absl import flags as absl_flags

from mcjax import choices


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
            default = ",".join(map(str, default))
        elif int in options:
            parser, serializer = absl_flags.IntegerParser(), absl_flags.ArgumentSerializer()
        elif float in options:
            parser, serializer = absl_flags.FloatParser(), absl_flags.ArgumentSerializer()
        else:
            parser, serializer = absl_flags.ArgumentParser(), absl_flags.ArgumentSerializer()
        make: Any = absl_flags.Flag
        one = make(parser, serializer, field.name, default, text)
        absl_flags.DEFINE_flag(one, values, module_name=sys.argv[0])


class _ChoiceParser(absl_flags.ArgumentParser):
    """One of a few words; a wrong one is answered with the nearest."""

    def __init__(self, words):
        self._choices = words

    def parse(self, argument):
        if argument in self._choices:
            return argument
        raise ValueError(choices.hint(argument, self._choices))

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
        return tuple(x.strip() for x in argument.split(",") if x.strip())

    def flag_type(self):
        return "comma-separated names"
