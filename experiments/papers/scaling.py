"""Scales a run's epochs: length, schedule and kept epochs together (``--epochs_factor``)."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from mcjax.engine import schedules

from ..cli import CurveConfig, ModeConfig

C = TypeVar("C", ModeConfig, CurveConfig)


def scale_epochs(config: C, factor: float) -> tuple[C, dict[int, int]]:
    """Multiplies every epoch count of a run by ``factor``; none falls below 1.

    T_0 and the milestones are rounded to whole epochs first. Restarts and kept epochs follow from
    them, so a kept epoch that was the last before a restart still is.

    Args:
      config: a mode's or curve's flags.
      factor: positive.

    Returns:
      The scaled flags, and the scaled epoch for each kept or evaluated epoch and the last one.
    """
    convert = _converter(config, factor)
    changes = {
        "epochs": convert(config.epochs),
        "keep": tuple(sorted({convert(e) for e in config.keep})),
        "sgdr_t0": _at_least_one(config.sgdr_t0 * factor),
        "milestones": tuple(_at_least_one(m * factor) for m in config.milestones),
    }
    named = {config.epochs, *config.keep}
    if isinstance(config, CurveConfig):
        changes["eval_epochs"] = tuple(sorted({convert(e) for e in config.eval_epochs}))
        named |= set(config.eval_epochs)
    return dataclasses.replace(config, **changes), {e: convert(e) for e in sorted(named)}


def _converter(config: ModeConfig | CurveConfig, factor: float) -> Callable[[int], int]:
    """Returns the function that scales an epoch."""
    scaled = lambda epochs: _at_least_one(epochs * factor)  # noqa: E731
    if config.schedule == "sgdr":
        t0, mult = config.sgdr_t0, config.sgdr_mult
        count = len(schedules.sgdr_periods(config.epochs, t0, mult))
        ends = lambda first: [first * sum(mult**i for i in range(n + 1)) for n in range(count)]  # noqa: E731
        there, here = [0, *ends(t0)], [0, *ends(scaled(t0))]

        def within_period(epoch: int) -> int:
            period = next(i for i, end in enumerate(there) if epoch <= end)
            if period == 0:
                return 0
            along = (epoch - there[period - 1]) / (there[period] - there[period - 1])
            return max(1, here[period - 1] + round(along * (here[period] - here[period - 1])))

        return within_period
    if config.schedule == "step" and config.milestones:

        def around_milestone(epoch: int) -> int:
            nearest = min(config.milestones, key=lambda m: abs(m - epoch))
            offset = epoch - nearest
            distance = _at_least_one(abs(offset) * factor) if offset else 0
            return max(1, scaled(nearest) + (distance if offset > 0 else -distance))

        return around_milestone
    return scaled


def _at_least_one(x: float) -> int:
    return max(1, round(x))
