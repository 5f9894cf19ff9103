"""Metrics of any list of points: one evaluator for segments, curves and surfaces.

A point is a coefficient vector over a few control points (`mcjax.curves`). At each point the
parameters are combined, batch-norm statistics are recomputed on the clean training set (reset,
then the exact average over one pass), and the metrics are summed over each split. Sums over a
batch are float32; sums over batches are float64 on the host, so that sixty thousand losses add up
to 1e-6 relative.

The variances that the pass averages are biased, divided by the ``n`` numbers that a channel has in
a batch; those that a pass in PyTorch averages, as Garipov et al.'s code makes it, are unbiased and
``n / (n - 1)`` times as large: 1.002 for 128 images of 2x2 pixels. So much do logits differ from
PyTorch's where batch norm's statistics are recomputed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves
from mcjax.engine import derivatives, objectives, parallel

Metrics = dict[str, dict[str, np.ndarray]]
"""``metrics[split][name]``, each of shape ``[points]``; a mean over the split's examples."""


STATISTICS_BATCH = 128
"""Examples of a batch for batch-norm statistics, in the library and the commands: Garipov et al.'s.

A power of two, so that any usual number of devices divides it: the statistics are then the same
numbers on all of them.
"""


class Evaluator:
    """Evaluates points over fixed control points and data; compiled once, on first use.

    Args:
      objective: what is measured.
      fetch: ``(data, rows, examples, weight, key) -> batch`` without augmentation.
      splits: pytrees of arrays by split name, each with a leading axis of examples, replicated on
        the mesh. Statistics are recomputed on the split ``train``.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      batch_size: examples of a forward pass, over the devices that share it; by default the
        backend's.
      statistics_batch_size: examples of a batch for batch-norm statistics. Variances are those
        within a batch, so they depend on it a little.
      points_per_call: points that a device evaluates at once by ``vmap``; by default the backend's.
      devices_per_point: devices that share the data of a point; the others have points of their
        own. One is the fastest, as long as the memory serves.

    Attributes:
      objective: what is measured.
      fetch: gives batches without augmentation.
      splits: the data.
      mesh: the devices, laid out for points and their data.
      batch_size: examples of a forward pass.
      points_per_call: points evaluated at once, over all devices.

    Raises:
      ValueError: ``devices_per_point`` does not divide the number of devices.
    """

    def __init__(
        self,
        objective: objectives.Objective,
        fetch: Callable[..., Any],
        splits: Mapping[str, Any],
        mesh: jax.sharding.Mesh,
        *,
        batch_size: int | None = None,
        statistics_batch_size: int = STATISTICS_BATCH,
        points_per_call: int | None = None,
        devices_per_point: int = 1,
    ):
        self.splits = dict(splits)
        if devices_per_point < 1 or mesh.size % devices_per_point:
            raise ValueError(f"{mesh.size} devices cannot serve {devices_per_point} a point")
        rows = mesh.size // devices_per_point
        spread = parallel.with_rows(mesh, rows)
        here = points_per_call or default_points_per_call()
        batch_size = batch_size or default_batch_size()
        self.objective, self.fetch = objective, fetch
        self.mesh, self.batch_size = spread, batch_size
        self.points_per_call = here * rows

        def recomputed(params, state, splits):
            if objective.statistics is None or not jax.tree.leaves(state):
                return state
            return _recompute(
                objective, fetch, params, state, splits["train"], statistics_batch_size
            )

        def block(points, state, splits):
            def one(params):
                new = recomputed(params, state, splits)
                sums = _all_sums(
                    objective, fetch, params, new, splits, batch_size, parallel.DATA_AXIS
                )
                return parallel.sum_over_devices(sums), curves.squared_norm(params)

            return (_unvmapped if here == 1 else jax.vmap)(one)(points)

        # Apart from `block`, so that its one compilation serves any number of control points.
        combine = jax.vmap(curves.combine, in_axes=(None, 0))
        self._combine = parallel.curve_parallel(combine, spread, (False, True))
        self._block = parallel.curve_parallel(block, spread, (True, False, False), gather=True)

        # One parameter set is the work of all devices.
        every = parallel.ALL_AXES

        def gradient_norm(params, state, splits):
            state = recomputed(params, state, splits)
            parts = _gradient(objective, fetch, params, state, splits["train"], batch_size, every)
            gradient, count = parallel.sum_over_devices(parts, every)
            norm = jnp.sqrt(curves.squared_norm(gradient))
            return norm / count.astype(norm.dtype)

        def with_state(params, state, splits):
            sums = _all_sums(objective, fetch, params, state, splits, batch_size, every)
            return parallel.sum_over_devices(sums, every)

        def logits(params, state, data):
            return _all_logits(objective, fetch, params, state, data, batch_size, every)

        self._logits = parallel.data_parallel(logits, spread)
        self._statistics = parallel.data_parallel(recomputed, spread)
        self._gradient_norm = parallel.data_parallel(gradient_norm, spread)
        self._with_state = parallel.data_parallel(with_state, spread)

    def blocks(
        self, control_points: Sequence[Any], coefficients: Any, state: Any
    ) -> Iterator[tuple[int, Metrics]]:
        """Evaluates points block by block; the next block runs while one is read.

        Args:
          control_points: K parameter pytrees.
          coefficients: ``[P, K]``, a row for each point.
          state: the network's state; batch-norm averages in it are replaced at every point.

        Yields:
          The index of a block's first point, and the metrics of its points. The split ``params``
          holds ``l2``, the squared norm of the point.
        """
        coefficients = np.asarray(coefficients, np.float32)
        width = self.points_per_call
        pending = None
        for first in range(0, len(coefficients), width):
            rows = coefficients[first : first + width]
            full = np.concatenate([rows, np.repeat(rows[-1:], width - len(rows), axis=0)])
            points = self._combine(tuple(control_points), full)
            result = self._block(points, state, self.splits)
            if pending is not None:
                yield _read(*pending, report=self.objective.metrics)
            pending = (first, len(rows), *result)
        if pending is not None:
            yield _read(*pending, report=self.objective.metrics)

    def __call__(self, control_points: Sequence[Any], coefficients: Any, state: Any) -> Metrics:
        """As `blocks`, all at once: ``metrics[split][name]`` of shape ``[P]``."""
        parts = [metrics for _, metrics in self.blocks(control_points, coefficients, state)]
        return {
            split: {n: np.concatenate([p[split][n] for p in parts]) for n in parts[0][split]}
            for split in parts[0]
        }

    def statistics(self, params: Any, state: Any) -> Any:
        """The state with batch-norm statistics recomputed at ``params``; any other as it is."""
        return self._statistics(params, state, self.splits)

    def logits(self, params: Any, state: Any, split: str) -> jax.Array:
        """What a classifier gives for the examples of a split, ``[examples, classes]``.

        Args:
          params: of one network.
          state: taken as it is; `statistics` recomputes it.
          split: which.

        Raises:
          ValueError: the objective has no ``logits``.
        """
        if self.objective.logits is None:
            raise ValueError("the objective has no logits: set Objective.logits")
        return self._logits(params, state, self.splits[split])

    def gradient_norm(self, params: Any, state: Any) -> float:
        """``||grad L||`` of the mean training loss at ``params``, on clean data.

        Batch-norm statistics are recomputed, then held: their dependence on the parameters is not
        part of the gradient.
        """
        return float(self._gradient_norm(params, state, self.splits))

    def with_state(self, params: Any, state: Any, split: str) -> dict[str, float]:
        """Metrics of one parameter set with its state as it is (running averages), on a split."""
        return self.dispatch(params, state, split)()

    def dispatch(self, params: Any, state: Any, split: str) -> Callable[[], dict[str, float]]:
        """As `with_state`, at once: the numbers are read when the result is called."""
        sums = self._with_state(params, state, {split: self.splits[split]})

        def read():
            sums_of_one = jax.tree.map(lambda x: np.asarray(x)[None], sums)
            means = _means(sums_of_one, self.objective.metrics)
            return {name: float(value[0]) for name, value in means[split].items()}

        return read


def default_points_per_call() -> int:
    """Points evaluated at once: one on CPU, where grouped convolutions are slow; else four.

    Measured by this project on an H200, ms a point one by one and in fours: VGG16 with 1,000 images
    23.1 and 17.1 (float32), 2.9 and 2.1 (bf16); a small net with 1,797 images 1.6 and 0.9.
    """
    return 1 if jax.default_backend() == "cpu" else 4


def default_batch_size() -> int:
    """Examples of a forward pass: on CPU as many as fit its caches, on others more.

    Measured by this project on a small net (8x8 pixels), ms a point of 1,797 images, a device a
    core: 36 with 25 to 100 examples, 40 with 200, 59 with 500, 99 with 1,800. On an H200, VGG16
    with 1,000 images took the same time in two batches and in one.
    """
    return 100 if jax.default_backend() == "cpu" else 500


def _recompute(objective, fetch, params, state, data, batch_size):
    """Batch-norm statistics at ``params``: the average over one clean pass, weighted by examples.

    The examples left over by whole batches form a batch of their own. A batch that the devices do
    not divide is seen whole by each of them: the mean over devices of equal numbers is that number.
    """
    size = len(jax.tree.leaves(data)[0])
    batch_size = min(batch_size, size)
    batches, rest = divmod(size, batch_size)
    key = jax.random.key(0)

    def of(rows):
        batch = fetch(data, rows, rows, jnp.ones(rows.shape), key)
        return objective.statistics(params, state, batch)

    divided = batch_size % jax.lax.axis_size(parallel.DATA_AXIS) == 0
    positions = parallel.share(batch_size)[0] if divided else jnp.arange(batch_size)

    def add(total, index):
        return jax.tree.map(jnp.add, total, of(index * batch_size + positions)), None

    total = jax.tree.map(jnp.zeros_like, state)
    total, _ = jax.lax.scan(add, total, jnp.arange(batches))
    total = jax.tree.map(lambda x: x * (batch_size / size), total)
    if rest:
        last = of(jnp.arange(batches * batch_size, size))
        total = jax.tree.map(lambda a, b: a + b * (rest / size), total, last)
    return total


def clean_batches(
    fetch: Callable[..., Any], data: Any, batch_size: int, axes: str | tuple[str, ...]
) -> tuple[int, Callable[[jax.Array], Any]]:
    """How many batches cover the data, and ``index -> batch``, this device's share of it.

    What the last batch lacks, and what the devices do not divide, has weight zero.
    """
    size = len(jax.tree.leaves(data)[0])
    width = min(batch_size, size)

    def batch(index):
        positions, weight = parallel.share(width, axes)
        rows = index * width + positions
        weight = jnp.where(rows < size, weight, 0)
        rows = jnp.minimum(rows, size - 1)
        return fetch(data, rows, rows, weight, jax.random.key(0))

    return -(-size // width), batch


def _all_sums(objective, fetch, params, state, splits, batch_size, axes):
    """``sums[split][name]``, this device's part, of shape ``[batches of the split]``."""

    def over(data):
        count, batch = clean_batches(fetch, data, batch_size, axes)
        sums = lambda _, index: (None, objective.evaluate(params, state, batch(index)))  # noqa: E731
        return jax.lax.scan(sums, None, jnp.arange(count))[1]

    return {name: over(data) for name, data in splits.items()}


def _all_logits(objective, fetch, params, state, data, batch_size, axes):
    """Logits of all examples, on every device."""
    size = len(jax.tree.leaves(data)[0])
    count, batch = clean_batches(fetch, data, batch_size, axes)

    def of(_, index):
        mine = objective.logits(params, state, batch(index))
        whole = jax.lax.all_gather(mine, axes, tiled=True)
        return None, whole[: min(batch_size, size)]  # without what the devices do not divide

    logits = jax.lax.scan(of, None, jnp.arange(count))[1]
    return logits.reshape(-1, logits.shape[-1])[:size]


def _gradient(objective, fetch, params, state, data, batch_size, axes):
    """This device's part of the gradient of the summed loss, and of the count."""
    count, batch = clean_batches(fetch, data, batch_size, axes)

    def summed(params, index):
        sums = objective.evaluate(params, state, batch(index))
        return sums["loss"], sums["count"]

    def add(total, index):
        new = derivatives.gradient(summed)(params, index)
        return jax.tree.map(jnp.add, total, new), None

    zeros = (jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
    return jax.lax.scan(add, zeros, jnp.arange(count))[0]


def _unvmapped(function):
    def on_one(points):
        return jax.tree.map(lambda y: y[None], function(jax.tree.map(lambda x: x[0], points)))

    return on_one


def _read(first, count, sums, l2, *, report):
    metrics = _means(jax.tree.map(np.asarray, sums), report)
    metrics["params"] = {"l2": np.asarray(l2, np.float64)}
    return first, {s: {n: v[:count] for n, v in m.items()} for s, m in metrics.items()}


def _means(sums, report):
    """Divides float64 sums over batches (the second axis) by the counts, for each split.

    Raises:
      ValueError: a metric is not one number a point.
    """
    return {split: _of_split(named, report) for split, named in sums.items()}


def _of_split(sums, report):
    totals = {name: np.asarray(x, np.float64).sum(1) for name, x in sums.items()}
    count = totals.pop("count")
    means = {n: (x.T / count).T for n, x in totals.items()}
    metrics = report(means) if report else means
    for name, values in metrics.items():
        if np.shape(values) != count.shape:
            raise ValueError(
                f"metric {name!r} has shape {list(np.shape(values)[1:])} at a point: make numbers "
                "of it in Objective.metrics"
            )
    return metrics
