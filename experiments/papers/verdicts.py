"""Verdicts over repetitions: in how many seeds a claim holds, and the deciding numbers."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .judging import (
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_TESTABLE,
    REPRODUCED,
    Claim,
    Measurement,
    Quantity,
    Reading,
)

HELD, MIXED, REFUTED, OPEN = "held", "mixed", "refuted", "open"
"""A claim holds in all seeds, in some, in none, or was not judged in any."""
MEANINGS = {
    HELD: "Reproduced in every seed judged",
    MIXED: "Reproduced in some seeds",
    REFUTED: "Not reproduced",
    OPEN: "Not judged",
}


class Deciding(NamedTuple):
    """The numbers that decide a reading.

    Attributes:
      quantity: what was measured.
      values: each seed's worst number for the claim.
      pairs: the number of pairs of which it is the worst.
    """

    quantity: Quantity
    values: tuple[float, ...]
    pairs: int


def readings(claims: Sequence[Claim]) -> list[tuple[Reading, ...]]:
    """Groups a claim's readings: for each, that of every seed."""
    return list(zip(*(claim.readings for claim in claims), strict=True))


def verdict(seeds: Sequence[Reading]) -> str:
    """Combines the verdicts of all seeds: in how many of them the claim holds.

    Seeds in which it was not run or is not testable count for neither side.
    """
    counts = dict.fromkeys((REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE, NOT_RUN), 0)
    for one in seeds:
        counts[one.verdict] += 1
    if len(seeds) == 1:
        return seeds[0].verdict + (" (one seed)" if _judged(counts) else "")
    words = []
    if _judged(counts):
        words.append(f"reproduced in {counts[REPRODUCED]} of {_judged(counts)} seeds")
    if counts[NOT_TESTABLE]:
        some = counts[NOT_TESTABLE] < len(seeds)
        words.append(NOT_TESTABLE + (f" in {counts[NOT_TESTABLE]}" if some else ""))
    if counts[NOT_RUN]:
        words.append(f"{counts[NOT_RUN]} {NOT_RUN}" if words else NOT_RUN)
    return "; ".join(words)


def of_claim(claims: Sequence[Claim]) -> str:
    """The verdict of each deciding reading, with its label if it has one."""
    labelled = [(seeds[0].label, verdict(seeds)) for seeds in readings(claims) if seeds[0].decides]
    return "; ".join(f"{label}: {words}" if label else words for label, words in labelled)


def label_suffix(seeds: Sequence[Reading]) -> str:
    """A reading's label for titles, without its details in parentheses; empty if it has none."""
    return f", {seeds[0].label.partition(' (')[0]}" if seeds[0].label else ""


def _judged(counts: Mapping[str, int]) -> int:
    return counts[REPRODUCED] + counts[NOT_REPRODUCED]


def mark(seeds: Sequence[Reading]) -> str:
    """Returns `HELD`, `MIXED`, `REFUTED` or `OPEN`."""
    judged = {one.verdict for one in seeds} & {REPRODUCED, NOT_REPRODUCED}
    if len(judged) == 2:
        return MIXED
    return {REPRODUCED: HELD, NOT_REPRODUCED: REFUTED}[judged.pop()] if judged else OPEN


def number(x: float) -> str:
    """Rounds to three digits, or to a whole number from 1000 on.

    >>> number(0.04567), number(999.7), number(1234.5), number(-12.0)
    ('0.0457', '1,000', '1,234', '-12')
    """
    return f"{x:,.0f}" if 999.5 <= abs(x) < 1e6 else f"{x:.3g}"


def interval(values: Sequence[float]) -> str:
    """Formats a number, or the mean of several with the lowest and the highest.

    >>> interval([2.0]), interval([1.0, 2.0, 6.0])
    ('2', '3 [1, 6]')
    """
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.fmean(values))} [{number(min(values))}, {number(max(values))}]"


def needed(quantity: Quantity) -> str:
    """The range that the claim needs, such as ``above 5 %``."""
    return f"{quantity.relation} {quantity.threshold:g} {quantity.unit}"


def quantities(seeds: Sequence[Reading]) -> list[Quantity]:
    """The quantities that a reading measured, in order."""
    return list(dict.fromkeys(m.quantity for one in seeds for m in one.measurements))


def deciding(seeds: Sequence[Reading]) -> Deciding | None:
    """Picks the quantity that decides, and each seed's worst number.

    It is the first quantity that refutes the claim in some seed, else the first that is undecided
    in some seed, else the first.

    Returns:
      None if nothing was measured.
    """
    found = quantities(seeds)
    if not found:
        return None
    each = list(itertools.chain.from_iterable(one.measurements for one in seeds))
    wrong, undecided = ({m.quantity for m in each if m.holds is h} for h in (False, None))
    chosen = next(q for group in (wrong, undecided, found) for q in found if q in group)
    by_seed = [[m for m in one.measurements if m.quantity == chosen] for one in seeds]
    values = tuple(_worst(chosen, measured) for measured in by_seed if measured)
    return Deciding(chosen, values, max(map(len, by_seed)))


def _worst(quantity: Quantity, measured: Sequence[Measurement]) -> float:
    sign = -1 if quantity.relation == "above" else 1
    return max((m.value for m in measured), key=lambda v: (math.isnan(v), sign * v))


def summary(repetitions: Sequence[Sequence[Claim]]) -> list[str]:
    """Summarizes the claims: one sentence per kind of verdict."""
    groups: dict[str, list[str]] = {meaning: [] for meaning in MEANINGS}
    for claims in zip(*repetitions, strict=True):
        for seeds in readings(claims):
            if seeds[0].decides:
                text = f"{claims[0].short}{label_suffix(seeds)} (claim {claims[0].number}"
                kind = mark(seeds)
                detail = "" if kind in (HELD, REFUTED) else f": {verdict(seeds)}"
                groups[kind].append(f"{text}{detail})")
    return [f"{MEANINGS[kind]}: {'; '.join(found)}." for kind, found in groups.items() if found]


def as_json(repetitions: Sequence[Sequence[Claim]]) -> list[dict[str, Any]]:
    """The content of ``claims.json``: every number of every seed; null if it is not finite."""
    return [
        {
            "number": claims[0].number,
            "words": claims[0].words,
            "verdict": of_claim(claims),
            "threshold": claims[0].readings[0].rule,
            "readings": [_reading_json(seeds) for seeds in readings(claims)],
            "numbers": [{name: _plain(x) for name, x in c.numbers.items()} for c in claims],
            "why": [c.readings[0].why for c in claims],
        }
        for claims in zip(*repetitions, strict=True)
    ]


def _reading_json(seeds: Sequence[Reading]) -> dict[str, Any]:
    return {
        "label": seeds[0].label,
        "rule": seeds[0].rule,
        "decides": seeds[0].decides,
        "verdict": verdict(seeds),
        "seeds": [
            {
                "verdict": one.verdict,
                "why": one.why,
                "measurements": [
                    m.quantity._asdict() | {"pair": m.pair, "value": _plain(m.value)}
                    | {"holds": m.holds}
                    for m in one.measurements
                ],
            }
            for one in seeds
        ],
    }  # fmt: skip


def _plain(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
