"""A reader of the one kind of pickle that is met here: dicts, lists, bytes and arrays of uint8.

A pickle is a program, and numpy's own reconstruction of arrays trusts what it is told. So the
names that a pickled array needs are answered by the stand-ins below, and every other is refused.
"""

import io
import math
import pickle
from typing import Any

import numpy as np


class _Array:
    """Stands for an array; its pickled state is checked before numpy sees it."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Uint8) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array is not of uint8")
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
        order = "F" if fortran else "C"
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order=order)


class _Uint8:
    """Stands for the data type uint8."""

    def __setstate__(self, state):
        del state


def _dtype(code, *_):
    if code not in ("u1", b"u1", "|u1", b"|u1"):
        raise pickle.UnpicklingError(f"an array is of type {code!r}, not of uint8")
    return _Uint8()


def _encode(text, encoding):
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"encode(..., {encoding!r}) is not bytes")
    return text.encode("latin1")


_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes in protocol 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no CIFAR file needs; nothing of it was run"
            )
        return _GLOBALS[module, name]


def loads(content: bytes) -> Any:
    """What a pickle holds, with `array` to be called on its arrays.

    Raises:
      ValueError: it asks for anything else, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise ValueError(f"the pickle is refused: {error or type(error).__name__}") from None


def array(value: Any) -> np.ndarray:
    """The uint8 array that a pickled value stands for.

    Raises:
      ValueError: it stands for none.
    """
    if not hasattr(value, "array"):
        raise ValueError(f"an array is expected instead of {type(value).__name__}")
    return value.array
