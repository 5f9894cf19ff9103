"""Sharpness: the Hessian of the training loss at a point and along a curve."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from mcjax.results.metrics import NONE, Arrays, require
from mcjax.typing import Float

_SHARPNESS = ("eigenvalues", "residuals", "train_loss")


class PointSharpness(NamedTuple):
    """Sharpness at a point: the Hessian of the training loss.

    Attributes:
      eigenvalues: the k largest, in decreasing order.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
      loss: the training loss at the point.
      trace: estimated sum of all eigenvalues; NaN if not estimated.
      trace_error: standard error of the estimate.
    """

    eigenvalues: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    loss: float
    trace: float = np.nan
    trace_error: float = np.nan

    def to_arrays(self) -> Arrays:
        """``eigenvalues``, ``residuals`` and ``train_loss``, for one point of a `Sharpness`."""
        return {
            "eigenvalues": self.eigenvalues,
            "residuals": self.residuals,
            "train_loss": np.asarray(self.loss),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PointSharpness":
        """Inverts `to_arrays`, except for the trace."""
        left = require(arrays, _SHARPNESS, "the sharpness of a point")
        eigenvalues, residuals, loss = (left[key] for key in _SHARPNESS)
        return cls(eigenvalues, residuals, float(loss))


class Sharpness(NamedTuple):
    """Sharpness along a curve: ``sharpness.npz``.

    Attributes:
      t: increasing from 0 to 1.
      eigenvalues: the k largest, in decreasing order; NaN where none was found.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
      loss: the training loss.
      extra: other arrays of the file, by key.
    """

    t: Float[np.ndarray, " P"]
    eigenvalues: Float[np.ndarray, "P k"]
    residuals: Float[np.ndarray, "P k"]
    loss: Float[np.ndarray, " P"]
    extra: Mapping[str, np.ndarray] = NONE

    @classmethod
    def along(cls, t: Float[np.ndarray, " P"], points: Iterable[PointSharpness]) -> "Sharpness":
        """Stacks the sharpness of points in the order of ``t``."""
        rows = [point.to_arrays() for point in points]
        eigenvalues, residuals, loss = (np.stack([r[key] for r in rows]) for key in _SHARPNESS)
        return cls(t, eigenvalues, residuals, loss)

    def to_arrays(self) -> Arrays:
        """``t``, ``eigenvalues``, ``residuals`` and ``train_loss``."""
        own = dict(zip(_SHARPNESS, self[1:4], strict=True))
        return {"t": self.t, **own, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Sharpness":
        """Inverts `to_arrays`.

        Raises:
          ValueError: an array is missing.
        """
        left = require(arrays, ("t", *_SHARPNESS), "sharpness")
        t, eigenvalues, residuals, loss = (left.pop(key) for key in ("t", *_SHARPNESS))
        return cls(t, eigenvalues, residuals, loss, left)
