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
      eigenvalues: the k largest, in decreasing order, per squared weight distance.
      residuals: error bounds: the Hessian has an eigenvalue this close to each.
      loss: the training loss at the point.
      trace: estimated sum of all eigenvalues; NaN if not estimated.
      trace_error: standard error of the estimate.

    >>> found = PointSharpness(np.array([9.0, 4.0]), np.array([1e-4, 1e-3]), loss=0.1, trace=20.0)
    >>> float(found.eigenvalues[0] / found.trace)  # its share of the trace
    0.45
    """

    eigenvalues: Float[np.ndarray, " k"]
    residuals: Float[np.ndarray, " k"]
    loss: float
    trace: float = np.nan
    trace_error: float = np.nan

    def to_arrays(self) -> Arrays:
        """``eigenvalues``, ``residuals`` and ``train_loss``, for one point of a `Sharpness`.

        >>> list(PointSharpness(np.array([9.0]), np.array([1e-4]), loss=0.1).to_arrays())
        ['eigenvalues', 'residuals', 'train_loss']
        """
        return {
            "eigenvalues": self.eigenvalues,
            "residuals": self.residuals,
            "train_loss": np.asarray(self.loss),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PointSharpness":
        """Inverts `to_arrays`, except for the trace.

        >>> arrays = PointSharpness(np.array([9.0]), np.array([1e-4]), loss=0.1).to_arrays()
        >>> PointSharpness.from_arrays(arrays).loss
        0.1
        """
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

    >>> rows = np.array([[9.0], [20.0]])
    >>> found = Sharpness(np.array([0.0, 1.0]), rows, 1e-4 * rows, np.array([0.1, 0.2]))
    >>> float(found.t[found.eigenvalues[:, 0].argmax()])  # the sharpest point
    1.0
    """

    t: Float[np.ndarray, " P"]
    eigenvalues: Float[np.ndarray, "P k"]
    residuals: Float[np.ndarray, "P k"]
    loss: Float[np.ndarray, " P"]
    extra: Mapping[str, np.ndarray] = NONE

    @classmethod
    def along(cls, t: Float[np.ndarray, " P"], points: Iterable[PointSharpness]) -> "Sharpness":
        """Stacks the sharpness of points in the order of ``t``.

        Args:
          t: positions.
          points: the sharpness at each, with the same number of eigenvalues.

        >>> point = PointSharpness(np.array([9.0, 4.0]), np.array([1e-4, 1e-3]), loss=0.1)
        >>> Sharpness.along(np.array([0.0, 1.0]), [point, point]).eigenvalues
        array([[9., 4.],
               [9., 4.]])
        """
        rows = [point.to_arrays() for point in points]
        eigenvalues, residuals, loss = (np.stack([r[key] for r in rows]) for key in _SHARPNESS)
        return cls(t, eigenvalues, residuals, loss)

    def to_arrays(self) -> Arrays:
        """``t``, ``eigenvalues``, ``residuals`` and ``train_loss``.

        >>> rows = np.array([[9.0], [20.0]])
        >>> found = Sharpness(np.array([0.0, 1.0]), rows, 1e-4 * rows, np.array([0.1, 0.2]))
        >>> list(found.to_arrays())
        ['t', 'eigenvalues', 'residuals', 'train_loss']
        """
        own = dict(zip(_SHARPNESS, self[1:4], strict=True))
        return {"t": self.t, **own, **self.extra}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Sharpness":
        """Inverts `to_arrays`.

        Raises:
          ValueError: an array is missing.

        >>> Sharpness.from_arrays({"t": np.zeros(2)})
        Traceback (most recent call last):
        ValueError: sharpness needs t, eigenvalues, residuals, train_loss; eigenvalues, ...
        """
        left = require(arrays, ("t", *_SHARPNESS), "sharpness")
        t, eigenvalues, residuals, loss = (left.pop(key) for key in ("t", *_SHARPNESS))
        return cls(t, eigenvalues, residuals, loss, left)
