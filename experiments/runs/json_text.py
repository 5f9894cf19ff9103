"""JSON that every reader takes: what is not finite is the string NaN, Infinity or -Infinity.

Python's own tokens for them are no JSON; these strings are what protocol buffers write, and what
``float`` in Python and ``Number`` in JavaScript read.
"""

import json
import math
from typing import Any

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON of nested dicts, lists, tuples and numbers, those of NumPy included."""
    return json.dumps(encoded(value), indent=indent, allow_nan=False)


def loads(content: str | bytes) -> Any:
    """The inverse of `dumps`; Python's own tokens and a byte-order mark are read, too."""
    return decoded(json.loads(content))


def encoded(value: Any) -> Any:
    """What `dumps` writes, as Python's values."""
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
    """The inverse of `encoded`, but for tuples: lists."""
    match value:
        case dict():
            return {name: decoded(one) for name, one in value.items()}
        case list():
            return [decoded(one) for one in value]
        case str():
            return NOT_FINITE.get(value, value)
    return value
