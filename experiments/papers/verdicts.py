"""Verdicts over repetitions: in how many seeds a claim holds, and the number that decides."""

import itertools
import math
import statistics
from collections.abc import Sequence
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
"""What the seeds say together: all for the claim, some, none, or nothing."""
MEANINGS = {
    HELD: "Reproduced in every seed judged",
    MIXED: "Reproduced in some seeds",
    REFUTED: "Not reproduced",
    OPEN: "Not judged",
}


class Deciding(NamedTuple):
    """The number on which a reading turns, over the seeds.

    Attributes:
      quantity: what it is.
      values: of each seed that has it, the pair's that is worst for the claim.
      pairs: over how many pairs that is.
    """

    quantity: Quantity
    values: tuple[float, ...]
    pairs: int


def readings(claims: Sequence[Claim]) -> list[tuple[Reading, ...]]:
    """A claim's readings, each over all seeds."""
    return list(zip(*(claim.readings for claim in claims), strict=True))


def verdict(seeds: Sequence[Reading]) -> str:
    """One verdict from those of all seeds: in how many of them the claim holds.

    A seed whose run is missing, or that cannot tell, counts for neither side.
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
    """The verdict of each reading that decides, with its label where there are several."""
    labelled = [(seeds[0].label, verdict(seeds)) for seeds in readings(claims) if seeds[0].decides]
    return "; ".join(f"{label}: {words}" if label else words for label, words in labelled)


def _judged(counts):
    return counts[REPRODUCED] + counts[NOT_REPRODUCED]


def mark(seeds: Sequence[Reading]) -> str:
    """`HELD`, `MIXED`, `REFUTED` or `OPEN`."""
    judged = {one.verdict for one in seeds} & {REPRODUCED, NOT_REPRODUCED}
    if len(judged) == 2:
        return MIXED
    return {REPRODUCED: HELD, NOT_REPRODUCED: REFUTED}[judged.pop()] if judged else OPEN


def number(x: float) -> str:
    """Three digits; no powers of ten in what people compare with a threshold.

    >>> number(0.04567), number(1234.5), number(-12.0)
    ('0.0457', '1,234', '-12')
    """
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"


def interval(values: Sequence[float]) -> str:
    """A number, or the mean of several with the lowest and the highest.

    >>> interval([2.0]), interval([1.0, 2.0, 6.0])
    ('2', '3 [1, 6]')
    """
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.fmean(values))} [{number(min(values))}, {number(max(values))}]"


def needed(quantity: Quantity) -> str:
    """What the claim needs a quantity to be: ``above 5 %``."""
    return f"{quantity.relation} {quantity.threshold:g} {quantity.unit}"


def quantities(seeds: Sequence[Reading]) -> list[Quantity]:
    """What a reading measures, in its order."""
    return list(dict.fromkeys(m.quantity for one in seeds for m in one.measurements))


def deciding(seeds: Sequence[Reading]) -> Deciding | None:
    """The first quantity that speaks against the claim in some seed, cannot tell, or is there."""
    found = quantities(seeds)
    if not found:
        return None
    each = list(itertools.chain.from_iterable(one.measurements for one in seeds))
    wrong, unclear = ({m.quantity for m in each if m.holds is h} for h in (False, None))
    chosen = next(q for group in (wrong, unclear, found) for q in found if q in group)
    of_seeds = [[m for m in one.measurements if m.quantity == chosen] for one in seeds]
    values = tuple(_worst(chosen, measured) for measured in of_seeds if measured)
    return Deciding(chosen, values, max(map(len, of_seeds)))


def _worst(quantity: Quantity, measured: Sequence[Measurement]) -> float:
    sign = -1 if quantity.relation == "above" else 1
    return max((m.value for m in measured), key=lambda v: (math.isnan(v), sign * v))


def summary(repetitions: Sequence[Sequence[Claim]]) -> list[str]:
    """What came of the claims, in words: a sentence for each kind of verdict."""
    groups: dict[str, list[str]] = {meaning: [] for meaning in MEANINGS}
    for claims in zip(*repetitions, strict=True):
        for seeds in readings(claims):
            if seeds[0].decides:
                label = f", {seeds[0].label.partition(' (')[0]}" if seeds[0].label else ""
                text = f"{claims[0].short}{label} (claim {claims[0].number}"
                kind = mark(seeds)
                detail = "" if kind in (HELD, REFUTED) else f": {verdict(seeds)}"
                groups[kind].append(f"{text}{detail})")
    return [f"{MEANINGS[kind]}: {'; '.join(found)}." for kind, found in groups.items() if found]


def as_json(repetitions: Sequence[Sequence[Claim]]) -> list[dict[str, Any]]:
    """The content of ``claims.json``: every number of every seed; null where it is not finite."""
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


def _reading_json(seeds):
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
