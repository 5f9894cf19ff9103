"""Claims 3 and 4: SGDR crosses barriers, SGD with step decay does not (Section 5, Fig. 2)."""

from collections.abc import Iterator, Sequence

from mcjax.results import Profile

from ...judging import Claim, Measurement, Quantity, Results, measure, reading
from .. import scales
from .common import available, iterates, percent, train_losses

RISE = Quantity("rise in training loss on the segment above the higher end", "%", "above", 5)
"""Claim 3: a barrier."""
ANY_RISE = RISE._replace(threshold=0)
"""Claim 3: a barrier by the paper's footnote."""
NO_RISE = RISE._replace(relation="at most")
"""Claim 4: no barrier."""
BULGE = Quantity(
    "largest excess of training loss over the chord, relative to the ends' difference",
    "%",
    "at most",
    25,
)
"""Claim 4: "almost linear"."""


def claim_3(results: Results) -> Claim:
    """SGDR crosses barriers."""
    runs = (scales.pair_name("sgdr", 30, 150), scales.pair_name("sgdr", 70, 150))
    rule = (
        "on both segments, the highest training loss is more than 5 % above that of the higher end"
    )
    strict = reading(results, runs, _rises(results, RISE, runs), rule)
    footnote = reading(
        results,
        runs,
        _rises(results, ANY_RISE, runs),
        "it is above that of the higher end at all",
        "by the footnote's test",
        decides=False,
    )
    return Claim(
        3,
        "For the pairs {w30, w150} and {w70, w150} the training loss for points on the line "
        "segment is much higher than the endpoints suggesting that SGDR indeed finds paths that "
        "move over a barrier.",
        "SGDR crosses barriers between w30, w150 and w70, w150",
        2,
        (strict, footnote),
        _height_numbers(results, scales.pair_names("sgdr")),
    )


def claim_4(results: Results) -> Claim:
    """Plain SGD crosses no barrier, and its loss falls almost linearly."""
    runs = scales.pair_names("step")
    found, numbers = list(_rises(results, NO_RISE, runs)), _height_numbers(results, runs)
    for run, profile in available(results, runs).items():
        ends, _ = _segment(profile)
        excess = float(profile.segment.barriers["train"]["loss"].over_chord)
        difference = abs(ends[0] - ends[1])
        found.append(measure(BULGE, iterates(run), percent(excess, difference), ends, excess))
        numbers |= {
            f"excess over the chord, {iterates(run)}": excess,
            f"difference of the ends, {iterates(run)}": difference,
        }
    rule = (
        "none of the three segments has a barrier by claim 3's test, and the largest excess over "
        "the chord is at most 25 % of the difference between the ends"
    )
    return Claim(
        4,
        "For SGD none of the three pairs show evidence of having a training loss barrier on the "
        "line segment joining them. Instead there seems to be an almost linear decrease of "
        "training loss.",
        "Plain SGD crosses no barrier; its loss falls almost linearly",
        2,
        (reading(results, runs, found, rule),),
        numbers,
    )


def _segment(found: Profile) -> tuple[tuple[float, float], float]:
    """Training losses at the ends of the segment, and its height over the higher one."""
    losses = train_losses(found.segment)
    ends = float(losses[0]), float(losses[-1])
    return ends, float(found.segment.barriers["train"]["loss"].over_max)


def _rises(results: Results, quantity: Quantity, runs: Sequence[str]) -> Iterator[Measurement]:
    for run, found in available(results, runs).items():
        ends, height = _segment(found)
        yield measure(quantity, iterates(run), percent(height, max(ends)), ends, height)


def _height_numbers(results: Results, runs: Sequence[str]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for run, found in available(results, runs).items():
        ends, height = _segment(found)
        numbers |= {f"height, {iterates(run)}": height, f"higher end, {iterates(run)}": max(ends)}
    return numbers
