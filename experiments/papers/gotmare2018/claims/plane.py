"""Claims 5, 6 and 7: losses between w70 and w150, on curve and segment (Section 5, Fig. 3)."""

from collections.abc import Callable, Mapping

import numpy as np

from ...judging import Claim, Measurement, Quantity, Results, measure, reading
from .. import scales
from .common import THETA, available, percent_of, train_losses

Points = slice | np.ndarray
"""Indexes some points of a path."""

BEND = Quantity("training loss at w150, relative to θ", "%", "above", 100)
"""Claim 5."""
OVERFIT = Quantity(
    "mean validation loss on the curve, relative to the higher end", "%", "above", 100
)
"""Claim 6: points on the curve generalize worse."""
FIT = Quantity("mean training loss on the curve, relative to the lower end", "%", "below", 100)
"""Claim 6: and they fit better."""
HIGHER = Quantity(
    "mean training loss on the segment's inner half, relative to the higher end", "%", "above", 100
)
"""Claim 7, training."""
LOWER = Quantity(
    "mean validation loss on the segment's inner half, relative to the lower end", "%", "below", 100
)
"""Claim 7, validation."""


def claim_5(results: Results) -> Claim:
    """The loss is lower at the bend than at the iterates."""
    found: list[Measurement] = []
    numbers: dict[str, float] = {}
    for profile in available(results, (THETA,)).values():
        losses, theta = train_losses(profile.curve), _loss_at_theta(results)
        w70, w150 = float(losses[0]), float(losses[-1])
        if theta is None:
            why = f"t = 0.5 is not among the {len(losses)} points along the curve"
            found.append(Measurement(BEND, "w70, w150", float("nan"), None, why))
            continue
        ratio = percent_of(w150, theta)
        found.append(measure(BEND, "w70, w150", ratio, (w70, w150), abs(theta - w150)))
        numbers = {"L(w70)": w70, "L(θ)": theta, "L(w150)": w150}
    return Claim(
        5,
        "The path found by mode connectivity corresponds to lower training loss than the loss at "
        "the iterates that SGDR converges to, L(w150) > L(w70-150).",
        "The curve's bend θ has lower training loss than w150",
        3,
        (reading(results, (THETA,), found, "the training loss at w150 is above that at θ"),),
        numbers,
    )


def claim_6(results: Results) -> Claim:
    """Points on the curve overfit."""
    found: list[Measurement] = []
    numbers: dict[str, float] = {}
    inside = slice(1, -1)
    for profile in available(results, (THETA,)).values():
        train, validation = train_losses(profile.curve), profile.curve.metrics["validation"]["loss"]
        found = _both(_compare(OVERFIT, validation, inside, max), _compare(FIT, train, inside, min))
        numbers = _numbers({"training": train, "validation": validation}, inside)
    rule = (
        "over the curve's inner points, the mean validation loss is above that of the higher end "
        "and the mean training loss below that of the lower end"
    )
    return Claim(
        6,
        "Models on this curve seem to overfit and not generalize as well as the iterates.",
        "Points on the curve between w70 and w150 overfit",
        3,
        (reading(results, (THETA,), found, rule),),
        numbers,
    )


def claim_7(results: Results) -> Claim:
    """Between the iterates, training loss is higher and validation loss lower."""
    found: list[Measurement] = []
    weaker: list[Measurement] = []
    numbers: dict[str, float] = {}
    for profile in available(results, (THETA,)).values():
        t, segment = profile.t, profile.segment
        inside = (t > 0.25 - 1e-6) & (t < 0.75 + 1e-6)
        train, validation = train_losses(segment), segment.metrics["validation"]["loss"]
        found = _both(
            _compare(LOWER, validation, inside, min), _compare(HIGHER, train, inside, max)
        )
        weaker = _both(
            _compare(_relative_to_mean(LOWER), validation, inside, np.mean),
            _compare(_relative_to_mean(HIGHER), train, inside, np.mean),
        )
        numbers = _numbers({"training": train, "validation": validation}, inside)
    rule = (
        "over the segment's inner half (t from 0.25 to 0.75), the mean training loss is above that "
        "of the higher end and the mean validation loss below that of the lower end"
    )
    beside = "the same relative to the mean of the two ends; any concave training loss passes that"
    return Claim(
        7,
        "The region of the plane between the iterates w70 and w150 corresponds to higher training "
        "loss but lower validation loss than the two iterates.",
        "Between w70 and w150: higher training, lower validation loss",
        3,
        (
            reading(results, (THETA,), found, rule),
            reading(results, (THETA,), weaker, beside, "against the ends' mean", decides=False),
        ),
        numbers,
    )


def _loss_at_theta(results: Results) -> float | None:
    """Training loss at t = 0.5: among the curve's points, or else at the surface's third point."""
    profile = results.curves[THETA]
    middle = np.flatnonzero(np.isclose(profile.t, 0.5))
    if middle.size:
        return float(train_losses(profile.curve)[middle[0]])
    if scales.SURFACE in results.surfaces:
        return float(results.surfaces[scales.SURFACE].points.metrics["train"]["loss"][2])
    return None


def _compare(
    quantity: Quantity,
    values: np.ndarray,
    inside: Points,
    reference: Callable[[tuple[float, float]], float],
) -> Measurement:
    """The mean loss of some points of a path, as a percentage of a function of its two ends."""
    ends = float(values[0]), float(values[-1])
    mean, at_ends = float(values[inside].mean()), float(reference(ends))
    return measure(quantity, "w70, w150", percent_of(mean, at_ends), ends, abs(mean - at_ends))


def _both(validation: Measurement, training: Measurement) -> list[Measurement]:
    """Both measurements; neither decides if training losses are below the resolution."""
    if training.holds is None:
        validation = validation._replace(holds=None, why=training.why)
    return [validation, training]


def _numbers(losses_by_name: Mapping[str, np.ndarray], inside: Points) -> dict[str, float]:
    return {
        f"{name} loss {where}": float(value)
        for name, losses in losses_by_name.items()
        for where, value in (
            ("at w70", losses[0]), ("at w150", losses[-1]), ("inside", losses[inside].mean()),
        )
    }  # fmt: skip


def _relative_to_mean(quantity: Quantity) -> Quantity:
    words = quantity.words.rpartition(", ")[0]
    return quantity._replace(words=f"{words}, relative to the ends' mean")
