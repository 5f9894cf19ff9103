"""Metrics at any list of points: one evaluator for segments, curves and surfaces.

A point is a coefficient vector over a few control points (`mcjax.curves`). At each point the
parameters are combined, batch-norm statistics are recomputed on the clean training set (reset,
then averaged exactly over one pass), and the metrics are summed over each split. Sums over a batch
are float32; sums over batches are float64 on the host, so that sixty thousand losses add up to
1e-6 relative.

The averaged variances are biased: divided by ``n``, the numbers per channel in a batch. PyTorch
averages unbiased variances (Garipov et al.'s code), which are ``n / (n - 1)`` times as large: 1.002
for 128 images of 2x2 pixels. Where batch-norm statistics are recomputed, logits differ from
PyTorch's by as much.

>>> from mcjax.analysis import toy
>>> found = toy.evaluator()([toy.A, toy.B], [[1, 0], [0.5, 0.5]], {})
>>> found["train"]["loss"].round(2), found["params"]["l2"]  # the squared norm of each point
(array([0.03, 0.69]), array([8., 0.]))
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, spelling
from mcjax.engine import derivatives, objectives, parallel, streams, threads
from mcjax.engine.streams import Fetch
from mcjax.results import Metrics, check_splits, concatenated, part
from mcjax.typing import Array, Float, Int, Integer, PyTree, Shaped

STATISTICS_BATCH = 128
"""Garipov et al.'s examples per batch for batch-norm statistics, in library and commands alike.

Each device computes whole batches for its points, so the statistics do not depend on the devices.
"""


@runtime_checkable
class Progress(Protocol):
    """Called from time to time with how much is done: points, epochs or Hessian products."""

    def __call__(self, done: int, /) -> None:
        """Reports the number done."""
        ...


class Evaluator:
    """Evaluates points over fixed control points and data; compiled once, on first use.

    A split on the devices stays there. A split on the host is streamed in chunks once per block of
    points, with the same results (`mcjax.engine.streams`).

    Args:
      objective: what is measured.
      fetch: gathers a batch, without augmentation.
      splits: pytrees of arrays by split name, each with a leading axis of examples, replicated on
        the mesh or on the host, as returned by `mcjax.engine.streams.place`. Batch-norm statistics
        are recomputed on the split ``train``; any others are only measured.
      mesh: from `mcjax.engine.parallel.make_mesh`. Each device evaluates its own points.
      batch_size: examples per forward pass; default: the backend's.
      statistics_batch_size: examples per batch for batch-norm statistics. Variances are within a
        batch, so they depend on it slightly.
      points_per_call: points that a device evaluates at once by ``vmap``; default: the backend's.
      at_once: calls that run at once, on a single CPU device; default: one per core, at most eight.

    Attributes:
      objective: what is measured.
      fetch: gathers a batch, without augmentation.
      splits: the data.
      mesh: the devices, one per row.
      batch_size: examples per forward pass.
      statistics_batch_size: examples per batch for batch-norm statistics.
      points_per_call: points evaluated in a call, over all devices.
      at_once: calls that run at once.

    Raises:
      ValueError: a split's name cannot be part of a file's keys, or several calls are to run at
        once on several devices, which could wait for each other forever.

    >>> def fetch(data, rows, examples, weight, key):
    ...     return {"x": data[rows], "weight": weight}
    >>> square = objectives.from_loss(lambda w, batch: jnp.mean((batch["x"] - w) ** 2))
    >>> mesh = parallel.make_mesh(jax.devices()[:1])
    >>> splits = streams.place({"train": np.float32([1, 3])}, mesh)
    >>> evaluator = Evaluator(square, fetch, splits, mesh)
    >>> evaluator([jnp.float32(0), jnp.float32(2)], [[1, 0], [0.5, 0.5], [0, 1]], {})["train"]
    {'loss': array([5., 2., 1.])}
    """

    def __init__(
        self,
        objective: objectives.Objective,
        fetch: Fetch,
        splits: Mapping[str, PyTree],
        mesh: jax.sharding.Mesh,
        *,
        batch_size: int | None = None,
        statistics_batch_size: int = STATISTICS_BATCH,
        points_per_call: int | None = None,
        at_once: int | None = None,
    ) -> None:
        check_splits(splits)
        if at_once not in (None, 1) and mesh.size > 1:
            raise ValueError(f"at_once={at_once}: only a single device runs several calls at once")
        self.objective, self.fetch, self.splits = objective, fetch, dict(splits)
        self.mesh = parallel.with_rows(mesh, mesh.size)
        self.batch_size = batch_size or default_batch_size()
        self.statistics_batch_size = statistics_batch_size
        here = points_per_call or default_points_per_call()
        self.points_per_call = here * mesh.size
        self.at_once = at_once or threads.default_threads(mesh)
        self._compile_for_points(_unvmapped if here == 1 else jax.vmap)
        self._compile_for_one()

    def _compile_for_points(self, each: Callable[..., Any]) -> None:
        """Compiles `blocks`, where each device evaluates its own points."""
        over_points = functools.partial(parallel.curve_parallel, mesh=self.mesh)

        def statistics(
            totals: Any, chunk: streams.Chunk, points: PyTree, state: PyTree, is_last: bool
        ) -> Any:
            one = lambda total, params: self._recompute(total, chunk, params, state, is_last)  # noqa: E731
            return each(one)(totals, points)

        def block(points: PyTree, states: PyTree, splits: dict[str, streams.Chunk]) -> Any:
            def one(params: PyTree, state: PyTree) -> Any:
                sums = self._all_sums(params, state, splits, parallel.DATA_AXIS)
                return sums, curves.squared_norm(params)

            if self.objective.statistics is None:
                return each(lambda params: one(params, states))(points)
            return each(one)(points, states)

        # Separate from `block`, which then compiles once for any number of control points.
        combine = jax.vmap(curves.combine, in_axes=(None, 0))
        self._combine = over_points(combine, over=(False, True))
        self._point_statistics = {
            is_last: over_points(
                functools.partial(statistics, is_last=is_last), over=(True, False, True, False)
            )
            for is_last in (False, True)
        }
        per_point = self.objective.statistics is not None
        self._block = over_points(block, over=(True, per_point, False), gather=True)

    def _compile_for_one(self) -> None:
        """Compiles the programs for one parameter set, shared by all devices."""

        def with_state(params: PyTree, state: PyTree, splits: dict[str, streams.Chunk]) -> Any:
            sums = self._all_sums(params, state, splits, parallel.ALL_AXES)
            return parallel.sum_over_devices(sums, parallel.ALL_AXES)

        def squared_gradient(batch: Any, params: PyTree, state: PyTree) -> Any:
            return gradient_of_sum(self.objective, params, state, batch)

        def norm(totals: Any, params: PyTree, state: PyTree) -> jax.Array:
            length = jnp.sqrt(curves.squared_norm(totals[0]))
            return length / totals[1].astype(length.dtype)

        self._statistics = {
            is_last: parallel.data_parallel(
                functools.partial(self._recompute, is_last=is_last), self.mesh
            )
            for is_last in (False, True)
        }
        self._with_state = parallel.data_parallel(with_state, self.mesh)
        self._logits = parallel.data_parallel(self._all_logits, self.mesh)
        self._gradient_norm = self.over_train(squared_gradient, norm)

    def blocks(
        self,
        control_points: Sequence[PyTree],
        coefficients: Shaped[Array | np.ndarray, "P K"] | Sequence[Any] | PyTree,
        state: PyTree,
    ) -> Iterator[tuple[int, Metrics]]:
        """Evaluates points block by block; the next blocks run while the current one is read.

        Args:
          control_points: K parameter pytrees.
          coefficients: one row per point; or a pytree prefix of a control point with an array
            ``[P, K]`` at each of its leaves, for coefficients of their own in parts of the
            parameters (`mcjax.curves.combine`).
          state: the network's state; its batch-norm averages are replaced at every point.

        Yields:
          The index of a block's first point, and the metrics of its points. The split ``params``
          holds ``l2``, the squared norm of the point.

        Raises:
          ValueError: a prefix's leaves are not all arrays ``[P, K]``, or it is not a prefix.

        >>> from mcjax.analysis import toy
        >>> for first, metrics in toy.evaluator().blocks([toy.A, toy.B], np.eye(2), {}):
        ...     print(first, metrics["validation"]["loss"].round(2))
        0 [0.03]
        1 [0.03]
        """
        rows, count = as_rows(coefficients)
        width, points = self.points_per_call, tuple(control_points)

        def start(first: int) -> tuple[int, int, dict[str, list[Any]], jax.Array]:
            here = min(width, count - first)
            indices = np.minimum(np.arange(first, first + width), count - 1)  # repeats the last one
            full = jax.tree.map(lambda x: x[indices], rows)
            return first, here, *self._sums_at(self._combine(points, full), state)

        for started in threads.ahead(start, range(0, count, width), self.at_once):
            yield self._read(*started)

    def _read(
        self, first: int, count: int, sums: Mapping[str, list[Any]], l2: jax.Array
    ) -> tuple[int, Metrics]:
        """Metrics of a block's first ``count`` points; the others are padding."""
        metrics = self._metrics(sums) | {"params": {"l2": np.asarray(l2, np.float64)}}
        return first, part(metrics, slice(count))

    def _metrics(self, sums: Mapping[str, list[Any]]) -> Metrics:
        return _means(sums, self.objective.metrics)

    def _sums_at(
        self, points: PyTree, state: PyTree
    ) -> tuple[dict[str, list[Any]], Float[Array, " points"]]:
        """Sums over the batches of each split, one entry per chunk, and squared norms."""
        states = self._recomputed(self._point_statistics, points, state)
        streamed = [name for name, data in self.splits.items() if streams.is_streamed(data)]
        resident = {n: streams.Chunk(x) for n, x in self.splits.items() if n not in streamed}
        found, l2 = self._block(points, states, resident)
        sums = {name: [of_split] for name, of_split in found.items()}
        for name in streamed:
            of_chunk = lambda chunk: self._block(points, states, {"": chunk})[0][""]  # noqa: E731
            sums[name] = self._parts(of_chunk, name)
        return {name: sums[name] for name in self.splits}, l2

    def __call__(
        self,
        control_points: Sequence[PyTree],
        coefficients: Shaped[Array | np.ndarray, "P K"] | Sequence[Any] | PyTree,
        state: PyTree,
    ) -> Metrics:
        """As `blocks`, all at once: ``metrics[split][name]`` of shape ``[P]``."""
        blocks = self.blocks(control_points, coefficients, state)
        return concatenated([metrics for _, metrics in blocks])

    def statistics(self, params: PyTree, state: PyTree) -> PyTree:
        """Recomputes the batch-norm statistics in ``state`` at ``params``; others are unchanged.

        >>> from mcjax.analysis import toy
        >>> mean = lambda params, state, batch: {"mean": jnp.mean(batch["x"] * params)}
        >>> objective = toy.OBJECTIVE._replace(statistics=mean)
        >>> fetch = lambda data, rows, examples, weight, key: {"x": data[rows]}
        >>> splits, mesh = {"train": jnp.array([1.0, 3.0])}, parallel.make_mesh()
        >>> evaluator = Evaluator(objective, fetch, splits, mesh)
        >>> float(evaluator.statistics(jnp.float32(10), {"mean": jnp.zeros(())})["mean"])
        20.0
        """
        return self._recomputed(self._statistics, params, state)

    def logits(
        self, params: PyTree, state: PyTree, split: str
    ) -> Shaped[Array | np.ndarray, "examples classes"]:
        """A classifier's logits for all examples of a split.

        Args:
          params: parameters of one network.
          state: used as is; `statistics` recomputes it.
          split: name of the split.

        Returns:
          An array on the devices; on the host for a streamed split.

        Raises:
          ValueError: the objective has no ``logits``.

        >>> from mcjax.analysis import toy
        >>> toy.evaluator().logits(toy.A, {}, "validation").shape
        (2, 2)
        """
        if self.objective.logits is None:
            raise ValueError("the objective has no logits: set Objective.logits")
        parts = self._parts(lambda chunk: self._logits(params, state, chunk), split)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def gradient_norm(self, params: PyTree, state: PyTree) -> float:
        """``||grad L||`` of the mean training loss at ``params``, on clean data.

        Batch-norm statistics are recomputed, then held constant: the gradient does not include
        their dependence on the parameters.

        Args:
          params: parameters of one network.
          state: the network's state.

        Returns:
          In units of loss per weight distance.

        >>> from mcjax.analysis import toy
        >>> round(toy.evaluator().gradient_norm(toy.A, {}), 3)
        0.048
        """
        return float(self._gradient_norm(params, self.statistics(params, state)))

    def with_state(self, params: PyTree, state: PyTree, split: str) -> dict[str, float]:
        """Metrics of one parameter set on a split, with its state (running averages) as is.

        Args:
          params: parameters of one network.
          state: used as is; `statistics` recomputes it.
          split: name of the split.

        >>> from mcjax.analysis import toy
        >>> round(toy.evaluator().with_state(toy.A, {}, "validation")["loss"], 2)
        0.03
        >>> toy.evaluator().with_state(toy.A, {}, "test")
        Traceback (most recent call last):
        ValueError: no split 'test': There are train, validation
        """
        return self.dispatch(params, state, split)()

    def dispatch(self, params: PyTree, state: PyTree, split: str) -> Callable[[], dict[str, float]]:
        """As `with_state`, but does not wait: call the result to read the numbers.

        For a streamed split it waits until the last chunk.

        >>> from mcjax.analysis import toy
        >>> read = toy.evaluator().dispatch(toy.A, {}, "validation")
        >>> round(read()["loss"], 2)
        0.03
        """
        of_chunk = lambda chunk: self._with_state(params, state, {split: chunk})[split]  # noqa: E731
        sums = {split: self._parts(of_chunk, split)}

        def read() -> dict[str, float]:
            sums_of_one = jax.tree.map(lambda x: np.asarray(x)[None], sums)
            means = _means(sums_of_one, self.objective.metrics)
            return {name: float(value[0]) for name, value in means[split].items()}

        return read

    def over_train(self, add: Callable[..., Any], finish: Callable[..., Any]) -> Callable[..., Any]:
        """Compiles a function of sums over the training split, shared by all devices.

        Args:
          add: ``(batch, *args) -> sums``, a pytree of sums over a batch.
          finish: ``(sums, *args) -> result``, called with the sums over the whole split.

        Returns:
          ``(*args) -> result``.

        >>> from mcjax.analysis import toy
        >>> total = lambda batch, scale: jnp.sum(scale * batch["x"] * batch["weight"])
        >>> mean = toy.evaluator().over_train(total, lambda sums, scale: sums / 4)
        >>> float(mean(2.0))
        -0.5
        """

        def run(total: Any, chunk: Any, args: tuple[Any, ...], is_last: bool) -> Any:
            count, batch = _clean_batches(self.fetch, chunk, self.batch_size, parallel.ALL_AXES)
            of_batch = lambda index: add(batch(index), *args)  # noqa: E731
            if total is None:
                shapes = jax.eval_shape(of_batch, jnp.int32(0))
                total = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), shapes)
            total, _ = jax.lax.scan(
                lambda sums, index: (jax.tree.map(jnp.add, sums, of_batch(index)), None),
                jax.tree.map(lambda x: x[0], total),
                jnp.arange(count),
            )
            if is_last:
                return finish(parallel.sum_over_devices(total, parallel.ALL_AXES), *args)
            return jax.tree.map(lambda x: x[None], total)  # this device's part

        over = (True, False, False)
        more = parallel.curve_parallel(functools.partial(run, is_last=False), self.mesh, over)
        last = parallel.data_parallel(functools.partial(run, is_last=True), self.mesh, over=over)

        def result(*args: Any) -> Any:
            step = lambda total, chunk, is_last: (last if is_last else more)(total, chunk, args)  # noqa: E731
            return streams.fold(step, self.splits["train"], self.mesh, self.batch_size)

        return result

    def _parts(self, function: Callable[[streams.Chunk], Any], split: str) -> list[Any]:
        """Applies a function to each chunk of a split.

        Raises:
          ValueError: there is no such split.
        """
        if split not in self.splits:
            raise ValueError(f"no split {split!r}: {spelling.hint(split, self.splits)}")
        return streams.collect(function, self.splits[split], self.mesh, self.batch_size)

    def _recomputed(
        self, programs: Mapping[bool, Callable[..., Any]], params: PyTree, state: PyTree
    ) -> PyTree:
        """Recomputes batch-norm statistics; ``programs`` are for the last chunk and the others."""
        if self.objective.statistics is None or not jax.tree.leaves(state):
            return state
        step = lambda total, chunk, is_last: programs[is_last](total, chunk, params, state)  # noqa: E731
        return streams.fold(step, self.splits["train"], self.mesh, self.statistics_batch_size)

    def _recompute(
        self, total: Any, chunk: streams.Chunk, params: PyTree, state: PyTree, is_last: bool
    ) -> Any:
        """Batch-norm statistics averaged over one clean pass, weighted by examples.

        The examples that do not fill a batch form a smaller one.

        Args:
          total: the sum over the whole batches of earlier chunks, or None.
          chunk: part of the training split.
          params: the point.
          state: the network's state.
          is_last: whether to divide; otherwise the sum is returned.
        """
        whole = streams.num_examples(self.splits["train"])
        size = streams.num_examples(chunk.data)
        batch_size = min(self.statistics_batch_size, size)
        batches, rest = divmod(size, batch_size)

        statistics: Any = self.objective.statistics

        def batch_statistics(rows: Integer[Array, " batch"]) -> PyTree:
            weight, key = jnp.ones(rows.shape), jax.random.key(0)
            batch = self.fetch(chunk.data, rows, chunk.examples(rows), weight, key)
            return statistics(params, state, batch)

        def add(total: PyTree, index: jax.Array) -> tuple[PyTree, None]:
            new = batch_statistics(index * batch_size + jnp.arange(batch_size))
            return jax.tree.map(jnp.add, total, new), None

        total = jax.tree.map(jnp.zeros_like, state) if total is None else total
        total, _ = jax.lax.scan(add, total, jnp.arange(batches))
        if not is_last:
            return total
        total = jax.tree.map(lambda x: x * (batch_size / whole), total)
        if rest:
            last = batch_statistics(jnp.arange(batches * batch_size, size))
            total = jax.tree.map(lambda a, b: a + b * (rest / whole), total, last)
        return total

    def _all_sums(
        self,
        params: PyTree,
        state: PyTree,
        splits: dict[str, streams.Chunk],
        axes: parallel.Axes,
    ) -> dict[str, objectives.Sums]:
        """This device's part of ``sums[split][name]``, of shape ``[batches of the split]``."""

        def chunk_sums(chunk: streams.Chunk) -> dict[str, jax.Array]:
            count, batch = _clean_batches(self.fetch, chunk, self.batch_size, axes)
            sums = lambda _, i: (None, self.objective.evaluate(params, state, batch(i)))  # noqa: E731
            return jax.lax.scan(sums, None, jnp.arange(count))[1]

        return {name: chunk_sums(chunk) for name, chunk in splits.items()}

    def _all_logits(self, params: PyTree, state: PyTree, chunk: streams.Chunk) -> jax.Array:
        """Logits of all examples of a chunk, on every device."""
        size = streams.num_examples(chunk.data)
        count, batch = _clean_batches(self.fetch, chunk, self.batch_size, parallel.ALL_AXES)

        logits_of: Any = self.objective.logits

        def batch_logits(_: None, index: jax.Array) -> tuple[None, jax.Array]:
            mine = logits_of(params, state, batch(index))
            whole = jax.lax.all_gather(mine, parallel.ALL_AXES, tiled=True)
            return None, whole[: min(self.batch_size, size)]  # drops the devices' padding

        logits = jax.lax.scan(batch_logits, None, jnp.arange(count))[1]
        return logits.reshape(-1, logits.shape[-1])[:size]


def default_points_per_call() -> int:
    """Points evaluated at once: one on CPU, where grouped convolutions are slow; otherwise four.

    Measured by this project on an H200, in ms per point one by one and by fours: VGG16 with 1,000
    images 23.1 and 17.1 (float32), 2.9 and 2.1 (bf16); a small net with 1,797 images 1.6 and 0.9.

    >>> default_points_per_call()  # on CPU
    1
    """
    return 1 if jax.default_backend() == "cpu" else 4


def default_batch_size() -> int:
    """Examples per forward pass: on CPU as many as fit in its caches, elsewhere more.

    Measured by this project on a small net (8x8 pixels), in ms per point of 1,797 images with one
    device per core: 36 with 25 to 100 examples, 40 with 200, 59 with 500, 99 with 1,800. On an
    H200, VGG16 with 1,000 images took the same time in two batches and in one.

    >>> default_batch_size()  # on CPU
    100
    """
    return 100 if jax.default_backend() == "cpu" else 500


def _clean_batches(
    fetch: Fetch, chunk: streams.Chunk, batch_size: int, axes: parallel.Axes
) -> tuple[int, Callable[[Int[Array, ""]], Any]]:
    """The number of batches that cover a chunk, and ``index -> batch``, this device's share.

    The last batch and the last devices' shares are padded with examples of weight zero.
    """
    size = streams.num_examples(chunk.data)
    width = min(batch_size, size)

    def batch(index: jax.Array) -> Any:
        positions, weight = parallel.share(width, axes)
        rows = index * width + positions
        weight = jnp.where(rows < size, weight, 0)
        rows = jnp.minimum(rows, size - 1)
        return fetch(chunk.data, rows, chunk.examples(rows), weight, jax.random.key(0))

    return -(-size // width), batch


def gradient_of_sum(
    objective: objectives.Objective, params: PyTree, state: PyTree, batch: Any
) -> tuple[PyTree, Shaped[Array, ""]]:
    """The gradient of a batch's summed loss, and the number of its examples.

    Args:
      objective: whose ``evaluate`` measures ``loss``.
      params: the point.
      state: the network's state.
      batch: with the number of its examples as ``count`` in ``evaluate``'s sums.
    """

    def summed(params: PyTree) -> tuple[jax.Array, jax.Array]:
        sums = objective.evaluate(params, state, batch)
        return sums["loss"], sums["count"]

    return derivatives.gradient(summed)(params)


def as_rows(coefficients: Any) -> tuple[Any, int]:
    """Coefficients as float32 arrays with an axis of points, and the number of points."""
    if not curves.is_prefix(coefficients, axes=2):
        rows = np.asarray(coefficients, np.float32)
        return rows, len(rows)
    leaves = jax.tree_util.tree_leaves_with_path(coefficients)
    shapes = {jax.tree_util.keystr(path): np.shape(x) for path, x in leaves}
    first: tuple[int, ...] = next(iter(shapes.values()), ())
    for name, shape in shapes.items():
        if len(shape) != 2 or shape != first:
            raise ValueError(
                f"the coefficients at {name} have shape {list(shape)}: expected arrays of one "
                "shape [points, control points]"
            )
    if not shapes:
        raise ValueError("the coefficients have no arrays: use one row per point")
    return jax.tree.map(lambda x: np.asarray(x, np.float32), coefficients), first[0]


def _unvmapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `jax.vmap` over an axis of length one."""

    def on_one(*args: Any) -> Any:
        return jax.tree.map(lambda y: y[None], function(*jax.tree.map(lambda x: x[0], args)))

    return on_one


def _means(sums: Mapping[str, list[Any]], report: objectives.Report | None) -> Metrics:
    """Sums each chunk over batches (the second axis) in float64, and divides by the counts.

    Raises:
      ValueError: a metric is not one number per point.
    """
    return {split: _means_of_split(chunks, report) for split, chunks in sums.items()}


def _means_of_split(chunks: list[Any], report: objectives.Report | None) -> dict[str, np.ndarray]:
    return metrics_of({name: x.sum(1) for name, x in of_batches(chunks).items()}, report)


def of_batches(chunks: list[Any]) -> dict[str, np.ndarray]:
    """The sums of all batches of a split in float64, of shape ``[P, B, ...]``."""
    sums = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *chunks)
    return {name: np.asarray(x, np.float64) for name, x in sums.items()}


def metrics_of(
    totals: Mapping[str, np.ndarray], report: objectives.Report | None
) -> dict[str, np.ndarray]:
    """Divides the sums of points, of shape ``[P, ...]``, by their counts."""
    count = totals["count"]
    means = {n: (x.T / count).T for n, x in totals.items() if n != "count"}
    metrics = report(means) if report else means
    for name, values in metrics.items():
        if np.shape(values) != count.shape:
            raise ValueError(
                f"metric {name!r} has shape {list(np.shape(values)[1:])} per point: reduce it to "
                "scalars in Objective.metrics"
            )
    return metrics
