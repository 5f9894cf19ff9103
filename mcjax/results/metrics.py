"""Metrics by split and name, and their keys in files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mcjax.typing import Float

Arrays = dict[str, np.ndarray]
"""The arrays of an ``.npz`` file by key."""

Metrics = dict[str, dict[str, np.ndarray]]
"""``metrics[split][name]``; a mean over the split's examples."""

SPLITS = ("train", "validation", "test")
RESERVED = ("params", "point", "curve", "iterate", "arc", "span", "refined", "error", "errors")
"""Names that no split may have: other keys of the files start with them."""
NONE: Mapping[str, Any] = {}  # never modified; a mappingproxy could not be pickled
_Value = TypeVar("_Value")


class Values(NamedTuple):
    """Metrics of some points.

    Attributes:
      metrics: ``metrics[split][name]``, one entry per point.
      l2: squared norms of the points, if known.
      errors: standard errors of ``metrics``, for those on a random sample of the examples.

    >>> found = Values({"train": {"loss": np.array([0.1, 0.4])}}, l2=np.array([4.0, 5.0]))
    >>> found.metrics["train"]["loss"].max().item(), found.l2.max().item()
    (0.4, 5.0)
    """

    metrics: Metrics
    l2: Float[np.ndarray, "*points"] | None = None
    errors: Metrics | None = None

    @classmethod
    def joined(cls, blocks: Sequence[Metrics]) -> "Values":
        """Concatenates the blocks of `mcjax.engine.evaluation.Evaluator.blocks`.

        Args:
          blocks: metrics of a few points each, whose split ``params`` has ``l2``; a split
            ``errors`` has standard errors.

        >>> block = {"train": {"loss": np.array([0.1])}, "params": {"l2": np.array([4.0])}}
        >>> Values.joined([block, block]).l2
        array([4., 4.])
        """
        found = concatenated(blocks)
        errors = unnamed(found.pop("errors")) if "errors" in found else None
        return cls(found, found.pop("params")["l2"], errors)

    @classmethod
    def stacked(cls, rows: Sequence["Values"]) -> "Values":
        """The values of several lists of as many points, each of shape ``[rows, points]``.

        Args:
          rows: of the same metrics.

        >>> one = Values({"train": {"loss": np.array([0.1, 0.9])}})
        >>> Values.stacked([one, one, one]).metrics["train"]["loss"].shape
        (3, 2)
        """

        def stack(each: Sequence[Metrics]) -> Metrics:
            return {
                s: {n: np.stack([x[s][n] for x in each]) for n in m} for s, m in each[0].items()
            }

        squares = [row.l2 for row in rows if row.l2 is not None]
        errors = [row.errors for row in rows if row.errors is not None]
        return cls(
            stack([row.metrics for row in rows]),
            np.stack(squares) if squares else None,
            stack(errors) if errors else None,
        )

    def to_arrays(self) -> Arrays:
        """``SPLIT_METRIC``, ``l2`` and ``error_SPLIT_METRIC``.

        >>> Values({"train": {"loss": np.array([0.1])}}, l2=np.array([4.0])).to_arrays()
        {'train_loss': array([0.1]), 'l2': array([4.])}
        """
        return values_arrays(*self, prefix="")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Values":
        """Inverts `to_arrays` for a list of points.

        >>> Values.from_arrays({"train_loss": np.array([0.1])}).metrics
        {'train': {'loss': array([0.1])}}
        """
        left = dict(arrays)
        return cls(
            take_metrics(left, "", 1), left.pop("l2", None), take_metrics(left, "error_", 1) or None
        )


def concatenated(blocks: Sequence[Metrics]) -> Metrics:
    """Concatenates the metrics of several lists of points, which have the same metrics.

    >>> concatenated([{"train": {"loss": np.array([0.1])}}] * 2)
    {'train': {'loss': array([0.1, 0.1])}}
    """
    return {
        split: {name: np.concatenate([b[split][name] for b in blocks]) for name in metrics}
        for split, metrics in blocks[0].items()
    }


def part(metrics: Metrics, points: slice) -> Metrics:
    """The metrics of some of the points.

    >>> part({"train": {"loss": np.array([0.1, 0.2, 0.3])}}, slice(2))
    {'train': {'loss': array([0.1, 0.2])}}
    """
    return {split: {n: x[points] for n, x in found.items()} for split, found in metrics.items()}


def named(metrics: Mapping[str, Mapping[str, _Value]]) -> dict[str, _Value]:
    """Flattens metrics to the names in flags, figures and files, such as ``train_loss``.

    >>> list(named({"train": {"loss": np.ones(3)}, "validation": {"loss": np.ones(3)}}))
    ['train_loss', 'validation_loss']
    """
    return {f"{split}_{name}": x for split, found in metrics.items() for name, x in found.items()}


def unnamed(by_name: Mapping[str, _Value]) -> dict[str, dict[str, _Value]]:
    """Inverts `named`: returns ``metrics[split][name]``.

    >>> unnamed({"train_loss": 0.1, "train_top5_accuracy": 0.9})
    {'train': {'loss': 0.1, 'top5_accuracy': 0.9}}
    """
    metrics: dict[str, dict[str, _Value]] = {}
    for key, value in by_name.items():
        split, _, name = key.partition("_")
        metrics.setdefault(split, {})[name] = value
    return metrics


def check_splits(names: Iterable[str]) -> None:
    """Checks that names of splits can be parts of keys.

    Raises:
      ValueError: a name is reserved, or has other characters than letters, digits and ``.+=-``.

    >>> check_splits(["train", "noisy=0.1"])
    >>> check_splits(["curve"])
    Traceback (most recent call last):
    ValueError: 'curve' cannot name a split: files have other keys that start so
    """
    for name in names:
        if name in RESERVED:
            raise ValueError(f"{name!r} cannot name a split: files have other keys that start so")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+=-]*", name):
            raise ValueError(f"{name!r} cannot name a split: use letters, digits and .+=-")


def require(arrays: Mapping[str, np.ndarray], keys: Sequence[str], what: str) -> Arrays:
    """Copies the arrays; raises ValueError if a required key is missing."""
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"{what} needs {', '.join(keys)}; {', '.join(missing)} is missing")
    return dict(arrays)


def values_arrays(
    metrics: Metrics,
    l2: Float[np.ndarray, "*points"] | None = None,
    errors: Metrics | None = None,
    *,
    prefix: str,
) -> Arrays:
    """Metrics, squared norms and standard errors by key, with a prefix.

    With other splits than `SPLITS`, the names of all are under the key ``splits``.
    """
    arrays = {f"{prefix}{key}": x for key, x in named(metrics).items()}
    if not metrics.keys() <= {*SPLITS}:
        arrays[f"{prefix}splits"] = np.array(list(metrics))
    arrays |= {} if l2 is None else {f"{prefix}l2": l2}
    return arrays | (values_arrays(errors, prefix=f"{prefix}error_") if errors else {})


def take_metrics(left: Arrays, prefix: str, ndim: int) -> Metrics:
    """Removes the arrays ``PREFIX SPLIT_METRIC`` of ``ndim`` axes from ``left``."""
    starts = tuple(f"{prefix}{split}_" for split in left.pop(f"{prefix}splits", SPLITS))
    keys = [k for k, x in left.items() if k.startswith(starts) and np.ndim(x) == ndim]
    return unnamed({key.removeprefix(prefix): left.pop(key) for key in keys})
