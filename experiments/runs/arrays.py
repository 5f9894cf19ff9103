"""Array files: ``.npz``, whole or not at all, never a pickle."""

import io
from pathlib import Path

import numpy as np

from ..cli import UsageError
from .files import write_atomically


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes an ``.npz`` so that it is there whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads an ``.npz``.

    Raises:
      UsageError: it is not there, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read ({error}); delete it to have it made again"
        ) from None
