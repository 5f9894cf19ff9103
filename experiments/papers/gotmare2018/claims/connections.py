"""Claims 1, 2 and 9: accurate curves connect the seven modes (Section 3, Fig. 1)."""

import itertools

import numpy as np

from ...judging import Claim, Measurement, Quantity, Reading, Results, measure, reading
from .. import scales
from .common import available

DROP = Quantity("largest drop in validation accuracy below the lower end", "points", "at most", 2)


def claim_1(results: Results) -> Claim:
    """Curves connect G with the six other modes."""
    return Claim(
        1,
        "For each of the 6 pairs we can find a curve such that each point on it generalizes "
        "almost as well as models from the pair that is being connected.",
        "Accurate curves connect G with all six other modes",
        1,
        (_connected(results),),
        {},
    )


def claim_2(results: Results) -> Claim:
    """They do so at curve epoch 20, and after as many steps as the paper's 20 epochs have."""
    readings = [_connected(results, "@20", "at epoch 20")]
    if results.same_steps:
        readings.append(_connected(results, "@steps", results.same_steps))
    return Claim(
        2,
        "Within a few epochs of the curve training.",
        "These curves are found within a few epochs",
        1,
        tuple(readings),
        {},
    )


def claim_9(results: Results) -> Claim:
    """All 21 pairs are connected through G.

    A chain consists of the points of its two curves, so nothing is evaluated again.
    """
    accuracy = {
        name: found.curve.metrics["validation"]["accuracy"]
        for name, found in available(results, scales.CURVES).items()
    }
    found = [_drop(name, values) for name, values in accuracy.items()]
    for a, b in itertools.combinations(accuracy, 2):
        joined = np.concatenate([accuracy[a][::-1], accuracy[b][1:]])
        found.append(_drop(a[1:] + b[1:], joined))
    rule = "claim 1's test on the chains X, θ_GX, G, θ_GY, Y"
    return Claim(
        9,
        "There exists a high accuracy connecting curve (albeit with multiple bends) for each of "
        "the 21 pairs of modes.",
        "All 21 pairs of modes are connected, through G",
        1,
        (reading(results, scales.CURVES, found, rule),),
        {},
    )


def _connected(results: Results, suffix: str = "", label: str = "") -> Reading:
    """Claim 1's reading for the curves at one epoch."""
    needs = [f"{curve}{suffix}" for curve in scales.CURVES]
    found = [
        _drop(name.removesuffix(suffix), found.curve.metrics["validation"]["accuracy"])
        for name, found in available(results, needs).items()
    ]
    rule = "the lowest validation accuracy on each curve is at most 2 points below its lower end"
    return reading(results, needs, found, rule, label)


def _drop(pair: str, accuracy: np.ndarray) -> Measurement:
    """How far the lowest validation accuracy lies below the lower end, in percentage points."""
    drop = 100 * (min(accuracy[0], accuracy[-1]) - np.min(accuracy))
    return measure(DROP, pair, round(float(drop), 4))  # 0.90 - 0.88 is 2 points, not more
