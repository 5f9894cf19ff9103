"""Surfaces at a fraction of the evaluations: evaluate where interpolation is in doubt.

A coarse grid is evaluated first. Then, in rounds, those points are evaluated at which two ways to
interpolate what is known (cubic and thin-plate splines) differ most, until
all points of a round miss their prediction by at most the tolerance. In the end some of the other
points, drawn at random, are evaluated to measure the error; if one misses by more, the rounds go
on. Misses are shares of the range that a figure shows (`mcjax.results.ranges`), of the log of
losses.
"""

from collections.abc import Callable

import numpy as np
import scipy

from mcjax.results import Metrics, Refinement, Values, named, unnamed
from mcjax.results.ranges import Range, drawn, is_loss
from mcjax.typing import Bool, Float, Int

SPACING = 8
"""Spacing of the first points, at most; there are five or more per side if the grid has them."""
ROUND = 0.01, 16
"""Points of a round, as a share of the grid, and a number that they are at least."""
CHECKED = 0.02, 24
"""Points drawn at random to measure the error, likewise."""
KERNELS = ("cubic", "thin_plate_spline")
"""The two interpolations; the first one fills the grid."""

Evaluate = Callable[[Int[np.ndarray, "n 2"]], Values]
"""Evaluates points of the grid, given by row and column."""


def refine(
    evaluate: Evaluate, shape: tuple[int, int], tolerance: float, networks: Metrics
) -> tuple[Values, Refinement]:
    """Evaluates part of a grid and interpolates the rest.

    The losses of all splits decide where to evaluate and when to stop; other metrics are
    interpolated from the same points. Interpolated losses are at most ten times the upper end of
    the range that a figure shows.

    Args:
      evaluate: called several times, with new points; with the same results, its calls are the
        same again.
      shape: number of points along x and along y.
      tolerance: largest allowed miss, as a share of the range that a figure shows.
      networks: metrics of the points that are networks, which that range includes.

    Returns:
      Values of shape ``[H, W]``; which of them were evaluated, and the misses of the last points
      drawn at random.

    Raises:
      ValueError: the tolerance is not between 0 and 1.

    >>> def evaluate(at):                                    # a bowl
    ...     loss = 0.1 + ((at - 20.0) ** 2).sum(axis=1)
    ...     return Values({"train": {"loss": loss}}, loss)
    >>> values, found = refine(evaluate, (41, 41), 0.05, {"train": {"loss": np.array([0.1])}})
    >>> values.metrics["train"]["loss"].shape, bool(found.evaluated.mean() < 0.25)
    ((41, 41), True)
    """
    check_tolerance(tolerance)
    known, draws = _Known(evaluate, shape, networks), np.random.default_rng(0)
    known.add(_first(shape))
    count, checked = (
        max(round(share * known.evaluated.size), least) for share, least in (ROUND, CHECKED)
    )
    misses: dict[str, np.ndarray] = {}
    while not known.evaluated.all():
        if _worst(known.add(known.doubtful(count))) > tolerance:
            continue
        left = draws.permutation(np.argwhere(~known.evaluated))[:checked]
        misses = known.add(left) if len(left) else {}
        if _worst(misses) <= tolerance:
            break
    return known.filled(), Refinement(tolerance, known.evaluated, unnamed(misses))


def check_tolerance(tolerance: float) -> None:
    """Checks the tolerance of `refine`, before any long work.

    Raises:
      ValueError: it is not between 0 and 1.

    >>> check_tolerance(0.02)
    >>> check_tolerance(2)
    Traceback (most recent call last):
    ValueError: refine=2: use a share of the drawn range, such as 0.02
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"refine={tolerance}: use a share of the drawn range, such as 0.02")


def _first(shape: tuple[int, int]) -> Int[np.ndarray, "n 2"]:
    """A coarse grid with the corners."""
    columns, rows = (
        np.round(np.linspace(0, n - 1, min(n, max(5, -(-(n - 1) // SPACING) + 1)))).astype(int)
        for n in shape
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _worst(misses: dict[str, np.ndarray]) -> float:
    return max((miss.max() for name, miss in misses.items() if is_loss(name)), default=0.0)


class _Known:
    """The values that are known so far, and what they predict elsewhere.

    Attributes:
      evaluated: which points of the grid are known.
    """

    def __init__(self, evaluate: Evaluate, shape: tuple[int, int], networks: Metrics) -> None:
        self.evaluated: Bool[np.ndarray, "H W"] = np.zeros(shape[::-1], bool)
        self._evaluate, self._networks = evaluate, named(networks)
        self._values: dict[str, Float[np.ndarray, "H W"]] = {}
        self._l2: Float[np.ndarray, "H W"] | None = None
        self._errors: dict[str, Float[np.ndarray, "H W"]] = {}

    def add(self, at: Int[np.ndarray, "n 2"]) -> dict[str, Float[np.ndarray, " n"]]:
        """Evaluates points; returns by how much their predictions missed each metric."""
        predicted = self._shares(at, KERNELS[0]) if self._values else {}
        found = self._evaluate(at)
        index, new = tuple(at.T), named(found.metrics)
        for grids, there in ((self._values, new), (self._errors, named(found.errors or {}))):
            for name, values in there.items():
                grids.setdefault(name, np.full(self.evaluated.shape, np.nan))[index] = values
        if found.l2 is not None:
            self._l2 = np.full(self.evaluated.shape, np.nan) if self._l2 is None else self._l2
            self._l2[index] = found.l2
        self.evaluated[index] = True
        return {
            name: _apart(share, self._range(name).share(new[name]))
            for name, share in predicted.items()
        }

    def doubtful(self, count: int) -> Int[np.ndarray, "n 2"]:
        """The points where the two interpolations of a loss differ most, no two beside another."""
        left = np.argwhere(~self.evaluated)
        one, other = (self._shares(left, kernel) for kernel in KERNELS)
        doubts = np.max([_apart(one[name], other[name]) for name in one if is_loss(name)], axis=0)
        taken, chosen = np.pad(np.zeros_like(self.evaluated), 1), list[Int[np.ndarray, "2"]]()
        for row, column in left[np.argsort(-doubts, kind="stable")]:
            if not taken[row + 1, column + 1]:
                taken[row : row + 3, column : column + 3] = True
                chosen.append(np.array([row, column]))
            if len(chosen) == count:
                break
        return np.stack(chosen)

    def filled(self) -> Values:
        """All values: those evaluated, and the others interpolated, without errors."""
        left = np.argwhere(~self.evaluated)
        shares = self._shares(left, KERNELS[0]) if len(left) else {}
        filled = {name: grid.copy() for name, grid in self._values.items()}
        for name, share in shares.items():
            filled[name][tuple(left.T)] = self._range(name).value(share)
        l2 = None if self._l2 is None else _quadratic(self._l2)
        return Values(unnamed(filled), l2, unnamed(self._errors) or None)

    def _shares(self, at: Int[np.ndarray, "n 2"], kernel: str) -> dict[str, np.ndarray]:
        """Interpolates the positions in the metrics' ranges at other points."""
        there = np.argwhere(self.evaluated)
        known = [self._range(name).share(x[self.evaluated]) for name, x in self._values.items()]
        spline = scipy.interpolate.RBFInterpolator(there, np.stack(known, axis=1), kernel=kernel)
        return dict(zip(self._values, spline(at.astype(float)).T, strict=True))

    def _range(self, name: str) -> Range:
        """A metric's range if all other points were like the nearest known one."""
        there, values = np.argwhere(self.evaluated), self._values[name][self.evaluated]
        nearest = scipy.interpolate.NearestNDInterpolator(there, values)
        grid = nearest(*np.indices(self.evaluated.shape))
        return drawn(name, grid, self._networks.get(name, np.zeros(0)))


def _apart(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> np.ndarray:
    """How far apart two positions look in a figure, where all above the range is one colour."""
    return np.abs(np.clip(one, 0, 1) - np.clip(other, 0, 1))


def _quadratic(values: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Fills squared norms, which are quadratic in the coordinates of a plane."""
    row, column = (
        x / max(n - 1, 1) for x, n in zip(np.indices(values.shape), values.shape, strict=True)
    )
    terms = np.stack([np.ones_like(row), row, column, row**2, row * column, column**2], axis=-1)
    known = np.isfinite(values)
    fitted = terms @ np.linalg.lstsq(terms[known], values[known])[0]
    return np.where(known, values, fitted)
