"""How claims are judged: numbers measured on pairs of modes, compared with thresholds."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcjax.results import Profile, Surface

RESOLUTION = 1e-3
"""If both ends' losses are below this, float32 cross-entropy does not resolve differences below it,
and the test decides nothing."""
REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_TESTABLE, NOT_RUN = "not testable at this scale", "not run"
RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "above": operator.gt, "below": operator.lt, "at most": operator.le,
}  # fmt: skip


class Quantity(NamedTuple):
    """What a test measures, and the range that the claim needs.

    Attributes:
      words: a description.
      unit: of the number and the threshold.
      relation: ``above``, ``below`` or ``at most``.
      threshold: the end of the range.
    """

    words: str
    unit: str
    relation: str
    threshold: float


class Measurement(NamedTuple):
    """A number measured on one pair.

    Attributes:
      quantity: what was measured.
      pair: the pair of modes or iterates, or the iterate.
      value: the number.
      holds: whether it is in the range that the claim needs; None if it decides nothing.
      why: why it decides nothing.
    """

    quantity: Quantity
    pair: str
    value: float
    holds: bool | None
    why: str = ""


class Reading(NamedTuple):
    """One way to judge a claim.

    Attributes:
      label: its name, if a claim has several readings.
      rule: when the claim holds.
      verdict: for one repetition.
      measurements: what the verdict rests on.
      why: what is missing, or what refutes the claim; may be empty.
      decides: False if it is only reported beside the verdict.
    """

    label: str
    rule: str
    verdict: str
    measurements: tuple[Measurement, ...]
    why: str
    decides: bool = True


class Claim(NamedTuple):
    """A claim of the paper, judged for one repetition.

    Attributes:
      number: its number in reports.
      words: the paper's words.
      short: a summary of about ten words.
      figure: the figure that shows it.
      readings: the ways to judge it; the first one decides.
      numbers: further measured numbers, by name.
    """

    number: int
    words: str
    short: str
    figure: int
    readings: tuple[Reading, ...]
    numbers: dict[str, float]


class Results(NamedTuple):
    """The results of one repetition.

    Attributes:
      curves: profiles by run; ``GA@20`` for epoch 20 of the paper, ``GA@steps`` for the epoch
        closest in steps to those 20.
      surfaces: surfaces by run.
      missing: why a run is missing; `NOT_RUN` if it can still be run.
      gradient_norms: norm of the training loss's gradient, by iterate (``w70``, ``w150``).
      same_steps: a label for ``@steps``; empty if it is ``@20``.
    """

    curves: Mapping[str, Profile]
    surfaces: Mapping[str, Surface]
    missing: Mapping[str, str]
    gradient_norms: Mapping[str, float]
    same_steps: str = ""


def reading(
    results: Results,
    needs: Sequence[str],
    found: Iterable[Measurement],
    rule: str,
    label: str = "",
    decides: bool = True,
) -> Reading:
    """Judges a claim by its measurements.

    A measurement out of range refutes the claim, whatever is missing. Otherwise a run that can
    still be run leaves it open, and a failed run or an undecided measurement makes it not testable.

    Args:
      results: the results of one repetition.
      needs: the runs that the claim needs.
      found: the measurements on those of them that exist.
      rule: when the claim holds, in words.
      label: the reading's name, if the claim has several.
      decides: False if the reading is only reported.
    """
    found = tuple(found)
    have = {*results.curves, *results.surfaces}
    lacking = {n: results.missing.get(n.split("@")[0], NOT_RUN) for n in needs if n not in have}
    reasons: list[str] = []
    wrong = [m for m in found if m.holds is False]
    if wrong:
        verdict, reasons = NOT_REPRODUCED, [_refutation(m) for m in wrong]
    elif lacking:
        verdict = NOT_RUN if NOT_RUN in lacking.values() else NOT_TESTABLE
        reasons = [f"{name}: {why}" for name, why in lacking.items()]
    elif any(m.holds is None for m in found):
        verdict, reasons = NOT_TESTABLE, list(dict.fromkeys(m.why for m in found if m.why))
    else:
        verdict = REPRODUCED
    return Reading(label, rule, verdict, found, "; ".join(reasons), decides)


def _refutation(measured: Measurement) -> str:
    words, unit, relation, threshold = measured.quantity
    needed = f"{relation} {threshold:g} {unit}"
    return f"{measured.pair}: {words}: {measured.value:.4g} {unit}, but the claim needs {needed}"


def measure(
    quantity: Quantity,
    pair: str,
    value: float,
    ends: Sequence[float] = (np.inf,),
    difference: float = np.inf,
) -> Measurement:
    """Compares a number with its threshold.

    Args:
      quantity: what was measured.
      pair: the pair it was measured on.
      value: the number; NaN decides nothing.
      ends: the losses at the two ends.
      difference: the difference of losses behind the number; if it and both ends are below
        `RESOLUTION`, the number decides nothing.
    """
    if np.isnan(value):
        why = f"{pair}: {quantity.words}: not a number"
        return Measurement(quantity, pair, float(value), None, why)
    if max(ends) < RESOLUTION and not difference > RESOLUTION:
        why = (
            f"{pair}: losses of {', '.join(f'{x:.2g}' for x in ends)} at the ends are below what "
            f"float32 cross-entropy resolves ({RESOLUTION:g})"
        )
        return Measurement(quantity, pair, float(value), None, why)
    holds = RELATIONS[quantity.relation](value, quantity.threshold)
    return Measurement(quantity, pair, float(value), bool(holds))
