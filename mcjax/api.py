"""A few calls for any JAX model: fit a curve, profile it, evaluate a plane, measure sharpness.

All they need is parameters, pytrees of floating-point arrays from whatever library, data, a pytree
of arrays with a leading axis of examples, and a loss, ``loss(params, batch)`` or ``loss(params,
batch, key)``, whose batches are rows of the data. They only put the pieces together
(`mcjax.engine.objectives`, `training`, `evaluation`, `paths`, `surfaces`): for more, start there.

**What a loss is.** The mean of its examples' losses: it is given one example at a time (a batch
of one, under ``vmap``), so that padding counts for nothing and means are exact whatever the batch
size and the number of devices. The arithmetic is that of the whole batch at once. A loss of the
batch as a whole (contrastive, or batch norm over the batch) would be another function: it needs an
objective. A key is an example's own, and profiles and surfaces use the same keys at every point.

**More than a loss.** An `mcjax.engine.objectives.Objective` may stand in its place: other metrics,
dropout in training only, a ``state`` such as batch norm's averages, recomputed at every point. Its
data are a dict, and so are its batches, with the rows' ``weight`` added (zero for padding).

>>> import jax, jax.numpy as jnp, numpy as np, optax
>>> from mcjax import api, curves
>>> def loss(params, batch):  # low where the products of the two parameters are one
...     return jnp.mean((batch * jnp.prod(params) - batch) ** 2)
>>> data = np.linspace(-1, 1, 50, dtype=np.float32)
>>> start, end = jnp.array([0.2, 5.0]), jnp.array([5.0, 0.2])
>>> curve = curves.bezier(1)
>>> points, losses = api.fit_curve(
...     loss, start, end, data, curve=curve, optimizer=optax.adam(0.05), epochs=200, batch_size=10,
...     key=jax.random.key(0))
>>> found = api.profile(loss, curve, points, data)
>>> low, high = (path.barriers["train"]["loss"] for path in (found.curve, found.segment))
>>> bool(low.over_max < 0.2 * high.over_max)
True
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves, planes, results
from mcjax.analysis import hessian, profiles, surfaces
from mcjax.engine import evaluation, interop, objectives, parallel, streams, training

Loss = Callable[..., jax.Array] | objectives.Objective

ONE_BEND = curves.polygonal_chain(1)


def fit_curve(
    loss: Loss,
    start: Any,
    end: Any,
    data: Any,
    *,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    key: jax.Array,
    curve: curves.Curve = ONE_BEND,
    state: Any = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[tuple[Any, ...], np.ndarray]:
    """Fits a curve's bends, its two ends held (Gotmare et al., 2018, Section 2).

    Every step draws one ``t ~ U(0, 1)`` and follows the gradient of the loss at ``phi(t)``.

    Args:
      loss: see the module.
      start: the parameters at ``t = 0``.
      end: likewise at ``t = 1``.
      data: examples to train on; they are copied to every device, or streamed where they take
        over half of its memory.
      optimizer: an optax chain. A schedule's steps are ``examples // batch_size`` an epoch.
      epochs: passes over the data, each in an order of its own.
      batch_size: examples a step, over all devices.
      key: of the data's order, ``t`` and the loss's own keys; typed or legacy.
      curve: from `mcjax.curves`; the chain with one bend by default.
      state: an objective's, at the start.
      progress: told how many epochs are done.

    Returns:
      The control points ``(start, *bends, end)``, on all devices, and the mean training loss of
      each epoch over its steps, each at its own ``t``: ``[epochs]``.

    Raises:
      ValueError: an argument is wrong; found before any long work.
      FloatingPointError: the loss or its gradient was not finite.
    """
    curves.check_curve(curve)
    key = interop.typed_key(key)
    epochs, batch_size = _whole("epochs", epochs), _whole("batch_size", batch_size)
    objective, fetch, mesh = _prepare(loss, (start, end), data)
    if curve.num_bends < 1:
        raise ValueError(f"a {curve.name} has no bends: there is nothing to fit")
    trainer = training.make_trainer(
        objectives.on_curve(curve, objective), fetch, optimizer,
        size=_size(data), batch_size=batch_size, mesh=mesh,
    )  # fmt: skip
    ends, state = parallel.replicate(((start, end), _of(state)), mesh)
    data = streams.place({"train": data}, mesh)["train"]
    bends = jax.jit(lambda a, b: curves.straight_line(curve, a, b))(*ends)
    train_state = trainer.init(bends, ends, state, data)
    losses = []
    for chunk in training.chunks(trainer, train_state, ends, data, epochs, key):
        train_state = chunk.state
        if chunk.bad_step >= 0:
            advice = _advice(objective, fetch, mesh, ends, data, state)
            raise FloatingPointError(
                f"the loss or its gradient was not finite at step {int(chunk.bad_step)}: {advice}"
            )
        if chunk.step % trainer.steps_per_epoch == 0:
            losses.append(float(chunk.sums["loss"] / chunk.sums["count"]))
            progress(len(losses))
    return (ends[0], *train_state.params, ends[1]), np.array(losses)


def profile(
    loss: Loss,
    curve: curves.Curve,
    control_points: Sequence[Any],
    data: Any,
    validation: Any = None,
    *,
    points: int = 61,
    batch_size: int | None = None,
    state: Any = None,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Profile:
    """The loss along a curve, and along the segment between its ends.

    Args:
      loss: see the module.
      curve: the family that was fitted, or `curves.segment`.
      control_points: ``(start, *bends, end)``.
      data: the training split.
      validation: another split, of the same structure.
      points: how many ``t``, equally spaced from 0 to 1.
      batch_size: examples of a forward pass; by default the backend's.
      state: an objective's.
      progress: called with how many points of the path at hand are done.

    Returns:
      What `mcjax.plots.curve_figure` draws: ``found.t`` and, for each of ``found.curve`` and
      ``found.segment``, such as ``metrics["train"]["loss"]`` of shape ``[points]`` and the
      barrier's height over the higher end, ``barriers["train"]["loss"].over_max``. A segment has
      ``found.segment`` alone. ``found.to_arrays()`` has the arrays of ``curve.npz``.

    Raises:
      ValueError: an argument is wrong; found before any long work.
    """
    points = _whole("points", points, 2)
    _check_number(curve, control_points)
    evaluator, mesh = _evaluator(loss, control_points, data, validation, batch_size)
    control_points, state = parallel.replicate((tuple(control_points), _of(state)), mesh)
    t = np.linspace(0, 1, points)
    return profiles.profile(
        evaluator, curve, control_points, t, state, progress=lambda path, done: progress(done)
    )


def surface(
    loss: Loss,
    points: Sequence[Any],
    data: Any,
    validation: Any = None,
    *,
    curve: tuple[curves.Curve, Sequence[Any]] | None = None,
    iterates: Mapping[int, Any] | None = None,
    names: Sequence[str] = ("start", "end", "bend"),
    extent: float | None = None,
    grid: tuple[int, int] = (21, 21),
    margin: float = 0.2,
    batch_size: int | None = None,
    state: Any = None,
    progress: Callable[[int], None] = lambda done: None,
) -> results.Surface:
    """The loss on the plane through three points (Gotmare et al., 2018, Section 5).

    Args:
      loss: see the module.
      points: three parameter pytrees; for a curve of one bend ``(start, end, bend)``.
      data: the training split.
      validation: another split, of the same structure.
      curve: a curve and its control points, to be seen on the plane.
      iterates: parameters of a training run by epoch, to be seen on the plane.
      names: of the three points.
      extent: for a surface around one point: ``points`` are then of
      `mcjax.analysis.directions.around`, and
        the grid reaches so many lengths of either direction to both sides of the first one. The
        other two are no networks, and are not drawn as such.
      grid: how many points along x and along y.
      margin: room around what is drawn, as a share of the larger extent.
      batch_size: examples of a forward pass; by default the backend's.
      state: an objective's.
      progress: called with how many points of the grid are done.

    Returns:
      What `mcjax.plots.surface_figure` draws: ``found.x`` ``[W]`` and ``found.y`` ``[H]`` in units
      of weight distance, ``found.metrics["train"]["loss"]`` ``[H, W]``, ``found.points``,
      ``found.curve``, ``found.iterates`` and, with ``extent``, ``found.directions``.
      ``found.to_arrays()`` has the arrays of ``surface.npz``.

    Raises:
      ValueError: an argument is wrong, or the points span no plane; found before any long work.
    """
    if len(names) != 3:
        raise ValueError(f"{len(names)} names: a plane has three points")
    if extent is not None and not 0 < extent < np.inf:
        raise ValueError(f"extent={extent}: use more than 0")
    evaluator, mesh = _evaluator(loss, points, data, validation, batch_size)
    points, state = parallel.replicate((tuple(points), _of(state)), mesh)
    plane = planes.plane(points)
    if curve is not None:
        _check_number(*curve)
        curves.check_matching((points[0], *curve[1]))
        curve = curve[0], parallel.replicate(tuple(curve[1]), mesh)
    directions = None
    if extent is not None:
        directions = results.Directions(
            np.linalg.norm(plane.anchors[1:] - plane.anchors[0], axis=1)
        )
    found = surfaces.surface(
        evaluator, points, plane, state, names, curve=curve,
        run=_placed(iterates, points, mesh), directions=directions,
    )  # fmt: skip
    if directions is None or extent is None:
        x, y = surfaces.covering(found, plane, grid, margin)
    else:
        x, y = surfaces.grid_around(extent * directions.norm, grid)
    rows = [row for _, row in surfaces.evaluate(evaluator, points, plane, x, y, state, progress)]
    return surfaces.filled(found, x, y, rows)


def sharpness(
    loss: Loss,
    params: Any,
    data: Any,
    *,
    count: int = 1,
    samples: int = 32,
    seed: int = 0,
    batch_size: int | None = None,
    state: Any = None,
    progress: Callable[[int], None] = lambda done: None,
) -> results.PointSharpness:
    """The largest eigenvalues of the Hessian of the mean training loss, and its trace.

    Eigenvalues are ARPACK's (`mcjax.analysis.hessian.eigenpairs`), the trace is Hutchinson's
    estimate (`mcjax.analysis.hessian.trace`). Along a curve: `mcjax.analysis.hessian.sharpness`.

    Args:
      loss: see the module.
      params: the point.
      data: the training split.
      count: how many eigenvalues, fewer than there are parameters.
      samples: random vectors for the trace, 2 or more; its error falls with their square root.
      seed: of both.
      batch_size: examples of a forward pass; by default the backend's.
      state: an objective's.
      progress: called with how many products with the Hessian are done.

    Raises:
      ValueError: an argument is wrong.
      mcjax.analysis.hessian.NoEigenvaluesError: the Hessian is not finite, or ARPACK does not
      converge.

    >>> from mcjax import api
    >>> loss = lambda w, batch: 0.5 * jnp.sum(jnp.array([3.0, 1.0, -2.0]) * w**2)
    >>> found = api.sharpness(loss, jnp.ones(3), np.zeros((4, 1), np.float32))
    >>> found.eigenvalues.round(4), round(found.trace, 4), round(found.loss, 4)
    (array([3.]), 2.0, 1.0)
    """
    count, samples = _whole("count", count), _whole("samples", samples, 2)
    evaluator, mesh = _evaluator(loss, (params,), data, None, batch_size)
    params, state = parallel.replicate((params, _of(state)), mesh)
    return hessian.at_point(
        evaluator, hessian.make_product(evaluator), params, state, count, samples=samples,
        seed=seed, progress=progress,
    )  # fmt: skip


def _placed(iterates, points, mesh):
    """Pairs of epoch and parameters on all devices, one after another."""
    for epoch, params in (iterates or {}).items():
        curves.check_matching((points[0], params))
        yield epoch, parallel.replicate(params, mesh)


def _evaluator(loss, points, data, validation, batch_size):
    """The evaluator of one or two splits, and its mesh."""
    if batch_size is not None:
        batch_size = _whole("batch_size", batch_size)
    splits = {"train": data}
    if validation is not None:
        if jax.tree.structure(validation) != jax.tree.structure(data):
            raise ValueError("data and validation have different tree structures")
        splits["validation"] = validation
        _size(validation)
    objective, fetch, mesh = _prepare(loss, points, data)
    splits = streams.place(splits, mesh)
    return evaluation.Evaluator(objective, fetch, splits, mesh, batch_size=batch_size), mesh


def _prepare(loss, points, data):
    """Checks parameters, data and loss; gives the objective, the ``fetch`` and the mesh."""
    for number, point in enumerate(points):
        _check_leaves(number, point)
    curves.check_matching(points)
    _size(data)
    mesh = parallel.make_mesh()
    if isinstance(loss, objectives.Objective):
        if not isinstance(data, Mapping) or "weight" in data:
            raise ValueError("an Objective's data are a dict of arrays, without the key 'weight'")
        return loss, _with_weight, mesh
    mean = objectives.with_key(loss)
    _check_mean(mean, points[0], data)
    rows = lambda params, batch, key: mean(params, batch["rows"], key)  # noqa: E731
    return objectives.from_loss(rows, parallel.DATA_AXIS, "numbers"), _rows_and_numbers, mesh


def _rows_and_numbers(data, rows, examples, weight, key):
    return {"rows": jax.tree.map(lambda x: x[rows], data), "weight": weight, "numbers": examples}


def _with_weight(data, rows, examples, weight, key):
    return {name: x[rows] for name, x in data.items()} | {"weight": weight}


def _of(state):
    return {} if state is None else state


def _advice(objective, fetch, mesh, ends, data, state):
    """Where to look when the loss was not finite: at the data, or at the learning rate."""
    evaluator = evaluation.Evaluator(objective, fetch, {"train": data}, mesh)
    if np.isfinite(evaluator(ends, np.eye(2), state)["train"]["loss"]).all():
        return "try a lower learning rate"
    integers = [
        f"{jax.tree_util.keystr(path)} from {leaf.min()} to {leaf.max()}"
        for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]
        if jnp.issubdtype(leaf.dtype, jnp.integer)
    ]
    found = f" (the data have {', '.join(integers)})" if integers else ""
    return (
        "it is not at the ends themselves, before any step. Look for values that are not finite in "
        f"data and parameters, and for labels that are not classes{found}"
    )


def _whole(name, value, least=1):
    """An int of at least so much; raises ValueError for anything else."""
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={value!r}: use a whole number, {least} or more") from None
    if whole < least:
        raise ValueError(f"{name}={whole}: use {least} or more")
    return whole


def _check_number(curve, control_points):
    curves.check_curve(curve)
    if len(control_points) != curve.num_bends + 2:
        raise ValueError(
            f"{len(control_points)} control points: this curve has {curve.num_bends + 2}, "
            "(start, *bends, end)"
        )


def _check_leaves(number, params):
    """Raises ValueError for a leaf that cannot be mixed, before jax stumbles over it."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic)
        if not (is_array and jnp.issubdtype(leaf.dtype, jnp.inexact)):
            name = jax.tree_util.keystr(path) or "(the whole tree)"
            what = f"of dtype {leaf.dtype}" if is_array else f"a {_type(leaf)}"
            raise ValueError(
                f"leaf {name} of control point {number} is {what}: keep floating-point arrays in "
                "the parameters and the rest in the loss (Equinox: eqx.partition(model, "
                "eqx.is_inexact_array); NNX: nnx.split(model, nnx.Param, ...))"
            )


def _size(data):
    """The number of examples; raises ValueError where the leaves do not agree on it."""
    is_iterator = lambda x: hasattr(x, "__next__")  # noqa: E731
    leaves = jax.tree_util.tree_flatten_with_path(data, is_leaf=is_iterator)[0]
    if not leaves:
        raise ValueError("the data hold no array")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "(the whole tree)"
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(
                f"leaf {name} of the data is a {_type(leaf)}: expected numpy or jax arrays with a "
                "leading axis of examples, such as numpy.asarray(tensor) of another library's"
            )
        if leaf.dtype.kind in "OSUT":
            raise ValueError(f"leaf {name} of the data holds no numbers")
        if leaf.ndim == 0 or len(leaf) != np.shape(leaves[0][1])[0] or not len(leaf):
            raise ValueError(
                f"leaf {name} of the data has shape {leaf.shape}: every leaf needs the same "
                f"leading axis, of examples{_if_batches(data)}"
            )
    return len(leaves[0][1])


def _type(value):
    """The name of a value's type, with that of another library."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def _if_batches(data):
    """What to do with a list of batches, where the data look like one."""
    first = data[0] if isinstance(data, list | tuple) and data else None
    if not isinstance(first, Mapping | list | tuple):
        return ""
    return (
        "; where this is a list of batches, give one pytree of all examples: "
        "jax.tree.map(lambda *x: numpy.concatenate(x), *batches)"
    )


def _check_mean(mean, params, data):
    """Raises ValueError where the loss of a batch of one is not a real number."""
    batch = jax.tree.map(lambda x: jnp.asarray(x[:1]), data)
    try:
        value = jax.eval_shape(mean, params, batch, jax.random.key(0))
    except Exception as error:  # whatever the user's loss raises
        reason = str(error).partition("\n")[0]
        shapes = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", batch)
        raise ValueError(
            f"loss failed on a batch of one example, {shapes}: {type(error).__name__}: {reason}"
            f"{_if_batches(data)}"
        ) from error
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        what = getattr(value, "shape", None)
        what = type(value).__name__ if what is None else f"{value.dtype}{list(what)}"
        raise ValueError(f"loss gave {what}: expected one real number, the mean over the batch")
