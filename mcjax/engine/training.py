"""One training engine for modes and curves.

Training is a sequence of *chunks*: jitted loops over a number of steps that is an argument, so one
compilation serves every length. Between chunks the host sees signals, failures and progress. What
a step does is a function of seed, step and example index alone: neither the chunks nor the devices
nor an interruption between two chunks change a number.

Several runs that differ in parameters and seed only (the curves of several pairs) can be trained at
once, along a leading axis of everything that is theirs.

The design's `lax.scan` of fixed length is a `lax.fori_loop` here: its length may vary at run time
(an epoch that no chunk divides, a slow network) and nothing is differentiated through it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves
from mcjax.engine import derivatives, interop, parallel, streams


class TrainState(NamedTuple):
    """What is carried from step to step, and saved.

    Attributes:
      step: int32 scalar, steps done.
      params: what is trained: a mode's parameters, or a tuple of bends.
      opt_state: the optimizer's.
      model_state: what the network carries beside parameters (batch norm's averages), or ``{}``.
      sums: metric sums over the steps of the current epoch.
      bad_step: int32 scalar, the first step whose loss or gradient was not finite, or -1.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    model_state: Any
    sums: dict[str, jax.Array]
    bad_step: jax.Array


class Chunk(NamedTuple):
    """What the host sees after each chunk; the arrays may still be being computed.

    Attributes:
      state: the state after the chunk. The next chunk consumes its buffers: copy to keep it.
      step: steps done, a Python int.
      sums: as ``state.sums``, in buffers of its own.
      bad_step: as ``state.bad_step``, in a buffer of its own.
    """

    state: TrainState
    step: int
    sums: dict[str, jax.Array]
    bad_step: jax.Array


class Trainer(NamedTuple):
    """A training function compiled for one objective, data set and mesh.

    Attributes:
      init: ``(params, fixed, model_state, data) -> TrainState`` at step 0, on all devices.
      run: ``(state, fixed, data, rows, examples, key, count) -> (state, sums, bad_step)``.
      size: examples in the data set.
      batch_size: global batch.
      runs: None, or how many are trained at once: then the state, ``fixed``, ``rows``,
        ``examples``, ``key`` and the results have a leading axis of this length.
    """

    init: Callable[..., TrainState]
    run: Callable[..., tuple[TrainState, dict, jax.Array]]
    size: int
    batch_size: int
    runs: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the data set; the examples left over differ from epoch to epoch."""
        return self.size // self.batch_size


def make_trainer(
    train: Callable[..., Any],
    fetch: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    size: int,
    batch_size: int,
    mesh: jax.sharding.Mesh,
    strata: int = 1,
    runs: int | None = None,
    together: bool | None = None,
) -> Trainer:
    """Builds the step and compiles it over the mesh.

    Args:
      train: ``(params, fixed, state, batch, key, stratum) -> (loss, (sums, state))``; see
        `mcjax.engine.objectives.at_point` and `on_curve`.
      fetch: ``(data, rows, examples, weight, key) -> batch``; see `mcjax.data.batches`.
      optimizer: an optax chain.
      size: examples in the data set.
      batch_size: examples a step, over all devices.
      mesh: from `mcjax.engine.parallel.make_mesh`.
      strata: parts of the batch that are run one after the other, each with its own key and
        stratum (for a curve: its own ``t``); their gradients are averaged.
      runs: trains so many at once, divided over the rows of the mesh (`parallel.with_rows`).
      together: whether those of a row take each step together, by ``vmap``, or one after the other;
        by default what the backend is faster at.

    Raises:
      ValueError: the batch is larger than the data set, the strata do not divide it, the rows of
        the mesh do not divide the runs, or the optimizer is not optax's or (when the state is made)
        needs more than gradients and parameters.
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

    def run(state, fixed, data, rows, examples, key, count):
        def body(i, state):
            here = lambda x: jax.lax.dynamic_slice_in_dim(x, i * batch_size, batch_size)  # noqa: E731
            return step(state, fixed, data, here(rows), here(examples), key)

        state = jax.lax.fori_loop(0, count, body, state)
        return state, state.sums, state.bad_step

    def init(params, fixed, model_state, data):
        def shapes(params, fixed, model_state, data):
            rows = jnp.zeros(batch_size // strata, jnp.int32)
            batch = fetch(data, rows, rows, jnp.ones(rows.shape), jax.random.key(0))
            return train(params, fixed, model_state, batch, jax.random.key(0), 0)[1][0]

        first = jax.sharding.Mesh(mesh.devices.ravel()[:1], (parallel.DATA_AXIS,))
        sums = jax.eval_shape(
            parallel.data_parallel(shapes, first), params, fixed, model_state, data
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
        run = parallel.data_parallel(run, mesh, donate_argnums=(0,))
        return Trainer(start, run, size, batch_size)

    def start_many(params, fixed, model_state, data):
        many = jax.vmap(init, in_axes=(0, 0, 0, None))(params, fixed, model_state, data)
        return parallel.split(many, mesh)

    over = (True, True, False, True, True, True, False)
    several = _several(run, over, default_together() if together is None else together)
    several = parallel.curve_parallel(several, mesh, over, donate_argnums=(0,))
    return Trainer(start_many, several, size, batch_size, runs)


def _opt_state(optimizer, params):
    """The optimizer's first state; raises ValueError where `_make_step` cannot call it."""
    with interop.standard_promotion():
        opt_state = optimizer.init(params)
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
    """Whether several runs are faster step by step together on this backend than in turn."""
    return jax.default_backend() != "cpu"


def _several(run, over, together):
    """Maps ``run`` over the leading axis of its arguments that are ``over`` it."""
    if together:
        return jax.vmap(run, in_axes=tuple(0 if each else None for each in over))

    def one_after_the_other(*args):
        each = [x for x, mapped in zip(args, over, strict=True) if mapped]

        def one(mine):
            left = iter(mine)
            return run(*(next(left) if m else x for x, m in zip(args, over, strict=True)))

        return jax.lax.map(one, each)

    return one_after_the_other


def _make_step(train, fetch, optimizer, batch_size, steps_per_epoch, strata):
    """One step on one device's share; ``rows`` and ``examples`` are the global batch's."""
    part_size = batch_size // strata

    def part_gradient(state, fixed, data, rows, examples, keys, stratum):
        positions, weight = parallel.share(part_size)
        positions += stratum * part_size
        batch = fetch(data, rows[positions], examples[positions], weight, keys[0])

        def weighted_loss(params):
            key = jax.random.fold_in(keys[1], stratum)
            loss, (sums, new) = train(params, fixed, state.model_state, batch, key, stratum)
            loss = curves.wide(loss)
            return loss * sums["count"].astype(loss.dtype), (sums, new)

        gradient, (sums, model_state) = derivatives.gradient(weighted_loss)(state.params)
        return gradient, sums, model_state

    def all_parts(state, fixed, data, rows, examples, keys):
        def add(carry, stratum):
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

    def step(state, fixed, data, rows, examples, key):
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


def epoch_order(seed_key: jax.Array, epoch: int, size: int) -> np.ndarray:
    """The order of the examples in an epoch (int32 ``[size]``), a function of key and epoch.

    An array of keys gives an order for each: ``[..., size]``.
    """
    return np.asarray(_permutation(interop.typed_key(seed_key, None), epoch, size))


def _permutation_of_one(key, epoch, size):
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def _each_key(function):
    """``function(key, ...)`` for one key or an array of them, compiled."""

    def on_keys(key, *args):
        if key.ndim:
            return jax.vmap(lambda k: on_keys(k, *args))(key)
        return function(key, *args)

    return on_keys


_permutation = jax.jit(_each_key(_permutation_of_one), static_argnums=2)
_split = jax.jit(_each_key(lambda key: tuple(jax.random.split(key))))


def steps_done(state: TrainState) -> int:
    """Steps done, of one run or of several that go together; waits for the state."""
    return int(np.ravel(state.step.addressable_data(0))[0])


def chunks(
    trainer: Trainer,
    state: TrainState,
    fixed: Any,
    data: Any,
    epochs: int,
    key: jax.Array,
    *,
    seconds: float = 2.0,
) -> Iterator[Chunk]:
    """Trains up to ``epochs`` in chunks of about ``seconds``; an epoch's end always ends a chunk.

    A chunk is handed out as soon as it is dispatched: whoever reads the numbers of the one before
    keeps the device busy. Going on from a saved state gives the same bits as never having stopped.

    Args:
      trainer: from `make_trainer`.
      state: from ``trainer.init``, or restored. It is consumed.
      fixed: what the training function takes as its second argument (a curve's ends), or ``()``.
      data: pytree of arrays with a leading axis of examples, as `mcjax.engine.streams.place` gives
        it: on the devices, or on the host, from where each chunk's examples are copied. Several
        runs have orders of their own: each device then gets the examples of all.
      epochs: where to stop, counted from step 0.
      key: of the run's seed, typed or legacy; an array of keys for several runs.
      seconds: wall-clock length of a chunk to aim at.
    """
    order_key, step_key = _split(interop.typed_key(key, 0 if trainer.runs is None else 1))
    batch, per_epoch = trainer.batch_size, trainer.steps_per_epoch
    # A streamed chunk is copied into a buffer of one size, so that one compilation serves all.
    streamed, longest = streams.is_streamed(data), per_epoch
    if streamed:
        longest = min(per_epoch, streams.batches_per_chunk(data, batch, trainer.runs or 1))
    step, count, order = steps_done(state), 1, None
    while step < epochs * per_epoch:
        began = time.monotonic()
        epoch, offset = divmod(step, per_epoch)
        if order is None or offset == 0:
            order = epoch_order(order_key, epoch, trainer.size)  # [..., size]
        count = min(count, per_epoch - offset, longest)
        examples = order[..., offset * batch : (offset + count) * batch]
        examples = _padded(examples, longest * batch)
        rows, source = _chosen(data, examples) if streamed else (examples, data)
        state, sums, bad_step = trainer.run(state, fixed, source, rows, examples, step_key, count)
        step += count
        yield Chunk(state, step, sums, bad_step)
        rate = count / max(time.monotonic() - began, 1e-6)
        count = parallel.first_says(max(1, min(8 * count, round(rate * seconds))))


def _chosen(data: Any, examples: np.ndarray) -> tuple[np.ndarray, Any]:
    """Positions in a copy of some examples, as many as ``examples``, and that copy."""
    rows = np.arange(examples.size, dtype=examples.dtype).reshape(examples.shape)
    return rows, jax.tree.map(lambda x: np.asarray(x)[examples.ravel()], data)


def _padded(x: np.ndarray, length: int) -> np.ndarray:
    """Zeros behind, along the last axis."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])
