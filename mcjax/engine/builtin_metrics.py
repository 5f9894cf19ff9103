"""Metrics that can be requested by name: accuracy, top-k, calibration, perplexity ...

All but perplexity are for classifiers: logits ``[batch, classes]`` and integer ``batch["labels"]``.
A prediction whose loss is not finite is wrong, as in `mcjax.engine.classification.sums`.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import spelling
from mcjax.engine.metrics import Means, Metric, Values
from mcjax.engine.objectives import exact_cross_entropy
from mcjax.typing import Array, Bool, Float, Integer

BINS = 15
"""Equally wide bins of the calibration error (Guo et al., 2017)."""


def error(logits: Any, batch: Any) -> Float[Array, " batch"]:
    """One for a wrong prediction, zero for a right one.

    >>> logits, batch = np.float32([[2, 1], [3, 1]]), {"labels": np.array([0, 1])}
    >>> jax.jit(error)(logits, batch).tolist()
    [0.0, 1.0]
    """
    return 1 - _within(logits, _labels(logits, batch), 1).astype(jnp.float32)


def top_k_accuracy(k: int) -> Metric:
    """The share of examples whose label is among the ``k`` largest logits; ties as in argmax.

    Args:
      k: one or more.

    >>> logits, batch = np.float32([[2, 1], [3, 1]]), {"labels": np.array([0, 1])}
    >>> jax.jit(top_k_accuracy(2).values)(logits, batch).tolist()
    [True, True]
    """
    name = f"top{k}_accuracy"

    def values(logits: Any, batch: Any) -> Bool[Array, " batch"]:
        labels = _labels(logits, batch)
        if k > logits.shape[1]:
            raise ValueError(f"there are only {logits.shape[1]} classes")
        return _within(logits, labels, k)

    return Metric(name, values)


def calibration_error(bins: int = BINS) -> Metric:
    """The expected calibration error ``ece`` (Guo et al., 2017, equation 3).

    Examples are sorted by the probability of their most probable class into intervals
    ``(i / bins, (i + 1) / bins]``. The gaps between accuracy and mean probability in each are
    averaged, weighted by its examples. The values are the gaps in the bin of each example.

    Args:
      bins: number of intervals.

    >>> logits, batch = np.float32([[2, 1], [3, 1]]), {"labels": np.array([0, 1])}
    >>> metric = calibration_error(bins=2)  # all probabilities are above a half
    >>> gaps = jax.jit(metric.values)(logits, batch)
    >>> metric.finish({"ece": np.asarray(gaps, float).mean(axis=0)[None]}).round(2)
    array([0.31])
    """

    def values(logits: Any, batch: Any) -> Float[Array, "batch bins"]:
        right = _within(logits, _labels(logits, batch), 1)
        confidence = jnp.max(jax.nn.softmax(logits), axis=-1)
        edges = jnp.arange(1, bins, dtype=confidence.dtype) / bins
        number = jnp.sum(confidence[:, None] > edges[None], axis=1)
        gap = right.astype(confidence.dtype) - confidence
        return jax.nn.one_hot(number, bins, dtype=gap.dtype) * gap[:, None]

    return Metric("ece", values, lambda means: np.abs(means["ece"]).sum(axis=-1))


def class_accuracy(logits: Any, batch: Any) -> dict[str, Float[Array, "batch classes"]]:
    """The accuracy on the examples of each class, from counts by class.

    >>> logits, batch = np.float32([[2, 1], [3, 1]]), {"labels": np.array([0, 1])}
    >>> jax.jit(class_accuracy)(logits, batch)["right"].tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    labels = _labels(logits, batch)
    actual = jax.nn.one_hot(labels, logits.shape[1])
    right = _within(logits, labels, 1).astype(actual.dtype)
    return {"actual": actual, "right": actual * right[:, None]}


def _of_classes(means: Means) -> Means:
    """``class_0_accuracy`` and so on; NaN for a class without examples."""
    with np.errstate(invalid="ignore"):
        accuracy = means["right"] / means["actual"]
    return {f"class_{k}_accuracy": of_class for k, of_class in enumerate(accuracy.T)}


def perplexity(means: Means) -> Float[np.ndarray, " points"]:
    """The exponential of the mean loss: of the mean over tokens, for a language model.

    >>> perplexity({"loss": np.log([4.0, 10.0])})
    array([ 4., 10.])
    """
    if "loss" not in means:
        raise ValueError("the objective measures no loss")
    with np.errstate(over="ignore"):
        return np.exp(means["loss"])


ACCURACY = Metric("accuracy", top_k_accuracy(1).values)
BUILT_IN = {
    "accuracy": ACCURACY,
    "error": Metric("error", error),
    "ece": calibration_error(),
    "class_accuracy": Metric("class_accuracy", class_accuracy, _of_classes),
    "perplexity": Metric("perplexity", None, perplexity),
}
NAMES = (*BUILT_IN, "top5_accuracy (any k)")

Given = str | Metric | Values
"""The name of a built-in metric, a `mcjax.engine.metrics.Metric`, or a function with a name."""


def find(given: Given) -> Metric:
    """The metric that is meant.

    Raises:
      ValueError: there is no built-in metric of this name, or a function has no name.

    >>> find("top5_accuracy").name
    'top5_accuracy'
    """
    if isinstance(given, Metric):
        return given
    if not isinstance(given, str):
        name = getattr(given, "__name__", "")
        if not callable(given) or not name.isidentifier():
            raise ValueError(
                f"metric {given!r}: give the name of a built-in metric, a function with a name, or "
                "mcjax.engine.metrics.Metric(name, function)"
            )
        return Metric(name, given)
    if k := re.fullmatch(r"top([1-9]\d*)_accuracy", given):
        return top_k_accuracy(int(k[1]))
    if given not in BUILT_IN:
        raise ValueError(f"there is no metric {given!r}: {spelling.hint(given, NAMES)}")
    return BUILT_IN[given]


def find_all(given: Given | Sequence[Given]) -> list[Metric]:
    """The metrics that are meant; a single one need not be in a list.

    Raises:
      ValueError: as `find`.

    >>> [metric.name for metric in find_all(["ece", "top5_accuracy"])]
    ['ece', 'top5_accuracy']
    """
    is_list = isinstance(given, Sequence) and not isinstance(given, str | Metric)
    return [find(one) for one in (given if is_list else [given])]


def _labels(logits: Any, batch: Any) -> Integer[Array, " batch"]:
    """A classifier's labels.

    Raises:
      ValueError: this is not a classifier.
    """
    labels = batch.get("labels") if isinstance(batch, dict) else None
    if labels is None or logits.ndim != 2:
        raise ValueError(
            f"logits {list(logits.shape)}{'' if labels is None else ' and labels'}: this metric is "
            'for classifiers, logits [batch, classes] with batch["labels"]'
        )
    if labels.shape != logits.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels {labels.dtype}{list(labels.shape)}: expected integers {list(logits.shape[:1])}"
        )
    return labels


def _within(
    logits: Float[Array, "batch classes"], labels: Integer[Array, " batch"], k: int
) -> Bool[Array, " batch"]:
    """Whether the label is among the ``k`` largest logits; of equal ones the first class wins."""
    own = jnp.take_along_axis(logits, labels[:, None], axis=1, mode="fill")
    earlier = jnp.arange(logits.shape[1])[None] < labels.astype(jnp.int32)[:, None]
    above = (logits > own) | ((logits == own) & earlier)
    return (jnp.sum(above, axis=1) < k) & jnp.isfinite(exact_cross_entropy(logits, labels))
