"""How a claim is judged: readings of measurements, a number of each pair beside its threshold."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mcjax.results import Profile, Surface

RESOLUTION = 1e-3
"""Where both ends' losses lie below this, float32 cross-entropy does not tell differences below it
apart: such a test decides nothing."""
REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_TESTABLE, NOT_RUN = "not testable at this scale", "not run"
RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "above": operator.gt, "below": operator.lt, "at most": operator.le,
}  # fmt: skip


class Quantity(NamedTuple):
    """What a test measures, and what the claim wants of it.

    Attributes:
      words: what it is.
      unit: of the number and its threshold.
      relation: ``above``, ``below`` or ``at most``.
      threshold: the limit.
    """

    words: str
    unit: str
    relation: str
    threshold: float


class Measurement(NamedTuple):
    """A number of one pair beside its threshold.

    Attributes:
      quantity: what it measures.
      pair: of what: a pair of modes or iterates, or an iterate.
      value: the number.
      holds: whether it is as the claim wants it; None where it cannot be told.
      why: why it cannot.
    """

    quantity: Quantity
    pair: str
    value: float
    holds: bool | None
    why: str = ""


class Reading(NamedTuple):
    """One way to judge a claim.

    Attributes:
      label: which, where a claim has several.
      rule: the rule of judgement.
      verdict: of one repetition.
      measurements: what it rests on.
      why: what is missing, or what speaks for a negative result; may be empty.
      decides: False where it is only reported beside the verdict.
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
      number: as in the paper's list.
      words: what the paper says.
      short: the same in about ten words.
      figure: the one that shows it.
      readings: the ways to judge it; the first one decides.
      numbers: what was measured, by name, beside the measurements.
    """

    number: int
    words: str
    short: str
    figure: int
    readings: tuple[Reading, ...]
    numbers: dict[str, float]


class Results(NamedTuple):
    """What the runs of one repetition left.

    Attributes:
      curves: profiles by run; ``GA@20`` for epoch 20 of the paper, ``GA@steps`` for
        the epoch that comes closest to the steps of those 20.
      surfaces: surfaces by run.
      missing: why a run is not there, in words; `NOT_RUN` where it may still come.
      gradient_norms: norm of the training loss's gradient, by iterate (``w70``, ``w150``).
      same_steps: what ``@steps`` stands for; empty where it is ``@20``.
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
    """Judges by what was found of what is there of ``needs``.

    What refutes the claim refutes it whatever else is missing; a run that may still come leaves it
    open; what cannot be told, or a run that failed, makes it not testable.
    """
    found = tuple(found)
    have = {*results.curves, *results.surfaces}
    lacking = {n: results.missing.get(n.split("@")[0], NOT_RUN) for n in needs if n not in have}
    wrong = [t for t in found if t.holds is False]
    if wrong:
        verdict, reasons = NOT_REPRODUCED, [_in_words(t) for t in wrong]
    elif lacking:
        verdict = NOT_RUN if NOT_RUN in lacking.values() else NOT_TESTABLE
        reasons = [f"{name}: {why}" for name, why in lacking.items()]
    elif any(t.holds is None for t in found):
        verdict, reasons = NOT_TESTABLE, list(dict.fromkeys(t.why for t in found if t.why))
    else:
        verdict, reasons = REPRODUCED, []
    return Reading(label, rule, verdict, found, "; ".join(reasons), decides)


def _in_words(test):
    words, unit, relation, threshold = test.quantity
    wanted = f"{relation} {threshold:g} {unit}"
    return f"{test.pair}: {words}: {test.value:.4g} {unit}, where the claim needs {wanted}"


def measure(
    quantity: Quantity,
    pair: str,
    value: float,
    ends: Sequence[float] = (np.inf,),
    difference: float = np.inf,
) -> Measurement:
    """Holds a number against its threshold.

    Args:
      quantity: what it measures.
      pair: of what.
      value: the number; NaN decides nothing.
      ends: the losses at the two ends.
      difference: what the number rests on, in units of the loss; where it and both ends are below
        the resolution, the test decides nothing.
    """
    if np.isnan(value):
        why = f"{pair}: {quantity.words}: not a number"
        return Measurement(quantity, pair, float(value), None, why)
    if max(ends) < RESOLUTION and not difference > RESOLUTION:
        why = (
            f"{pair}: losses of {', '.join(f'{x:.2g}' for x in ends)} at the ends, below what "
            f"float32 cross-entropy resolves ({RESOLUTION:g})"
        )
        return Measurement(quantity, pair, float(value), None, why)
    holds = RELATIONS[quantity.relation](value, quantity.threshold)
    return Measurement(quantity, pair, float(value), bool(holds))
