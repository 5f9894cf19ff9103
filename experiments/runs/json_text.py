"""Strictly valid JSON: numbers that are not finite become strings NaN, Infinity and -Infinity.

Python's own tokens for them are not valid JSON. Protocol buffers write these strings, and ``float``
in Python and ``Number`` in JavaScript read them.
"""

import json
import math
from typing import Any

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dumps(value: Any, indent: int | None = None) -> str:
    """Converts nested dicts, lists, tuples and numbers, including NumPy's, to JSON."""
    return json.dumps(encoded(value), indent=indent, allow_nan=False)


def loads(content: str | bytes) -> Any:
    """The inverse of `dumps`; accepts Python's own tokens and a byte-order mark, too."""
    return decoded(json.loads(content))


def encoded(value: Any) -> Any:
    """The values that `dumps` writes, as Python objects."""
    match value:
        case dict():
            return {str(name): encoded(one) for name, one in value.items()}
        case list() | tuple():
            return [encoded(one) for one in value]
        case str() | int() | None:
            return value
    number = float(value)
    return number if math.isfinite(number) else json.dumps(number)


def decoded(value: Any) -> Any:
    """The inverse of `encoded`, except that tuples become lists."""
    match value:
        case dict():
            return {name: decoded(one) for name, one in value.items()}
        case list():
            return [decoded(one) for one in value]
        case str():
            return NOT_FINITE.get(value, value)
    return value
