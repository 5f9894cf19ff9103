"""Array files: ``.npz``, written atomically, without pickles."""

import io
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..cli import UsageError
from .files import write_atomically

Result = TypeVar("Result")


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an ``.npz`` atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads an ``.npz``.

    Raises:
      UsageError: it is missing or damaged.
    """
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:
        raise UsageError(f"{path} cannot be read ({error}); delete it to recreate it") from None


def load_result(kind: type[Result], path: Path) -> Result:
    """Reads an ``.npz`` as one of the types of `mcjax.results`.

    Raises:
      UsageError: it is missing, damaged, or holds something else.
    """
    return as_result(kind, load_arrays(path), path)


def as_result(kind: type[Result], arrays: dict[str, np.ndarray], path: Path) -> Result:
    """Converts the arrays of a file to one of the types of `mcjax.results`.

    Raises:
      UsageError: they are not the arrays of this type.
    """
    make: Any = kind
    try:
        return make.from_arrays(arrays)
    except ValueError as error:
        raise UsageError(f"{path}: {error}; delete it to recreate it") from None
