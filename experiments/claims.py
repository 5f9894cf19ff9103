"""The paper's claims, judged by numbers; nothing here is written by hand but the thresholds.

Each ``claim_N`` takes the arrays of finished runs and gives a `Claim`. What cannot be computed
since a run is missing is ``not testable``.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mcjax import barriers

MODES = "ABCDEF"
SGDR = ("sgdr_30_70", "sgdr_70_150", "sgdr_30_150")
STEP = ("step_55_65", "step_145_165", "step_55_165")

ACCURACY_MARGIN = 0.02
"""Claims 1, 2 and 9: how far below the lower end the curve's accuracy may fall."""
BARRIER_SHARE = 0.05
"""Claims 3, 4 and 8: a barrier is a height above this share of the higher end's loss."""
CHORD_SHARE = 0.25
"""Claim 4: "almost linearly": the excess over the chord in shares of the ends' difference."""
TINY_LOSS = 1e-3
"""Where both ends are below this, a height must also exceed it."""
CELLS_BETWEEN = 4
"""Claim 8: grid steps from one iterate to the other, without which a grid shows no basin."""

REPRODUCED, NOT_REPRODUCED, NOT_TESTABLE = "reproduced", "not reproduced", "not testable"


class Results(NamedTuple):
    """What the runs of one repetition left.

    Attributes:
      curves: arrays of ``curve.npz`` by run; ``GA@20`` for an earlier epoch.
      surfaces: arrays of ``surface.npz`` by run.
      missing: why a run is not there, in words.
      gradient_norms: norm of the training loss's gradient, by iterate (``w70``, ``w150``).
    """

    curves: Mapping[str, Mapping[str, np.ndarray]]
    surfaces: Mapping[str, Mapping[str, np.ndarray]]
    missing: Mapping[str, str]
    gradient_norms: Mapping[str, float]


class Claim(NamedTuple):
    """A verdict and what it rests on.

    Attributes:
      number: as in the paper's list.
      words: what the paper says.
      verdict: ``reproduced``, ``not reproduced`` or ``not testable``.
      threshold: the rule of judgement.
      numbers: what was measured, by name.
      why: what is missing, or what speaks for a negative result; may be empty.
    """

    number: int
    words: str
    verdict: str
    threshold: str
    numbers: dict[str, Any]
    why: str = ""


def judge(results: Results) -> list[Claim]:
    """All nine claims."""
    return [claim(results) for claim in CLAIMS]


def _claim(number: int, words: str, threshold: str, needs: tuple[str, ...], partly: bool = False):
    """Turns a measurement ``results -> (holds, numbers, why)`` into a claim.

    ``holds`` is None where the runs are there and yet cannot tell. With ``partly`` it measures
    what is there of ``needs``: what refutes the claim refutes it whatever else is missing, and
    what is measured is reported.
    """

    def decorate(measure: Callable[[Results], tuple[bool | None, dict[str, Any], str]]):
        def judged(results: Results) -> Claim:
            have = {*results.curves, *results.surfaces}
            absent = [n for n in needs if n not in have]
            lacking = "; ".join(f"{n}: {results.missing.get(n, 'not run')}" for n in absent)
            if len(absent) == len(needs) or (absent and not partly):
                return Claim(number, words, NOT_TESTABLE, threshold, {}, lacking)
            holds, numbers, why = measure(results)
            if holds is None or (holds and absent):
                reason = why if holds is None else lacking
                return Claim(number, words, NOT_TESTABLE, threshold, numbers, reason)
            verdict = REPRODUCED if holds else NOT_REPRODUCED
            return Claim(number, words, verdict, threshold, numbers, "" if holds else why)

        return judged

    return decorate


def _below_lower_end(arrays) -> float:
    """How far the lowest validation accuracy lies below the lower end's."""
    accuracy = arrays["curve_validation_accuracy"]
    return float(min(accuracy[0], accuracy[-1]) - accuracy.min())


def _drops_of_pairs_with_g(results, suffix):
    found = {f"G{m}": results.curves.get(f"G{m}{suffix}") for m in MODES}
    return {name: _below_lower_end(arrays) for name, arrays in found.items() if arrays is not None}


def _connected(results, suffix):
    drops = _drops_of_pairs_with_g(results, suffix)
    worst = max(drops, key=lambda k: drops[k])
    numbers = {f"accuracy below the lower end, {k}": v for k, v in drops.items()}
    why = f"{worst} falls {100 * drops[worst]:.1f} points below its lower end"
    return max(drops.values()) <= ACCURACY_MARGIN, numbers, why


@_claim(
    1,
    "For each of the 6 pairs we can find a curve such that each point on it generalizes almost as "
    "well as models from the pair that is being connected.",
    f"lowest validation accuracy at most {100 * ACCURACY_MARGIN:.0f} points below the lower end",
    tuple(f"G{m}" for m in MODES),
    partly=True,
)
def claim_1(results):
    """All six pairs are connected."""
    return _connected(results, "")


@_claim(
    2,
    "Within a few epochs of the curve training.",
    f"claim 1's test at curve epoch 20: at most {100 * ACCURACY_MARGIN:.0f} points",
    tuple(f"G{m}@20" for m in MODES),
    partly=True,
)
def claim_2(results):
    """The same at curve epoch 20."""
    return _connected(results, "@20")


def _height(results, pair):
    """Training-loss height of a segment over its higher end, that end's loss, and the test."""
    arrays = results.curves[pair]
    losses = arrays["segment_train_loss"]
    height = float(arrays["segment_train_loss_over_max"])
    higher = float(max(losses[0], losses[-1]))
    needed = (
        BARRIER_SHARE * higher if higher >= TINY_LOSS else max(BARRIER_SHARE * higher, TINY_LOSS)
    )
    return height, higher, height > needed


@_claim(
    3,
    "For the pairs {w30, w150} and {w70, w150} the training loss for points on the line segment is "
    "much higher than the endpoints suggesting that SGDR indeed finds paths that move over a "
    "barrier.",
    f"height over the higher end above {100 * BARRIER_SHARE:.0f} % of that end's loss, both pairs",
    ("sgdr_30_150", "sgdr_70_150"),
    partly=True,
)
def claim_3(results):
    """SGDR crosses a barrier."""
    numbers, crossed = {}, {}
    for pair in [p for p in SGDR if p in results.curves]:
        height, higher, crossed[pair] = _height(results, pair)
        numbers |= {
            f"height, {pair}": height,
            f"higher end, {pair}": higher,
            f"height above zero, {pair}": height > 0,
        }
    without = [p for p in ("sgdr_30_150", "sgdr_70_150") if not crossed.get(p, True)]
    return not without, numbers, f"no barrier on {' and '.join(without)}"


@_claim(
    4,
    "For SGD none of the three pairs show evidence of having a training loss barrier on the line "
    "segment joining them. Instead there seems to be an almost linear decrease of training loss.",
    "no barrier by claim 3's test on any pair, and the largest excess over the chord under "
    f"{100 * CHORD_SHARE:.0f} % of the ends' difference (or under {TINY_LOSS:g}, where both ends "
    "are)",
    STEP,
    partly=True,
)
def claim_4(results):
    """Plain SGD crosses none, and the loss falls almost linearly."""
    numbers, wrong = {}, []
    for pair in [p for p in STEP if p in results.curves]:
        arrays = results.curves[pair]
        losses = arrays["segment_train_loss"]
        height, higher, crossed = _height(results, pair)
        excess = float(arrays["segment_train_loss_over_chord"])
        difference = float(abs(losses[0] - losses[-1]))
        numbers |= {
            f"height, {pair}": height,
            f"higher end, {pair}": higher,
            f"excess over the chord, {pair}": excess,
            f"difference of the ends, {pair}": difference,
        }
        if crossed or not np.isfinite(height):
            wrong.append(f"a barrier on {pair}")
        allowed = CHORD_SHARE * difference
        if not excess <= (max(allowed, TINY_LOSS) if higher < TINY_LOSS else allowed):
            wrong.append(f"the loss bulges over the chord of {pair}")
    return not wrong, numbers, "; ".join(wrong)


@_claim(
    5,
    "The path found by mode connectivity corresponds to lower training loss than the loss at the "
    "iterates that SGDR converges to, L(w150) > L(w70-150).",
    "training loss at w150 above that at theta",
    ("sgdr_70_150",),
)
def claim_5(results):
    """The bend lies lower than the iterates."""
    losses = results.curves["sgdr_70_150"]["curve_train_loss"]
    w70, theta, w150 = (float(losses[i]) for i in (0, len(losses) // 2, -1))
    numbers = {"L(w70)": w70, "L(theta)": theta, "L(w150)": w150}
    return w150 > theta, numbers, "theta has the higher training loss"


@_claim(
    6,
    "Models on this curve seem to overfit and not generalize as well as the iterates.",
    "mean validation loss over the inner points above the higher end, mean training loss below the "
    "lower end",
    ("sgdr_70_150",),
)
def claim_6(results):
    """Points on the curve overfit."""
    arrays = results.curves["sgdr_70_150"]
    train, validation = arrays["curve_train_loss"], arrays["curve_validation_loss"]
    numbers = _ends_and_inside("training", train) | _ends_and_inside("validation", validation)
    higher, lower = max(validation[0], validation[-1]), min(train[0], train[-1])
    wrong = []
    if not validation[1:-1].mean() > higher:
        wrong.append("the validation loss on the curve is not above the higher end's")
    if not train[1:-1].mean() < lower:
        wrong.append("the training loss on the curve is not below the lower end's")
    return not wrong, numbers, "; ".join(wrong)


@_claim(
    7,
    "The region of the plane between the iterates w70 and w150 corresponds to higher training loss "
    "but lower validation loss than the two iterates.",
    "along the segment: mean training loss above, mean validation loss below the mean of the ends",
    ("sgdr_70_150",),
)
def claim_7(results):
    """Between the iterates: higher training, lower validation loss."""
    arrays = results.curves["sgdr_70_150"]
    train, validation = arrays["segment_train_loss"], arrays["segment_validation_loss"]
    numbers = _ends_and_inside("training", train) | _ends_and_inside("validation", validation)
    wrong = []
    if not train[1:-1].mean() > (train[0] + train[-1]) / 2:
        wrong.append("the training loss inside is not above the mean of the ends")
    if not validation[1:-1].mean() < (validation[0] + validation[-1]) / 2:
        wrong.append("the validation loss inside is not below the mean of the ends")
    return not wrong, numbers, "; ".join(wrong)


def _ends_and_inside(name, losses):
    return {
        f"{name} loss at the start": float(losses[0]),
        f"{name} loss at the end": float(losses[-1]),
        f"mean {name} loss inside": float(losses[1:-1].mean()),
    }


@_claim(
    8,
    "Neither of w70 or w150 are technically a local minimum, nor do they appear to be lying in "
    "different basins.",
    "training loss falls along the curve at both ends by more than its error; some path over the "
    f"grid joins them without rising over the higher one by more than {100 * BARRIER_SHARE:.0f} %",
    ("sgdr_70_150", "surface_70_150"),
)
def claim_8(results):
    """No local minima, one basin."""
    arrays, numbers, wrong = results.curves["sgdr_70_150"], {}, []
    for iterate, end in (("w70", "start"), ("w150", "end")):
        slope = float(arrays[f"curve_train_loss_{end}_slope"])
        error = float(arrays[f"curve_train_loss_{end}_slope_error"])
        numbers |= {f"slope at {iterate}": slope, f"its error at {iterate}": error}
        if iterate in results.gradient_norms:
            numbers[f"gradient norm at {iterate}"] = results.gradient_norms[iterate]
        if not slope < -error:
            wrong.append(f"the training loss does not fall from {iterate} along the curve")
    lowest, higher, steps = _lowest_pass(results.surfaces["surface_70_150"])
    numbers |= {"lowest pass between them": lowest, "higher of the two": higher}
    numbers["grid steps between them"] = steps
    if not wrong and steps < CELLS_BETWEEN:
        return None, numbers, f"the grid has {steps} steps between them; {CELLS_BETWEEN} are needed"
    if lowest - higher > max(BARRIER_SHARE * higher, TINY_LOSS if higher < TINY_LOSS else 0):
        wrong.append("every path over the grid crosses a barrier")
    return not wrong, numbers, "; ".join(wrong)


def _lowest_pass(surface):
    """Minimax height between the first two anchors, each at the grid point nearest to it.

    Returns:
      It, the higher anchor's loss, and the steps over the grid from one to the other.
    """
    at = [
        (int(np.abs(surface["y"] - y).argmin()), int(np.abs(surface["x"] - x).argmin()))
        for x, y in surface["point_xy"][:2]
    ]
    losses = np.array(surface["train_loss"])
    ends = surface["point_train_loss"][:2]
    for where, loss in zip(at, ends, strict=True):
        losses[where] = loss
    steps = max(abs(a - b) for a, b in zip(*at, strict=True))
    return barriers.minimax_height(losses, *at), float(max(ends)), steps


@_claim(
    9,
    "There exists a high accuracy connecting curve (albeit with multiple bends) for each of the "
    "21 pairs of modes.",
    "claim 1's test on the chains X, theta_GX, G, theta_GY, Y",
    tuple(f"G{m}" for m in MODES),
    partly=True,
)
def claim_9(results):
    """All 21 pairs are connected through G.

    A joined chain consists of the very points of its two curves: nothing is evaluated anew.
    """
    drops = _drops_of_pairs_with_g(results, "")
    for a, b in itertools.combinations([m for m in MODES if f"G{m}" in drops], 2):
        first, second = (results.curves[f"G{m}"]["curve_validation_accuracy"] for m in (a, b))
        joined = np.concatenate([first[::-1], second[1:]])
        drops[a + b] = _below_lower_end({"curve_validation_accuracy": joined})
    worst = max(drops, key=lambda k: drops[k])
    numbers = {f"accuracy below the lower end, {k}": v for k, v in drops.items()}
    why = f"{worst} falls {100 * drops[worst]:.1f} points below its lower end"
    return max(drops.values()) <= ACCURACY_MARGIN, numbers, why


CLAIMS = (claim_1, claim_2, claim_3, claim_4, claim_5, claim_6, claim_7, claim_8, claim_9)
