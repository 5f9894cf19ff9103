"""Ensembles: predictions averaged over networks, their accuracy and their calibration.

The networks may be points of a curve, its ends, or independent modes (Garipov et al., 2018). Their
softmax probabilities are averaged in float64 and kept as logarithms, so that tiny ones keep their
digits.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves
from mcjax.engine import evaluation
from mcjax.typing import ArrayLike, Float, Num


class Metrics(NamedTuple):
    """How good predictions are over the examples of a split.

    Attributes:
      accuracy: share of examples whose most probable class is the label.
      nll: mean negative log-likelihood of the label, in nats.
      ece: expected calibration error of the most probable class, from 0 to 1.

    >>> metrics(np.log([[0.75, 0.25]]), np.array([0]))._asdict()["ece"]
    0.25
    """

    accuracy: float
    nll: float
    ece: float


def members(
    evaluator: evaluation.Evaluator,
    control_points: Sequence[Any],
    coefficients: Num[ArrayLike, "points k"] | Sequence[Sequence[float]],
    state: Any,
    split: str,
) -> Iterator[Float[np.ndarray, "examples classes"]]:
    """Predictions of points, one at a time, with batch-norm statistics from the evaluator.

    Args:
      evaluator: for the network and data.
      control_points: K parameter pytrees.
      coefficients: ``[P, K]``, a row per point.
      state: the network's state.
      split: one of the evaluator's.

    Yields:
      A point's log-probabilities in float64.

    Raises:
      ValueError: the evaluator's objective has no logits, or the control points do not match each
        other or the number of coefficients.

    >>> from mcjax.analysis import toy
    >>> one, other = members(toy.evaluator(), [toy.A, toy.B], np.eye(2), {}, "train")
    >>> one.shape, bool(np.allclose(one, other))  # two networks that predict the same
    ((4, 2), True)
    """
    rows = np.asarray(coefficients, np.float32)
    for found in logits(evaluator, control_points, rows, state, (split,)):
        yield log_probabilities(found[split])


def logits(
    evaluator: evaluation.Evaluator,
    control_points: Sequence[Any],
    coefficients: Any,
    state: Any,
    splits: Sequence[str],
) -> Iterator[dict[str, np.ndarray]]:
    """The logits of points, one at a time, with batch-norm statistics from the evaluator.

    Args:
      evaluator: for the network and data.
      control_points: K parameter pytrees.
      coefficients: an array ``[P, K]``, or a pytree prefix with such arrays.
      state: the network's state.
      splits: some of the evaluator's.

    Yields:
      A point's logits ``[examples, classes]`` by split.

    Raises:
      ValueError: as `members`.

    >>> from mcjax.analysis import toy
    >>> (middle,) = logits(toy.evaluator(), [toy.A, toy.B], np.array([[0.5, 0.5]]), {}, ["train"])
    >>> middle["train"].tolist()
    [[0.0, -0.0], [0.0, -0.0], [-0.0, 0.0], [-0.0, 0.0]]
    """
    combine = jax.jit(curves.combine)
    rows = jax.tree.map(lambda x: np.asarray(x, np.float32), coefficients)
    for number in range(len(jax.tree.leaves(rows)[0])):
        row = jax.tree.map(lambda x: x[number], rows)  # noqa: B023
        params = combine(tuple(control_points), row)
        here = evaluator.statistics(params, state)
        yield {s: np.asarray(evaluator.logits(params, here, s)) for s in splits}


def log_probabilities(
    logits: Any,
) -> Float[np.ndarray, "*batch classes"]:
    """The logarithm of the softmax of logits ``[..., classes]``, in float64.

    >>> np.exp(log_probabilities(np.log([[1.0, 3.0]])))
    array([[0.25, 0.75]])
    """
    logits = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, without a warning
        largest = logits.argmax(axis=-1)[..., None]
        logits = logits - np.take_along_axis(logits, largest, axis=-1)
        others = np.exp(logits)
        np.put_along_axis(others, largest, 0, axis=-1)
        return logits - np.log1p(others.sum(axis=-1, keepdims=True))


def averages(
    predictions: Iterable[Float[np.ndarray, "examples classes"]],
    groups: Mapping[str, Collection[int]],
) -> dict[str, Float[np.ndarray, "examples classes"]]:
    """The averaged predictions of several ensembles over the same networks.

    Args:
      predictions: log-probabilities of each network, as from `members`; one is in memory at a time.
      groups: by ensemble, indices of its networks.

    Returns:
      By ensemble, the logarithm of its mean probabilities.

    Raises:
      ValueError: a group is empty, or has an index twice or one out of range.

    >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    >>> np.exp(averages([sure, unsure], {"both": [0, 1]})["both"]).round(3)
    array([[0.7, 0.3]])
    """
    totals: dict[str, np.ndarray] = {}
    number = -1
    for number, one in enumerate(predictions):
        for name in (name for name, group in groups.items() if number in group):
            totals[name] = np.logaddexp(totals[name], one) if name in totals else one
    for name, group in groups.items():
        if sorted(group) != sorted(set(group) & set(range(number + 1))) or not group:
            raise ValueError(f"ensemble {name!r} of networks {list(group)}: there are {number + 1}")
    return {name: totals[name] - np.log(len(group)) for name, group in groups.items()}


def metrics(log_probabilities: Num[np.ndarray, "..."], labels: Any, bins: int = 15) -> Metrics:
    """Accuracy, likelihood and calibration of predictions.

    The calibration error is that of Guo et al. (2017): examples are sorted by the probability of
    their most probable class into ``bins`` intervals ``(i / bins, (i + 1) / bins]``, and the gaps
    between mean probability and accuracy in each are averaged, weighted by its examples.

    Args:
      log_probabilities: ``[examples, classes]``.
      labels: ``[examples]``.
      bins: number of intervals for the calibration error.

    Raises:
      ValueError: the shapes do not match, or there are no examples or bins.

    >>> metrics(np.log([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]), bins=4)
    Metrics(accuracy=0.5, nll=0.836..., ece=0.25)
    """
    labels = np.asarray(labels)
    if log_probabilities.ndim != 2 or labels.shape != (len(log_probabilities),) or not labels.size:
        raise ValueError(
            f"log_probabilities {log_probabilities.shape} and labels {labels.shape}: expected "
            "[examples, classes] and [examples], at least one"
        )
    if bins < 1:
        raise ValueError(f"bins={bins}: use 1 or more")
    losses = -log_probabilities[np.arange(len(labels)), labels]
    # As in `mcjax.flax.objective.cross_entropy`: a broken network is not right by chance.
    right = (log_probabilities.argmax(axis=1) == labels) & np.isfinite(losses)
    confidence = np.exp(log_probabilities.max(axis=1))
    interval = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    gaps = np.bincount(interval, weights=right - confidence)
    return Metrics(
        right.mean().item(), losses.mean().item(), np.abs(gaps).sum().item() / len(labels)
    )
