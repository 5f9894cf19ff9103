"""Reads the pickles of CIFAR safely: dicts, lists, bytes and uint8 arrays.

A pickle is a program, and numpy trusts it when it reconstructs an array. So the stand-ins below
replace the names that a pickled array needs, and any other name is refused.
"""

import io
import math
import pickle
from typing import Any

import numpy as np


class _Array:
    """Stands for an array; checks the pickled state before numpy sees it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Uint8) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array is not uint8")
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
        order = "F" if fortran else "C"
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order=order)


class _Uint8:
    """Stands for the dtype uint8."""

    def __setstate__(self, state: Any) -> None:
        del state


def _dtype(code: Any, *_: Any) -> _Uint8:
    if code not in ("u1", b"u1", "|u1", b"|u1"):
        raise pickle.UnpicklingError(f"an array is {code!r}, not uint8")
    return _Uint8()


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"encode(..., {encoding!r}) is not bytes")
    return text.encode("latin1")


_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in protocol 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no CIFAR file needs; nothing in it was run"
            )
        return _GLOBALS[module, name]


def loads(content: bytes) -> Any:
    """Loads a pickle; call `array` on the arrays in it.

    Raises:
      ValueError: it asks for any other name, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(f"the pickle is refused: {error or type(error).__name__}") from None


def array(value: Any) -> np.ndarray:
    """Returns the uint8 array that a pickled value stands for.

    Raises:
      ValueError: the value is not an array.
    """
    if not hasattr(value, "array"):
        raise ValueError(f"expected an array, not {type(value).__name__}")
    return value.array
