"""Claim 8: w70 and w150 are not local minima, and share a basin (Section 5, Fig. 3)."""

import numpy as np

from mcjax.analysis import barriers
from mcjax.results import Surface

from ...judging import Claim, Measurement, Quantity, Results, measure, reading
from .. import scales
from .common import THETA, available, percent, quotient, train_losses

FEWEST_STEPS = 4
"""Grid steps between the two iterates; a coarser grid does not resolve a basin."""
SLOPE = Quantity("slope of the training loss along the curve", "× its error", "below", -1)
PASS = Quantity("rise of the lowest pass across the grid above the higher of the two", "%",
                "at most", 5)  # fmt: skip


def claim_8(results: Results) -> Claim:
    """Neither iterate is a local minimum, and they lie in one basin."""
    found: list[Measurement] = []
    numbers: dict[str, float] = {}
    for profile in available(results, (THETA,)).values():
        losses, slopes = train_losses(profile.curve), profile.curve.slopes["train"]["loss"]
        for iterate, slope, error in (
            ("w70", float(slopes.start), float(slopes.start_error)),
            ("w150", float(slopes.end), float(slopes.end_error)),
        ):
            numbers |= {f"slope at {iterate}": slope, f"its error at {iterate}": error}
            if iterate in results.gradient_norms:
                numbers[f"gradient norm at {iterate}"] = results.gradient_norms[iterate]
            ends = float(losses[0]), float(losses[-1])
            found.append(measure(SLOPE, iterate, quotient(slope, error), ends, 0))
    if scales.SURFACE in results.surfaces:
        found.append(_one_basin(results.surfaces[scales.SURFACE], numbers))
    rule = (
        "at both ends, the training loss falls along the curve by more than its error, and some "
        "path across the grid joins them without rising more than 5 % above the higher one"
    )
    return Claim(
        8,
        "Neither of w70 or w150 are technically a local minimum, nor do they appear to be lying "
        "in different basins.",
        "w70 and w150 are not minima, and share a basin",
        3,
        (reading(results, (THETA, scales.SURFACE), found, rule),),
        numbers,
    )


def _one_basin(surface: Surface, numbers: dict[str, float]) -> Measurement:
    """Tests the lowest pass; adds the measured numbers to ``numbers``."""
    lowest, ends, steps = _lowest_pass(surface)
    higher = max(ends)
    numbers |= {"lowest pass between them": lowest, "higher of the two": higher}
    numbers["grid steps between them"] = steps
    rise = lowest - higher
    if steps < FEWEST_STEPS:
        why = f"the grid has {steps} steps between them; {FEWEST_STEPS} are needed"
        return Measurement(PASS, "w70, w150", percent(rise, higher), None, why)
    return measure(PASS, "w70, w150", percent(rise, higher), ends, rise)


def _lowest_pass(surface: Surface) -> tuple[float, tuple[float, ...], int]:
    """Minimax height between the first two points, each moved to the nearest grid point.

    Returns:
      The height, the two points' own losses, and the grid steps between them.
    """
    at = [
        (int(np.abs(surface.y - y).argmin()), int(np.abs(surface.x - x).argmin()))
        for x, y in surface.points.xy[:2]
    ]
    losses = np.array(surface.metrics["train"]["loss"])
    ends = tuple(float(x) for x in surface.points.metrics["train"]["loss"][:2])
    for where, loss in zip(at, ends, strict=True):
        losses[where] = loss
    steps = max(abs(a - b) for a, b in zip(*at, strict=True))
    return barriers.minimax_height(losses, *at), ends, steps
