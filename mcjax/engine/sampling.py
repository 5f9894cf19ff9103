"""Metrics on a random sample of the examples, with standard errors: cheaper points.

>>> import jax.numpy as jnp
>>> numbers = np.random.default_rng(0).gamma(2.0, size=5000).astype(np.float32)
>>> def fetch(data, rows, examples, weight, key):
...     return {"x": data[rows], "weight": weight}
>>> scaled = objectives.from_loss(lambda w, batch: jnp.mean(w * batch["x"]))
>>> mesh = parallel.make_mesh(jax.devices()[:1])
>>> whole = evaluation.Evaluator(scaled, fetch, {"train": jnp.array(numbers)}, mesh)
>>> found = Sampled(whole, 1000)([jnp.float32(1)], [[1.0], [2.0]], {})
>>> found["train"]["loss"].round(2), found["errors"]["train_loss"].round(2)
(array([2.07, 4.15]), array([0.04, 0.09]))
>>> whole([jnp.float32(1)], [[1.0], [2.0]], {})["train"]["loss"].round(2)
array([2.03, 4.06])
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mcjax.engine import checks, evaluation, objectives, parallel, streams
from mcjax.results import Metrics, concatenated, named, part
from mcjax.results.ranges import is_loss
from mcjax.typing import Array, Bool, Float, Int, PyTree, Shaped

BATCHES = 20
"""Batches of a sample, at least: the standard errors are from the spread between them."""
LEAST = 2 * BATCHES
"""Examples of a sample, at least."""
CONFIDENCE = 3
"""Standard errors by which a loss must lie above ``stop_above``."""


class Sampled(evaluation.Evaluator):
    """Evaluates points on a random sample of each split, without replacement.

    A split with at most ``count`` examples is measured whole. Batch-norm statistics are recomputed
    on the sample, too; that they would differ on the whole split is not part of the standard
    errors.

    Args:
      whole: the evaluator of all examples.
      count: examples per split.
      stop_above: if given, points are evaluated on all examples unless their losses on the sample
        are above it, all by `CONFIDENCE` standard errors, or not finite.
      seed: chooses the examples.

    Attributes:
      examples: of each split, the number in the sample, and the number there are.
      stop_above: as given.

    Raises:
      ValueError: the sample is too small for standard errors.

    >>> from mcjax.analysis import toy
    >>> Sampled(toy.evaluator(), 4)
    Traceback (most recent call last):
    ValueError: examples=4: use 40 or more
    >>> found = Sampled(toy.evaluator(), 40)  # there are fewer
    >>> found([toy.A], [[1]], {})["errors"]["train_loss"], found.examples["train"]
    (array([0.]), (4, 4))
    """

    def __init__(
        self,
        whole: evaluation.Evaluator,
        count: int,
        *,
        stop_above: float | None = None,
        seed: int = 0,
    ) -> None:
        checks.whole_number("examples", count, LEAST)
        numbered = {
            name: {"data": data, "numbers": _numbers(data, whole.mesh)}
            for name, data in whole.splits.items()
        }
        splits = streams.sample(numbered, count, whole.mesh, seed)
        super().__init__(
            whole.objective,
            _by_number(whole.fetch),
            splits,
            whole.mesh,
            batch_size=min(whole.batch_size, count // BATCHES),
            statistics_batch_size=whole.statistics_batch_size,
            points_per_call=whole.points_per_call // whole.mesh.size,
            at_once=whole.at_once,
        )
        self.examples = {
            name: (streams.num_examples(splits[name]), streams.num_examples(data))
            for name, data in whole.splits.items()
        }
        self.stop_above = stop_above
        self._whole = whole if stop_above is not None else None

    def blocks(
        self,
        control_points: Sequence[PyTree],
        coefficients: Shaped[Array | np.ndarray, "P K"] | Sequence[Any] | PyTree,
        state: PyTree,
    ) -> Iterator[tuple[int, Metrics]]:
        """As `mcjax.engine.evaluation.Evaluator.blocks`, with one more split, ``errors``.

        It has the standard error of ``SPLIT_NAME`` by this name: the jackknife over batches, times
        ``sqrt(1 - n / N)`` for ``n`` of ``N`` examples; zero for points that were evaluated on all.

        Raises:
          ValueError: ``stop_above`` was given, and the objective measures no loss.

        >>> from mcjax.analysis import toy
        >>> for first, metrics in Sampled(toy.evaluator(), 40).blocks([toy.A], [[1]], {}):
        ...     print(first, metrics["errors"]["validation_loss"])
        0 [0.]
        """
        if self._whole is None or self.stop_above is None:
            yield from super().blocks(control_points, coefficients, state)
            return
        rows, count = evaluation.as_rows(coefficients)
        found = concatenated(
            [metrics for _, metrics in super().blocks(control_points, rows, state)]
        )
        rest = np.flatnonzero(~_above(found, self.stop_above))
        chosen, before = jax.tree.map(lambda x: x[rest], rows), 0
        for first, exact in self._whole.blocks(control_points, chosen, state):
            here = rest[first : first + len(exact["params"]["l2"])]
            exact["errors"] = dict.fromkeys(found["errors"], np.zeros(len(here)))
            for split, metrics in exact.items():
                for name, values in metrics.items():
                    found[split][name][here] = values
            end = int(here[-1]) + 1
            yield before, part(found, slice(before, end))
            before = end
        if before < count:
            yield before, part(found, slice(before, count))

    def _metrics(self, sums: Mapping[str, list[Any]]) -> Metrics:
        metrics, report = super()._metrics(sums), self.objective.metrics
        metrics["errors"] = {
            f"{split}_{name}": error
            for split, (n, whole) in self.examples.items()
            for name, error in standard_errors(sums[split], report, n / whole).items()
        }
        return metrics


def _numbers(data: PyTree, mesh: jax.sharding.Mesh) -> Int[np.ndarray | Array, " examples"]:
    """Positions in a split, on the devices or the host as its data are."""
    every = np.arange(streams.num_examples(data), dtype=np.int32)
    return every if streams.is_streamed(data) else parallel.replicate(every, mesh)


def _by_number(fetch: streams.Fetch) -> streams.Fetch:
    """Passes on the positions in the whole split: what depends on them is the same in a sample."""

    def by_number(data: Any, rows: Any, examples: Any, weight: Any, key: Any) -> Any:
        del examples  # positions in the sample
        return fetch(data["data"], rows, data["numbers"][rows], weight, key)

    return by_number


def standard_errors(
    chunks: list[Any], report: objectives.Report | None, share: float
) -> dict[str, Float[np.ndarray, " P"]]:
    """Standard errors of the metrics of a split: the jackknife, leaving out a batch at a time.

    Args:
      chunks: sums over batches, of shape ``[P, B, ...]`` each.
      report: the objective's ``metrics``.
      share: of all examples that the split's are.

    >>> chunks = [{"loss": np.array([[1.0, 2, 3, 2]]), "count": np.ones((1, 4))}]
    >>> standard_errors(chunks, None, share=0.01)["loss"].round(3)  # of the mean of 1, 2, 3 and 2
    array([0.406])
    """
    sums = evaluation.of_batches(chunks)
    points, batches = sums["count"].shape
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        left = {name: x.sum(1, keepdims=True) - x for name, x in sums.items()}
        flat = {name: x.reshape(points * batches, *x.shape[2:]) for name, x in left.items()}
        found = evaluation.metrics_of(flat, report)
        spread = {n: x.reshape(points, batches).var(axis=1) for n, x in found.items()}
    if share == 1:
        return {name: np.zeros(points) for name in spread}
    return {name: np.sqrt((1 - share) * (batches - 1) * x) for name, x in spread.items()}


def _above(found: Metrics, limit: float) -> Bool[np.ndarray, " P"]:
    """Whether every loss is above the limit by `CONFIDENCE` standard errors, or not finite."""
    errors, values = found["errors"], named(found)
    losses = [name for name in errors if is_loss(name)]
    if not losses:
        raise ValueError(f"stop_above={limit}: the objective measures no loss")
    with np.errstate(invalid="ignore"):
        low = [values[name] - CONFIDENCE * errors[name] for name in losses]
    each = zip(low, losses, strict=True)
    return np.all([(x > limit) | ~np.isfinite(values[name]) for x, name in each], axis=0)
