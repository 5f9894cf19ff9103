"""Whether a network trained, and marking the run of one that did not as failed."""

from typing import Any, NoReturn

import numpy as np
import scipy

from ..cli import RunFailed, say
from ..runs import Run, Status
from .problem import Problem

CHANCE_LEVEL = 1e-3
"""Significance level of the test that an accuracy is above chance."""


def failure(problem: Problem, final: dict[str, dict[str, Any]], network: str) -> str | None:
    """Why a network did not train, or None if it did.

    Args:
      problem: its problem.
      final: its metrics, by split and name.
      network: what to call it in the message, such as "the last epoch's network".
    """
    losses = [m["loss"] for m in final.values() if "loss" in m]
    if not np.isfinite(losses).all():
        return f"the loss of {network} is not finite: {losses}"
    accuracy = final["train"].get("accuracy")
    return None if accuracy is None else chance_failure(problem, accuracy, network)


def chance_failure(problem: Problem, accuracy: float, network: str) -> str | None:
    """Why a network with this accuracy did not train, or None if it did.

    Args:
      problem: its problem.
      accuracy: on the training split, from 0 to 1.
      network: what to call it in the message, such as "the middle of the curve".
    """
    labels = problem.dataset.train.labels
    if is_above_chance(labels, accuracy):
        return None
    share = np.bincount(labels).max() / len(labels)
    return (
        f"training accuracy {100 * accuracy:.1f} % of {network} is at chance (the most frequent "
        f"label has {100 * share:.1f} % of {len(labels)} examples): it did not train"
    )


def is_above_chance(labels: np.ndarray, accuracy: float) -> bool:
    """Whether guesses independent of the images reach an accuracy with probability below 0.001.

    Let ``p`` and ``q`` be the shares of the most and the second most frequent label. The
    probability that ``k`` of ``n`` such guesses are right is at most ``P(Binomial(n, p) >= k)``
    (Hoeffding, 1956), and at most ``(q / p)^(k - n p)``: a guess other than the most frequent
    label gains an example with probability at most ``q`` and loses one with ``p`` (Chernoff
    bound). The first bound is tighter for balanced classes, the second if one class dominates. A
    constant network never exceeds ``p``, so it is at chance.

    Args:
      labels: integers ``[n]`` of the split.
      accuracy: on that split; NaN is at chance.
    """
    n = len(labels)
    first, second = np.sort(np.append(np.bincount(labels), 0))[:-3:-1]
    right = np.rint(accuracy * n)
    luck = min(
        scipy.special.bdtrc(right - 1, n, first / n), (second / first) ** max(right - first, 0)
    )
    return bool(luck < CHANCE_LEVEL)


def mark_failed(run: Run, reason: str) -> str:
    """Marks a run failed and prints a warning; returns the message for `RunFailed`."""
    run.move_to(Status.FAILED, reason=reason)
    say(f"*** {run.path} FAILED: {reason} ***")
    return f"{run.path}: {reason}"


def fail(run: Run, reason: str) -> NoReturn:
    """Marks a run failed, prints a warning, and raises RunFailed."""
    raise RunFailed(mark_failed(run, reason))
