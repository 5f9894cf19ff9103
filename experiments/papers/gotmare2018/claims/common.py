"""What several claims share: the runs they need, ratios, and losses along a path."""

from collections.abc import Iterable

import numpy as np

from mcjax.results import PathMetrics, Profile

from ...judging import Results
from .. import scales

THETA = scales.pair_name("sgdr", 70, 150)
"""The run whose bend is θ."""


def available(results: Results, names: Iterable[str]) -> dict[str, Profile]:
    """Profiles of those of the named curves that were evaluated."""
    return {name: results.curves[name] for name in names if name in results.curves}


def quotient(part: float, whole: float) -> float:
    """``part / whole``; over zero it is 0 or infinite, with the sign of ``part``."""
    if whole:
        return float(part / whole)
    return float(part * np.inf) if part else 0.0


def percent(part: float, whole: float) -> float:
    """``part`` as a percentage of ``whole``; see `quotient`."""
    return quotient(100 * part, whole)


def percent_of(value: float, reference: float) -> float:
    """A value as a percentage of a reference; 100 if both are zero."""
    return 100.0 if value == reference == 0 else percent(value, reference)


def iterates(run: str) -> str:
    """The two iterates that a run connects.

    >>> iterates("sgdr_70_150")
    'w70, w150'
    """
    return ", ".join(f"w{epoch}" for epoch in run.split("_")[1:])


def train_losses(path: PathMetrics) -> np.ndarray:
    """Training losses along a path."""
    return path.metrics["train"]["loss"]
