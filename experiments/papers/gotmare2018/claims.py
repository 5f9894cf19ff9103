"""The paper's claims, judged by numbers; nothing here is written by hand but the thresholds.

Each ``claim_N`` takes what the runs of one repetition left and gives a `judging.Claim`. Verdicts
over several repetitions are made in `experiments.papers.verdicts`.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from mcjax.analysis import barriers
from mcjax.results import PathMetrics, Profile, Surface

from ..judging import Claim, Measurement, Quantity, Results, measure, reading

MODES = "ABCDEF"
PAIRS_WITH_G = tuple(f"G{m}" for m in MODES)
SGDR = ("sgdr_30_70", "sgdr_70_150", "sgdr_30_150")
STEP = ("step_55_65", "step_145_165", "step_55_165")
SURFACE = "surface_70_150"

CELLS_BETWEEN = 4
"""Claim 8: grid steps from one iterate to the other, without which a grid shows no basin."""


DROP = Quantity("lowest validation accuracy, below the lower end's", "points", "at most", 2)
"""Claims 1, 2 and 9: how far the accuracy on the curve may fall."""
BARRIER = Quantity("highest training loss on the segment, over the higher end's", "%", "above", 5)
"""Claim 3: a barrier."""
ANY_BARRIER = BARRIER._replace(threshold=0)
"""Claim 3: a barrier by the paper's footnote."""
NO_BARRIER = BARRIER._replace(relation="at most")
"""Claim 4: none."""
BULGE = Quantity("largest excess over the chord, of the ends' difference", "%", "at most", 25)
"""Claim 4: "almost linearly"."""
BEND = Quantity("training loss at w150, of that at θ", "%", "above", 100)
"""Claim 5."""
OVERFIT = Quantity("mean validation loss on the curve, of the higher end's", "%", "above", 100)
"""Claim 6: points on the curve generalize worse."""
FIT = Quantity("mean training loss on the curve, of the lower end's", "%", "below", 100)
"""Claim 6: and they fit better."""
HIGHER = Quantity(
    "mean training loss over the segment's inner half, of the higher end's", "%", "above", 100
)
"""Claim 7, training."""
LOWER = Quantity(
    "mean validation loss over the segment's inner half, of the lower end's", "%", "below", 100
)
"""Claim 7, validation."""
SLOPE = Quantity("slope of the training loss along the curve, of its error", "errors", "below", -1)
"""Claim 8: no local minimum."""
PASS = Quantity("lowest pass over the grid, over the higher of the two", "%", "at most", 5)
"""Claim 8: one basin."""


def judge(results: Results) -> list[Claim]:
    """All nine claims."""
    return [claim(results) for claim in CLAIMS]


def _there(results: Results, names: Iterable[str]) -> dict[str, Profile]:
    return {name: results.curves[name] for name in names if name in results.curves}


def _quotient(part, whole) -> float:
    """``part / whole``; over zero 0 or infinite, so that it compares as the part does with zero."""
    if whole:
        return float(part / whole)
    return float(part * np.inf) if part else 0.0


def _percent(part, whole) -> float:
    return _quotient(100 * part, whole)


def _percent_of(value, reference) -> float:
    """The value in percent of a reference; 100 where both are zero."""
    return 100.0 if value == reference == 0 else _percent(value, reference)


def iterates(run: str) -> str:
    """The two iterates of a pair's run.

    >>> iterates("sgdr_70_150")
    'w70, w150'
    """
    return ", ".join(f"w{epoch}" for epoch in run.split("_")[1:])


def _drop(pair, accuracy) -> Measurement:
    """How far the lowest validation accuracy lies below the lower end's, in points."""
    drop = 100 * (min(accuracy[0], accuracy[-1]) - np.min(accuracy))
    return measure(DROP, pair, round(float(drop), 4))  # 0.90 - 0.88 is 2 points, and no more


def _connected(results, suffix="", label=""):
    """Claim 1's reading, for the curves of an epoch."""
    needs = [f"{pair}{suffix}" for pair in PAIRS_WITH_G]
    found = [
        _drop(name.removesuffix(suffix), found.curve.metrics["validation"]["accuracy"])
        for name, found in _there(results, needs).items()
    ]
    rule = "lowest validation accuracy on each curve at most 2 points below its lower end"
    return reading(results, needs, found, rule, label)


def claim_1(results: Results) -> Claim:
    """All six pairs are connected."""
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
    """The same at curve epoch 20, and after as many steps as the paper's 20 epochs have."""
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


def _train(path: PathMetrics) -> np.ndarray:
    return path.metrics["train"]["loss"]


def _segment(found: Profile) -> tuple[tuple[float, float], float, float]:
    """Training losses at the ends of the segment, the height over the higher one, and that one."""
    losses = _train(found.segment)
    ends = float(losses[0]), float(losses[-1])
    return ends, float(found.segment.barriers["train"]["loss"].over_max), max(ends)


def _heights(results, quantity, pairs):
    for run, found in _there(results, pairs).items():
        ends, height, higher = _segment(found)
        yield measure(quantity, iterates(run), _percent(height, higher), ends, height)


def _height_numbers(results, pairs):
    numbers = {}
    for run, found in _there(results, pairs).items():
        _, height, higher = _segment(found)
        numbers |= {f"height, {iterates(run)}": height, f"higher end, {iterates(run)}": higher}
    return numbers


def claim_3(results: Results) -> Claim:
    """SGDR crosses a barrier."""
    pairs = ("sgdr_30_150", "sgdr_70_150")
    rule = "highest training loss on the segment more than 5 % above the higher end's, both pairs"
    strict = reading(results, pairs, _heights(results, BARRIER, pairs), rule)
    plain = reading(
        results,
        pairs,
        _heights(results, ANY_BARRIER, pairs),
        "it is above the higher end's at all",
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
        (strict, plain),
        _height_numbers(results, SGDR),
    )


def claim_4(results: Results) -> Claim:
    """Plain SGD crosses none, and the loss falls almost linearly."""
    found, numbers = (
        list(_heights(results, NO_BARRIER, STEP)),
        _height_numbers(results, STEP),
    )
    for run, profile in _there(results, STEP).items():
        ends, _, _ = _segment(profile)
        excess = float(profile.segment.barriers["train"]["loss"].over_chord)
        difference = abs(ends[0] - ends[1])
        found.append(measure(BULGE, iterates(run), _percent(excess, difference), ends, excess))
        numbers |= {
            f"excess over the chord, {iterates(run)}": excess,
            f"difference of the ends, {iterates(run)}": difference,
        }
    rule = (
        "no barrier by claim 3's test on any of the three pairs, and the largest excess over the "
        "chord at most 25 % of the ends' difference"
    )
    return Claim(
        4,
        "For SGD none of the three pairs show evidence of having a training loss barrier on the "
        "line segment joining them. Instead there seems to be an almost linear decrease of "
        "training loss.",
        "Plain SGD crosses none; its loss falls almost linearly",
        2,
        (reading(results, STEP, found, rule),),
        numbers,
    )


def _loss_at_theta(results) -> float | None:
    """Training loss at t = 0.5: of the curve's points, or else of the surface's third anchor."""
    profile = results.curves["sgdr_70_150"]
    middle = np.flatnonzero(np.isclose(profile.t, 0.5))
    if middle.size:
        return float(_train(profile.curve)[middle[0]])
    if SURFACE in results.surfaces:
        return float(results.surfaces[SURFACE].points.metrics["train"]["loss"][2])
    return None


def claim_5(results: Results) -> Claim:
    """The bend lies lower than the iterates."""
    found, numbers = [], {}
    for profile in _there(results, ("sgdr_70_150",)).values():
        losses, theta = _train(profile.curve), _loss_at_theta(results)
        w70, w150 = float(losses[0]), float(losses[-1])
        if theta is None:
            why = f"{len(losses)} points along the curve: t = 0.5 is not among them"
            found.append(Measurement(BEND, "w70, w150", float("nan"), None, why))
            continue
        ratio = _percent_of(w150, theta)
        found.append(measure(BEND, "w70, w150", ratio, (w70, w150), abs(theta - w150)))
        numbers = {"L(w70)": w70, "L(θ)": theta, "L(w150)": w150}
    return Claim(
        5,
        "The path found by mode connectivity corresponds to lower training loss than the loss at "
        "the iterates that SGDR converges to, L(w150) > L(w70-150).",
        "The curve's bend θ has lower training loss than w150",
        3,
        (reading(results, ("sgdr_70_150",), found, "training loss at w150 above that at θ"),),
        numbers,
    )


def _compare(quantity, values, inside, reference) -> Measurement:
    """The mean of some points of a path's losses in percent of a function of its two ends."""
    ends = float(values[0]), float(values[-1])
    mean, of = float(values[inside].mean()), reference(ends)
    return measure(quantity, "w70, w150", _percent_of(mean, of), ends, abs(mean - of))


def _together(validation, training) -> list[Measurement]:
    """Both; of a claim about both, neither decides where training losses cannot be told apart."""
    if training.holds is None:
        validation = validation._replace(holds=None, why=training.why)
    return [validation, training]


def _ends_and_inside(losses_by_name, inside):
    return {
        f"{name} loss {where}": float(value)
        for name, losses in losses_by_name.items()
        for where, value in (
            ("at w70", losses[0]), ("at w150", losses[-1]), ("inside", losses[inside].mean()),
        )
    }  # fmt: skip


def claim_6(results: Results) -> Claim:
    """Points on the curve overfit."""
    found, numbers, inside = [], {}, slice(1, -1)
    for profile in _there(results, ("sgdr_70_150",)).values():
        train, validation = _train(profile.curve), profile.curve.metrics["validation"]["loss"]
        found = _together(
            _compare(OVERFIT, validation, inside, max), _compare(FIT, train, inside, min)
        )
        numbers = _ends_and_inside({"training": train, "validation": validation}, inside)
    rule = (
        "mean validation loss over the curve's inner points above the higher end's, mean training "
        "loss below the lower end's"
    )
    return Claim(
        6,
        "Models on this curve seem to overfit and not generalize as well as the iterates.",
        "Points on the curve between w70 and w150 overfit",
        3,
        (reading(results, ("sgdr_70_150",), found, rule),),
        numbers,
    )


def claim_7(results: Results) -> Claim:
    """Between the iterates: higher training, lower validation loss."""
    found, weaker, numbers = [], [], {}
    for profile in _there(results, ("sgdr_70_150",)).values():
        t, segment = profile.t, profile.segment
        inside = (t > 0.25 - 1e-6) & (t < 0.75 + 1e-6)
        train, validation = _train(segment), segment.metrics["validation"]["loss"]
        found = _together(
            _compare(LOWER, validation, inside, min), _compare(HIGHER, train, inside, max)
        )
        weaker = _together(
            _compare(_of_the_mean(LOWER), validation, inside, np.mean),
            _compare(_of_the_mean(HIGHER), train, inside, np.mean),
        )
        numbers = _ends_and_inside({"training": train, "validation": validation}, inside)
    needs = ("sgdr_70_150",)
    rule = (
        "over the inner half of the segment (t from 0.25 to 0.75) mean training loss above the "
        "higher end's, mean validation loss below the lower end's"
    )
    beside = "the same against the mean of the two ends, which any concave loss passes"
    return Claim(
        7,
        "The region of the plane between the iterates w70 and w150 corresponds to higher training "
        "loss but lower validation loss than the two iterates.",
        "Between w70 and w150: higher training, lower validation loss",
        3,
        (
            reading(results, needs, found, rule),
            reading(results, needs, weaker, beside, "against the ends' mean", decides=False),
        ),
        numbers,
    )


def _of_the_mean(quantity):
    words = quantity.words.rpartition(", ")[0]
    return quantity._replace(words=f"{words}, of the mean of the ends")


def claim_8(results: Results) -> Claim:
    """No local minima, one basin."""
    needs, found, numbers = ("sgdr_70_150", SURFACE), [], {}
    for profile in _there(results, needs).values():
        losses, slopes = _train(profile.curve), profile.curve.slopes["train"]["loss"]
        for iterate, slope, error in (
            ("w70", slopes.start, slopes.start_error), ("w150", slopes.end, slopes.end_error),
        ):  # fmt: skip
            slope, error = float(slope), float(error)
            numbers |= {f"slope at {iterate}": slope, f"its error at {iterate}": error}
            if iterate in results.gradient_norms:
                numbers[f"gradient norm at {iterate}"] = results.gradient_norms[iterate]
            ends = float(losses[0]), float(losses[-1])
            found.append(measure(SLOPE, iterate, _quotient(slope, error), ends, 0))
    if SURFACE in results.surfaces:
        found.append(_one_basin(results.surfaces[SURFACE], numbers))
    rule = (
        "training loss falls along the curve at both ends by more than its error; some path over "
        "the grid joins them without rising over the higher one by more than 5 %"
    )
    return Claim(
        8,
        "Neither of w70 or w150 are technically a local minimum, nor do they appear to be lying "
        "in different basins.",
        "w70 and w150 are not minima, and share a basin",
        3,
        (reading(results, needs, found, rule),),
        numbers,
    )


def _one_basin(surface: Surface, numbers: dict[str, float]) -> Measurement:
    """The test of the lowest pass; adds what it measured to ``numbers``."""
    lowest, ends, steps = _lowest_pass(surface)
    higher = max(ends)
    numbers |= {"lowest pass between them": lowest, "higher of the two": higher}
    numbers["grid steps between them"] = steps
    rise = lowest - higher
    if steps < CELLS_BETWEEN:
        why = f"the grid has {steps} steps between them; {CELLS_BETWEEN} are needed"
        return Measurement(PASS, "w70, w150", _percent(rise, higher), None, why)
    return measure(PASS, "w70, w150", _percent(rise, higher), ends, rise)


def _lowest_pass(surface: Surface) -> tuple[float, tuple[float, ...], int]:
    """Minimax height between the first two anchors, each at the grid point nearest to it.

    Returns:
      It, the two anchors' losses, and the steps over the grid from one to the other.
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


def claim_9(results: Results) -> Claim:
    """All 21 pairs are connected through G.

    A joined chain consists of the very points of its two curves: nothing is evaluated again.
    """
    accuracy = {
        name: found.curve.metrics["validation"]["accuracy"]
        for name, found in _there(results, PAIRS_WITH_G).items()
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
        (reading(results, PAIRS_WITH_G, found, rule),),
        {},
    )


CLAIMS = (claim_1, claim_2, claim_3, claim_4, claim_5, claim_6, claim_7, claim_8, claim_9)
