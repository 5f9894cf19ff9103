"""Evaluates part of a surface's grid, in rounds that are saved: an interrupted run resumes."""

import itertools
from collections.abc import Callable

import numpy as np

from mcjax import planes
from mcjax.analysis import surfaces
from mcjax.results import Surface, Values

from ..cli import Progress, collect_signals, stop_if_signalled
from ..runs import Run, load_arrays, save_arrays
from .surface_inputs import Inputs


def evaluate(
    folder: Run, inputs: Inputs, surface: Surface, x: np.ndarray, y: np.ndarray, tolerance: float
) -> Surface:
    """Evaluates part of the grid.

    Given the values so far, the next round is always the same, so saved rounds are found again.

    Raises:
      Interrupted: a signal came; finished rounds are saved.
    """
    saved = folder.path / "rounds"
    saved.mkdir(exist_ok=True)
    frame, numbers = planes.frame(inputs.plane, inputs.points), itertools.count()
    bar = Progress(f"{folder.path.name}: surface", len(x) * len(y), "point")

    def one(xy: np.ndarray, progress: Callable[[int], None]) -> Values:
        file = saved / f"{next(numbers):04d}.npz"
        if file.exists():
            arrays = load_arrays(file)
            if np.array_equal(arrays.pop("xy"), xy):
                return Values.from_arrays(arrays)
        stop_if_signalled(received)
        found = surfaces.evaluate_points(
            inputs.problem.evaluator, frame, inputs.plane, xy, inputs.state, progress
        )
        save_arrays(file, found.to_arrays() | {"xy": xy})
        return found

    with collect_signals() as received:
        try:
            return surfaces.refined(surface, x, y, one, tolerance, bar.update)
        finally:
            bar.close()
