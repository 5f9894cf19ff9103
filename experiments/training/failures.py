"""Whether a network trained, and what happens to the run of one that did not."""

from typing import Any, NoReturn

import numpy as np
from scipy import special

from ..cli import RunFailed, say
from ..runs import Run, Status
from .problem import Problem

CHANCE_LEVEL = 1e-3


def failure(problem: Problem, final: dict[str, dict[str, Any]], network: str) -> str | None:
    """Why a network with these metrics did not train, in words about ``network``, or None."""
    losses = [m["loss"] for m in final.values() if "loss" in m]
    if not np.isfinite(losses).all():
        return f"the loss of {network} is not finite: {losses}"
    accuracy = final["train"].get("accuracy")
    return None if accuracy is None else chance_failure(problem, accuracy, network)


def chance_failure(problem: Problem, accuracy: float, network: str) -> str | None:
    """Why a network with this training accuracy did not train, in words, or None.

    Args:
      problem: its data.
      accuracy: on the training split.
      network: which network, for the words: "the last epoch's network".
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
    """Whether answers that do not depend on the images reach an accuracy in less than 1 of 1,000.

    Let ``p`` and ``q`` be the shares of the most and the second most frequent label. The
    probability that ``k`` of ``n`` such answers are right is at most ``P(Binomial(n, p) >= k)``
    (Hoeffding, 1956), and at most ``(q / p)^(k - n p)``: answers other than the most frequent
    label gain an example with a probability of at most ``q`` and lose one with ``p`` (Chernoff's
    bound). The first decides where classes are balanced, the second where one dominates. A
    constant network never exceeds ``p`` and is at chance.

    Args:
      labels: integers ``[n]`` of the split.
      accuracy: on that split; NaN is at chance.
    """
    n = len(labels)
    first, second = np.sort(np.append(np.bincount(labels), 0))[:-3:-1]
    right = np.rint(accuracy * n)
    luck = min(special.bdtrc(right - 1, n, first / n), (second / first) ** max(right - first, 0))
    return bool(luck < CHANCE_LEVEL)


def mark_failed(run: Run, reason: str) -> str:
    """Marks a run failed and says so; returns the run and the reason in words."""
    run.move_to(Status.FAILED, reason=reason)
    say(f"*** {run.path} FAILED: {reason} ***")
    return f"{run.path}: {reason}"


def fail(run: Run, reason: str) -> NoReturn:
    """Marks a run failed, says so, and raises RunFailed."""
    raise RunFailed(mark_failed(run, reason))
