"""One training engine for modes and curves.

Training is a sequence of *chunks*: jitted loops whose number of steps is an argument, so they are
compiled once for every length. Between chunks the host handles signals, failures and progress. A
step is a function of seed, step and example index alone: results depend neither on the chunks, nor
on the devices, nor on an interruption between two chunks.

Several runs that differ only in parameters and seed (the curves of several pairs) can be trained at
once, along a leading axis of everything they do not share.

The loop is a `lax.fori_loop` rather than a `lax.scan` because its length varies at run time (an
epoch that is not a multiple of the chunk, a slow network) and nothing differentiates through it.

The state is consumed by the next chunk, which returns a new one:

>>> from mcjax.analysis import toy
>>> from mcjax.engine import training
>>> trainer = toy.trainer()  # from make_trainer: two steps per epoch
>>> state = trainer.init(toy.A, (), {}, toy.TRAIN)
>>> for chunk in training.chunks(trainer, state, (), toy.TRAIN, epochs=20, key=jax.random.key(0)):
...     state = chunk.state
>>> chunk.step, bool(chunk.sums["loss"] / chunk.sums["count"] < 0.03)
(40, True)
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves
from mcjax.engine import derivatives, interop, parallel, streams
from mcjax.engine.objectives import StratumLoss, Sums
from mcjax.engine.streams import Fetch
from mcjax.typing import Array, Float, Int, Key, PyTree


class TrainState(NamedTuple):
    """The training state that is carried from step to step and checkpointed.

    Several runs have a leading axis ``runs``.

    Attributes:
      step: steps done, int32.
      params: the trained parameters: a mode's, or a tuple of bends.
      opt_state: the optimizer's state.
      model_state: the network's state, such as batch norm's averages, or ``{}``.
      sums: metric sums over the steps of the current epoch.
      bad_step: the first step whose loss or gradient was not finite, int32, or -1.

    >>> from mcjax.analysis import toy
    >>> state = toy.trainer().init(toy.A, (), {}, toy.TRAIN)
    >>> int(state.step), state.params["first"]["w"].tolist(), sorted(state.sums)
    (0, [2.0], ['count', 'loss'])
    """

    step: Int[Array, "*runs"]
    params: PyTree
    opt_state: optax.OptState
    model_state: PyTree
    sums: Sums
    bad_step: Int[Array, "*runs"]


class Chunk(NamedTuple):
    """What the host sees after each chunk; the arrays may still be computing.

    Attributes:
      state: the state after the chunk. The next chunk consumes its buffers: copy it to keep it.
      step: steps done, a Python int.
      sums: as ``state.sums``, in separate buffers.
      bad_step: as ``state.bad_step``, in a separate buffer.

    >>> from mcjax.analysis import toy
    >>> state = toy.trainer().init(toy.A, (), {}, toy.TRAIN)
    >>> for chunk in chunks(toy.trainer(), state, (), toy.TRAIN, 1, jax.random.key(0)):
    ...     print(chunk.step, int(chunk.bad_step), float(chunk.sums["count"]))
    1 -1 2.0
    2 -1 4.0
    """

    state: TrainState
    step: int
    sums: Sums
    bad_step: Int[Array, "*runs"]


@runtime_checkable
class Init(Protocol):
    """Makes the state at step 0, on all devices; ``data`` gives the shapes of a batch."""

    def __call__(
        self, params: PyTree, fixed: PyTree, model_state: PyTree, data: PyTree, /
    ) -> TrainState:
        """Returns the state at step 0."""
        ...


@runtime_checkable
class Run(Protocol):
    """Trains for ``count`` steps, whose batches are consecutive parts of ``rows``.

    ``rows`` are positions in ``data`` and ``examples`` the same examples' positions in the data
    set, as in `mcjax.engine.streams.Fetch`. ``state`` is donated. Returns the new state, with
    copies of its ``sums`` and ``bad_step``.
    """

    def __call__(
        self,
        state: TrainState,
        fixed: PyTree,
        data: PyTree,
        rows: Int[Any, "*runs positions"],
        examples: Int[Any, "*runs positions"],
        key: Key[Array, "*runs"],
        count: int | Int[Array, ""],
        /,
    ) -> tuple[TrainState, Sums, Int[Array, "*runs"]]:
        """Returns ``(state, sums, bad_step)``."""
        ...


class Trainer(NamedTuple):
    """A training loop compiled for one objective, data set and mesh.

    Attributes:
      init: makes the state at step 0.
      run: trains for some steps.
      size: examples in the data set.
      batch_size: examples per step, over all devices.
      runs: number of runs trained at once; then the state, ``fixed``, ``rows``, ``examples``,
        ``key`` and the results have a leading axis of this length. None for a single run.

    >>> from mcjax.analysis import toy
    >>> trainer = toy.trainer()
    >>> state = trainer.init(toy.A, (), {}, toy.TRAIN)
    >>> rows = np.array([0, 1, 2, 3], np.int32)  # two batches
    >>> state, sums, bad_step = trainer.run(
    ...     state, (), toy.TRAIN, rows, rows, jax.random.key(0), 2)
    >>> int(state.step), float(sums["count"])
    (2, 4.0)
    """

    init: Init
    run: Run
    size: int
    batch_size: int
    runs: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data set; the examples left over differ from epoch to epoch.

        >>> from mcjax.analysis import toy
        >>> toy.trainer()._replace(size=1000, batch_size=128).steps_per_epoch
        7
        """
        return self.size // self.batch_size


def make_trainer(
    train: StratumLoss,
    fetch: Fetch,
    optimizer: optax.GradientTransformation,
    *,
    size: int,
    batch_size: int,
    mesh: jax.sharding.Mesh,
    strata: int = 1,
    runs: int | None = None,
    together: bool | None = None,
) -> Trainer:
    """Builds the training step and compiles it over the mesh.

    Args:
      train: the loss to differentiate, from `mcjax.engine.objectives.at_point` or
        `mcjax.engine.objectives.on_curve`.
      fetch: gathers a batch, such as `mcjax.data.batches`.
      optimizer: an optax chain.
      size: examples in the data set.
      batch_size: examples per step, over all devices.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      strata: parts of the batch that run one after another, each with its own key and stratum (on a
        curve: its own ``t``); their gradients are averaged.
      runs: number of runs to train at once, divided over the rows of the mesh
        (`mcjax.engine.parallel.with_rows`).
      together: whether the runs of a row take each step together, by ``vmap``, or one after
        another; default: whichever is faster on the backend.

    Raises:
      ValueError: the batch is larger than the data set, the strata do not divide the batch, the
        rows of the mesh do not divide the runs, or the optimizer is not an optax optimizer or (when
        the state is made) needs more than gradients and parameters.

    >>> from mcjax.analysis import toy
    >>> from mcjax.engine import objectives
    >>> mesh = parallel.make_mesh(jax.devices()[:1])
    >>> fetch = lambda data, rows, examples, weight, key: {"x": data[rows], "weight": weight}
    >>> train = objectives.on_curve(curves.polygonal_chain(1), toy.OBJECTIVE)
    >>> trainer = make_trainer(train, fetch, optax.sgd(0.5), size=1000, batch_size=100, mesh=mesh)
    >>> trainer.steps_per_epoch
    10
    >>> make_trainer(train, fetch, optax.sgd(0.5), size=50, batch_size=100, mesh=mesh)
    Traceback (most recent call last):
    ValueError: batch_size=100: the training split has 50 examples
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"optimizer={optimizer!r} is not an optax optimizer: use optax.adam(LEARNING_RATE)"
        )
    if not 0 < batch_size <= size:
        raise ValueError(f"batch_size={batch_size}: the training split has {size} examples")
    if strata < 1 or batch_size % strata:
        raise ValueError(f"t_strata={strata} does not divide batch_size={batch_size}")
    rows_of_mesh = mesh.shape[parallel.CURVE_AXIS]
    if runs is not None and (runs < 1 or runs % rows_of_mesh):
        raise ValueError(f"{runs} runs cannot be divided over {rows_of_mesh} rows of devices")
    step = _make_step(train, fetch, optimizer, batch_size, size // batch_size, strata)

    def run(
        state: TrainState,
        fixed: PyTree,
        data: PyTree,
        rows: Int[Any, " positions"],
        examples: Int[Any, " positions"],
        key: Key[Array, ""],
        count: int | Int[Array, ""],
    ) -> tuple[TrainState, Sums, Int[Array, ""]]:
        def body(i: jax.Array, state: TrainState) -> TrainState:
            here = lambda x: jax.lax.dynamic_slice_in_dim(x, i * batch_size, batch_size)  # noqa: E731
            return step(state, fixed, data, here(rows), here(examples), key)

        state = jax.lax.fori_loop(0, count, body, state)
        return state, state.sums, state.bad_step

    def init(params: PyTree, fixed: PyTree, model_state: PyTree, data: PyTree) -> TrainState:
        def sums_of(params: PyTree, fixed: PyTree, model_state: PyTree, data: PyTree) -> Sums:
            rows = jnp.zeros(batch_size // strata, jnp.int32)
            batch = fetch(data, rows, rows, jnp.ones(rows.shape), jax.random.key(0))
            return train(params, fixed, model_state, batch, jax.random.key(0), 0)[1][0]

        first = jax.sharding.Mesh(mesh.devices.ravel()[:1], (parallel.DATA_AXIS,))
        sums = jax.eval_shape(
            parallel.data_parallel(sums_of, first), params, fixed, model_state, data
        )
        return TrainState(
            step=jnp.int32(0),
            params=params,
            opt_state=_opt_state(optimizer, params),
            model_state=model_state,
            sums=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums),
            bad_step=jnp.int32(-1),
        )

    if runs is None:
        start = lambda *args: parallel.replicate(init(*args), mesh)  # noqa: E731
        one = parallel.data_parallel(run, mesh, donate_argnums=(0,))
        return Trainer(start, one, size, batch_size)

    def start_many(params: PyTree, fixed: PyTree, model_state: PyTree, data: PyTree) -> TrainState:
        many = jax.vmap(init, in_axes=(0, 0, 0, None))(params, fixed, model_state, data)
        return parallel.split(many, mesh)

    over = (True, True, False, True, True, True, False)
    several = _several(run, over, default_together() if together is None else together)
    several = parallel.curve_parallel(several, mesh, over, donate_argnums=(0,))
    return Trainer(start_many, several, size, batch_size, runs)


def _opt_state(optimizer: optax.GradientTransformation, params: PyTree) -> optax.OptState:
    """The optimizer's first state; raises ValueError if `_make_step` cannot call the optimizer."""
    with interop.standard_promotion():
        opt_state = jax.jit(optimizer.init)(params)
        try:
            jax.eval_shape(optimizer.update, params, opt_state, params)
        except TypeError as error:
            raise ValueError(
                f"the optimizer cannot be called with gradients and parameters alone ({error}): "
                "use one without a line search, such as optax.adam(LEARNING_RATE) or "
                "optax.lbfgs(LEARNING_RATE, linesearch=None)"
            ) from error
    return opt_state


def default_together() -> bool:
    """Whether several runs are faster together (``vmap``) than one by one on this backend.

    >>> default_together()  # on CPU
    False
    """
    return jax.default_backend() != "cpu"


def _several(run: Callable[..., Any], over: Sequence[bool], together: bool) -> Callable[..., Any]:
    """Maps ``run`` over the leading axis of the arguments selected by ``over``."""
    if together:
        return jax.vmap(run, in_axes=tuple(0 if each else None for each in over))

    def one_after_the_other(*args: Any) -> Any:
        each = [x for x, mapped in zip(args, over, strict=True) if mapped]

        def one(mine: list[Any]) -> Any:
            left = iter(mine)
            return run(*(next(left) if m else x for x, m in zip(args, over, strict=True)))

        return jax.lax.map(one, each)

    return one_after_the_other


def _make_step(
    train: StratumLoss,
    fetch: Fetch,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    steps_per_epoch: int,
    strata: int,
) -> Callable[..., TrainState]:
    """One step on one device's share; ``rows`` and ``examples`` are those of the global batch."""
    part_size = batch_size // strata

    def part_gradient(
        state: TrainState,
        fixed: PyTree,
        data: PyTree,
        rows: Int[Array, " batch"],
        examples: Int[Array, " batch"],
        keys: Key[Array, "2"],
        stratum: int | Int[Array, ""],
    ) -> tuple[PyTree, Sums, PyTree]:
        positions, weight = parallel.share(part_size)
        positions += stratum * part_size
        batch = fetch(data, rows[positions], examples[positions], weight, keys[0])

        def weighted_loss(params: PyTree) -> tuple[Float[Array, ""], tuple[Sums, PyTree]]:
            key = jax.random.fold_in(keys[1], stratum)
            loss, (sums, new) = train(params, fixed, state.model_state, batch, key, stratum)
            loss = curves.wide(loss)
            return loss * sums["count"].astype(loss.dtype), (sums, new)

        gradient, (sums, model_state) = derivatives.gradient(weighted_loss)(state.params)
        return gradient, sums, model_state

    def all_parts(
        state: TrainState,
        fixed: PyTree,
        data: PyTree,
        rows: Int[Array, " batch"],
        examples: Int[Array, " batch"],
        keys: Key[Array, "2"],
    ) -> tuple[PyTree, Sums, PyTree]:
        def add(carry: tuple[Any, PyTree], stratum: jax.Array) -> tuple[tuple[Any, PyTree], None]:
            total, model_state = carry
            here = state._replace(model_state=model_state)
            gradient, sums, model_state = part_gradient(
                here, fixed, data, rows, examples, keys, stratum
            )
            return (jax.tree.map(jnp.add, total, [gradient, sums]), model_state), None

        zeros = jax.tree.map(jnp.zeros_like, [state.params, state.sums])
        ((gradient, sums), model_state), _ = jax.lax.scan(
            add, (zeros, state.model_state), jnp.arange(strata)
        )
        return gradient, sums, model_state

    def step(
        state: TrainState,
        fixed: PyTree,
        data: PyTree,
        rows: Int[Array, " batch"],
        examples: Int[Array, " batch"],
        key: Key[Array, ""],
    ) -> TrainState:
        keys = jax.random.split(jax.random.fold_in(key, state.step))
        args = (state, fixed, data, rows, examples, keys)
        gradient, sums, model_state = part_gradient(*args, 0) if strata == 1 else all_parts(*args)
        gradient, sums = parallel.sum_over_devices((gradient, sums))
        gradient = derivatives.divided(gradient, sums["count"])
        with interop.standard_promotion():
            updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.tree.norm(gradient))
        is_first_bad = ~finite & (state.bad_step < 0)
        first = state.step % steps_per_epoch == 0
        return TrainState(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            model_state=model_state,
            sums=jax.tree.map(lambda old, new: jnp.where(first, 0, old) + new, state.sums, sums),
            bad_step=jnp.where(is_first_bad, state.step, state.bad_step),
        )

    return step


def epoch_order(seed_key: Any, epoch: int, size: int) -> Int[np.ndarray, "*keys {size}"]:
    """The order of the examples in an epoch (int32), a function of key and epoch alone.

    Args:
      seed_key: typed or legacy; an array of keys gives one order per key.
      epoch: counted from 0.
      size: examples in the data set.

    Raises:
      ValueError: ``seed_key`` is not a key.

    >>> epoch_order(jax.random.key(0), epoch=0, size=4)
    array([0, 2, 1, 3], dtype=int32)
    """
    return np.asarray(_permutation(interop.typed_key(seed_key, None), epoch, size))


def _permutation_of_one(key: Key[Array, ""], epoch: jax.Array, size: int) -> Int[Array, " size"]:
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def _each_key(function: Callable[..., Any]) -> Callable[..., Any]:
    """Extends ``function(key, ...)`` to arrays of keys."""

    def on_keys(key: Key[Array, "..."], *args: Any) -> Any:
        if key.ndim:
            return jax.vmap(lambda k: on_keys(k, *args))(key)
        return function(key, *args)

    return on_keys


_permutation = jax.jit(_each_key(_permutation_of_one), static_argnums=2)
_split = jax.jit(_each_key(lambda key: tuple(jax.random.split(key))))


def steps_done(state: TrainState) -> int:
    """Steps done, by one run or by several trained at once; waits for the state.

    >>> from mcjax.analysis import toy
    >>> steps_done(toy.trainer().init(toy.A, (), {}, toy.TRAIN))
    0
    """
    return int(np.ravel(state.step.addressable_data(0))[0])


def chunks(
    trainer: Trainer,
    state: TrainState,
    fixed: PyTree,
    data: PyTree,
    epochs: int,
    key: Any,
    *,
    stops: Collection[int] = (),
    seconds: float = 2.0,
) -> Iterator[Chunk]:
    """Trains up to ``epochs`` in chunks of about ``seconds``; no chunk spans two epochs.

    A chunk is yielded as soon as it is dispatched: read the numbers of the previous one to keep the
    device busy. Resuming from a saved state is bit-identical to never having stopped.

    Args:
      trainer: from `make_trainer`.
      state: from ``trainer.init``, or restored. Its buffers are consumed.
      fixed: the parameters held fixed (a curve's ends), or ``()``.
      data: pytree of arrays with a leading axis of examples, from `mcjax.engine.streams.place`: on
        the devices, or on the host, from which each chunk's examples are copied. Several runs
        differ in their order of examples: each device then gets the examples of all runs.
      epochs: where to stop, counted from step 0.
      key: made from the run's seed, typed or legacy; an array of keys for several runs.
      stops: steps at which a chunk ends, in addition to the ends of epochs.
      seconds: target wall-clock length of a chunk.

    Yields:
      What the host sees after each chunk.

    Raises:
      ValueError: ``key`` is not a key, or not an array of keys for several runs.

    >>> from mcjax.analysis import toy
    >>> state = toy.trainer().init(toy.A, (), {}, toy.TRAIN)
    >>> for chunk in chunks(toy.trainer(), state, (), toy.TRAIN, 3, jax.random.key(0), stops=[5]):
    ...     print(chunk.step, end=" ")
    1 2 4 5 6
    """
    order_key, step_key = _split(interop.typed_key(key, 0 if trainer.runs is None else 1))
    batch, per_epoch = trainer.batch_size, trainer.steps_per_epoch
    # Streamed chunks are padded to one size, to compile only once.
    streamed, longest = streams.is_streamed(data), per_epoch
    if streamed:
        longest = min(per_epoch, streams.batches_per_chunk(data, batch, trainer.runs or 1))
    step, count, order = steps_done(state), 1, None
    while step < epochs * per_epoch:
        began = time.monotonic()
        epoch, offset = divmod(step, per_epoch)
        if order is None or offset == 0:
            order = epoch_order(order_key, epoch, trainer.size)  # [..., size]
        until = min((stop for stop in stops if stop > step), default=step + longest)
        count = min(count, per_epoch - offset, longest, until - step)
        examples = order[..., offset * batch : (offset + count) * batch]
        examples = _padded(examples, longest * batch)
        rows, source = _chosen(data, examples) if streamed else (examples, data)
        state, sums, bad_step = trainer.run(state, fixed, source, rows, examples, step_key, count)
        step += count
        yield Chunk(state, step, sums, bad_step)
        rate = count / max(time.monotonic() - began, 1e-6)
        count = parallel.broadcast_from_first(max(1, min(8 * count, round(rate * seconds))))


def _chosen(data: PyTree, examples: np.ndarray) -> tuple[np.ndarray, PyTree]:
    """A copy of some examples, preceded by their positions in it, shaped like ``examples``."""
    rows = np.arange(examples.size, dtype=examples.dtype).reshape(examples.shape)
    return rows, jax.tree.map(lambda x: np.asarray(x)[examples.ravel()], data)


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    """Pads with zeros at the end of the last axis."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])
