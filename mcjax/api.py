"""A few calls for any JAX model: fit, profile, interpolate, average, evaluate planes, sharpness.

They need parameters (pytrees of floating-point arrays, from any library), data (a pytree of arrays
with a leading axis of examples), and a loss, ``loss(params, batch)`` or ``loss(params, batch,
key)``, whose batches are rows of the data. They only combine existing parts
(`mcjax.engine.objectives`, `mcjax.engine.training`, `mcjax.engine.evaluation`;
`mcjax.analysis.profiles`, `mcjax.analysis.surfaces`): for more control, start there.

**The loss** is a mean over examples. It is called with one example at a time (a batch of one, under
``vmap``), so padding does not count and means are exact for any batch size and number of devices;
the computation still runs on the whole batch at once. A loss that is not such a mean (contrastive,
or batch norm over the batch) needs an objective. Each example has its own key, and profiles and
surfaces use the same keys at every point.

**Instead of a loss**, pass an `mcjax.engine.objectives.Objective` for other metrics, dropout in
training only, or a ``state`` such as batch norm's averages, which is recomputed at every point. The
data must then be a dict, and so are the batches, which also have the rows' ``weight`` (zero for
padding).

**Metrics** besides those of the loss or objective are given as ``metrics=["ece", mine]``: names of
built-in ones (`mcjax.engine.builtin_metrics`) and functions ``mine(logits, batch)`` that return one
value per example (`mcjax.engine.metrics`). All but ``perplexity`` need an objective with logits.

**Errors.** Every call raises ValueError before any long work if parameters are not floating-point
arrays, or differ in structure, shape or dtype; if data are not arrays with one leading axis of
examples, or the splits differ in structure; if the loss fails for one example, or is not a real
scalar; if a metric is unknown or fails; or if a count is not a whole number in its range.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcjax import curves, planes, results
from mcjax.analysis import hessian, interpolation, profiles, refinement, soups, surfaces
from mcjax.engine import (
    builtin_metrics,
    checks,
    evaluation,
    interop,
    metric_checks,
    objectives,
    parallel,
    sampling,
    streams,
    training,
)
from mcjax.engine.builtin_metrics import Given
from mcjax.engine.evaluation import Progress
from mcjax.typing import Array, Float, PyTree

Loss = objectives.Loss | objectives.Objective
"""A mean loss over examples, or an objective; see the module."""

ONE_BEND = curves.polygonal_chain(1)


def _no_progress(done: int) -> None:
    pass


def fit_curve(
    loss: Loss,
    start: PyTree,
    end: PyTree,
    data: PyTree,
    *,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    key: Array | np.ndarray,
    curve: curves.Curve = ONE_BEND,
    state: PyTree = None,
    progress: Progress = _no_progress,
) -> tuple[tuple[PyTree, ...], Float[np.ndarray, " epochs"]]:
    """Fits a curve's bends with its ends fixed (Gotmare et al., 2018, Section 2).

    Each step draws one ``t ~ U(0, 1)`` and follows the gradient of the loss at ``phi(t)``.

    Args:
      loss: see the module.
      start: the parameters at ``t = 0``.
      end: the parameters at ``t = 1``.
      data: training examples; copied to every device, or streamed if they exceed half of its
        memory.
      optimizer: an optax chain. Its schedule sees ``examples // batch_size`` steps per epoch.
      epochs: passes over the data, each in a different order.
      batch_size: examples per step, over all devices.
      key: random key for the order of the data, ``t`` and the loss's own keys; typed or legacy.
      curve: from `mcjax.curves`; default: the chain with one bend.
      state: initial state of an objective.
      progress: called with the number of epochs done.

    Returns:
      The control points ``(start, *bends, end)``, on all devices, and the mean training loss of
      each epoch over its steps, each at its own ``t``. Ends that are JAX arrays on all devices
      already are returned without a copy.

    Raises:
      ValueError: as the module says; or the curve has no bends, the batch is larger than the data,
        or the key or the optimizer is not one.
      FloatingPointError: the loss or its gradient was not finite.

    >>> from mcjax import api, curves
    >>> loss = lambda w, batch: jnp.mean((w[0] * w[1] - batch) ** 2)  # low where w_0 w_1 = 1
    >>> start, end = np.float32([0.2, 5]), np.float32([5, 0.2])
    >>> control_points, losses = api.fit_curve(
    ...     loss, start, end, np.float32([1, 1]), curve=curves.bezier(1), epochs=60, batch_size=2,
    ...     optimizer=optax.adam(0.1), key=jax.random.key(0))
    >>> losses.shape, bool(losses[-10:].mean() < 0.1 * losses[:10].mean())
    ((60,), True)
    >>> start, bend, end = control_points
    """
    curves.check_curve(curve)
    key = interop.typed_key(key)
    epochs, batch_size = (
        checks.whole_number("epochs", epochs),
        checks.whole_number("batch_size", batch_size),
    )
    objective, fetch, mesh = _prepare(loss, (start, end), data)
    if curve.num_bends < 1:
        raise ValueError(
            f"a {curve.name} has no bends: nothing to fit; interpolate evaluates segments"
        )
    trainer = training.make_trainer(
        objectives.on_curve(curve, objective), fetch, optimizer,
        size=checks.num_examples(data), batch_size=batch_size, mesh=mesh,
    )  # fmt: skip
    ends, state = parallel.spread((start, end), mesh), parallel.replicate(_or_empty(state), mesh)
    data = streams.place({"train": data}, mesh)["train"]
    line = jax.jit(lambda a, b: curves.straight_line(curve, a, b))
    train_state = trainer.init(line(*ends), ends, state, data)  # no name keeps the line alive
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
    control_points: Sequence[PyTree],
    data: PyTree,
    validation: PyTree = None,
    *,
    further: Mapping[str, PyTree] | None = None,
    points: int = 61,
    metrics: Given | Sequence[Given] = (),
    batch_size: int | None = None,
    state: PyTree = None,
    progress: Progress = _no_progress,
) -> results.Profile:
    """Evaluates the loss along a curve, and along the segment between its ends.

    Args:
      loss: see the module.
      curve: the fitted family, or `mcjax.curves.segment`.
      control_points: ``(start, *bends, end)``.
      data: the training split.
      validation: another split, of the same structure.
      further: likewise, other data to measure on, by their names in the result.
      points: number of ``t``, equally spaced from 0 to 1.
      metrics: to measure as well; see the module.
      batch_size: examples per forward pass; default: the backend's.
      state: an objective's state.
      progress: called with the number of points done on the current path.

    Returns:
      The input of `mcjax.plots.curve_figure`: ``found.t`` and, for each of ``found.curve`` and
      ``found.segment``, the metrics, such as ``metrics["train"]["loss"]`` of shape ``[points]``,
      and the barrier's height over the higher end, ``barriers["train"]["loss"].over_max``. For a
      segment there is only ``found.segment``. ``found.to_arrays()`` returns the arrays of
      ``curve.npz``.

    Raises:
      ValueError: as the module says; or the number of control points does not fit the curve.

    >>> from mcjax import api, curves
    >>> loss = lambda w, batch: jnp.mean((w[0] * w[1] - batch) ** 2)  # low where w_0 w_1 = 1
    >>> points = [np.float32(w) for w in ([0.2, 5], [-0.5, -0.5], [5, 0.2])]
    >>> found = api.profile(loss, curves.bezier(1), points, np.float32([1, 1]), points=5)
    >>> found.curve.metrics["train"]["loss"].round(1)
    array([0. , 0.1, 0. , 0.1, 0. ])
    >>> round(found.segment.barriers["train"]["loss"].over_max, 1)
    33.2
    """
    points = checks.whole_number("points", points, 2)
    checks.control_points(curve, control_points)
    evaluator, mesh = _evaluator(
        loss, control_points, data, validation, further, batch_size, metrics, state
    )
    control_points, state = parallel.replicate((tuple(control_points), _or_empty(state)), mesh)
    t = np.linspace(0, 1, points)
    return profiles.profile(
        evaluator, curve, control_points, t, state, progress=lambda path, done: progress(done)
    )


def interpolate(
    loss: Loss,
    networks: Sequence[PyTree],
    data: PyTree,
    validation: PyTree = None,
    *,
    further: Mapping[str, PyTree] | None = None,
    names: Sequence[str] | None = None,
    points: int = 25,
    t_range: tuple[float, float] = (0.0, 1.0),
    metrics: Given | Sequence[Given] = (),
    batch_size: int | None = None,
    state: PyTree = None,
    progress: Progress = _no_progress,
) -> results.Interpolation:
    """Evaluates the loss on the segments between every two of several networks.

    Args:
      loss: see the module.
      networks: K parameter pytrees, two or more.
      data: the training split.
      validation: another split, of the same structure.
      further: likewise, other data to measure on, by their names in the result.
      names: names of the networks, for figures; default: their numbers.
      points: number of ``t`` on each segment, equally spaced.
      t_range: the first and the last ``t``; the networks are at 0 and 1, beyond is extrapolation.
      metrics: to measure as well; see the module.
      batch_size: examples per forward pass; default: the backend's.
      state: an objective's state.
      progress: called with the number of points done.

    Returns:
      The input of `mcjax.plots.barriers_figure` and `mcjax.plots.pairs_figure`:
      ``found.matrix("train_loss")`` ``[K, K]``, the barriers over the higher end, ``found.t``, and
      ``found.paths["segment"].metrics["train"]["loss"]`` with a row for each of its ``pairs``.
      Barriers are between the networks, whatever ``t_range``. ``found.to_arrays()`` returns the
      arrays of ``interpolation.npz``.

    Raises:
      ValueError: as the module says; or there are fewer than two networks, a parameter is not
        finite, names are equal, or no point of ``t_range`` is between the networks.

    >>> from mcjax import api
    >>> loss = lambda w, batch: jnp.mean((w[0] ** 2 - 1) ** 2 + 0 * batch)  # low at -1 and 1
    >>> networks = [jnp.full(1, w) for w in (-1.0, 1.0, 1.1)]
    >>> found = api.interpolate(loss, networks, np.zeros(4, np.float32), points=5)
    >>> found.matrix("train_loss").round(2)
    array([[0.  , 1.  , 0.95],
           [1.  , 0.  , 0.  ],
           [0.95, 0.  , 0.  ]])
    """
    make = partial(
        _evaluator, loss, networks, data, validation, further, batch_size, metrics, state
    )
    there = _networks(networks, names, make)
    t = interpolation.positions(t_range, checks.whole_number("points", points, 2))
    own, state = parallel.replicate((there.params, _or_empty(state)), there.mesh)
    return interpolation.interpolate(there.evaluator, own, there.names, t, state, progress)


def soup(
    loss: Loss,
    networks: Sequence[PyTree],
    data: PyTree,
    validation: PyTree,
    *,
    further: Mapping[str, PyTree] | None = None,
    names: Sequence[str] | None = None,
    decay: float | None = None,
    points: int = 11,
    metrics: Given | Sequence[Given] = (),
    batch_size: int | None = None,
    state: PyTree = None,
) -> results.Soups:
    """Averages the weights of several networks: the uniform and the greedy soup, and an EMA.

    Args:
      loss: see the module.
      networks: K parameter pytrees, two or more.
      data: the training split.
      validation: the split by which the greedy soup is chosen, of the same structure: by its
        accuracy, or by its loss if there is no metric of this name.
      further: other data of this structure to measure on, by their names in the result.
      names: names of the networks, for figures; default: their numbers.
      decay: adds an exponential moving average over the networks, which are then in the order of
        training: each one's coefficient is ``decay`` times that of the next.
      points: number of ``t`` on the segment between every two networks, for their barriers.
      metrics: to measure as well; see the module.
      batch_size: examples per forward pass; default: the backend's.
      state: an objective's state.

    Returns:
      The input of `mcjax.plots.soups_figure`. ``found.coefficients`` has a row for each of
      ``found.recipe``; ``mcjax.curves.combine(networks, row)`` is the average.
      ``found.segments.matrix("train_loss")`` are the barriers between the networks.

    Raises:
      ValueError: as the module says; or there are fewer than two networks, a parameter is not
        finite, names are equal, there is no validation split, or ``decay`` is not between 0 and 1.

    >>> from mcjax import api, curves
    >>> loss = lambda w, batch: jnp.mean((w[0] - batch) ** 2)  # of a mean of zero
    >>> networks = [jnp.full(1, w) for w in (-1.0, 2.0, 1.0)]
    >>> data = np.array([-1.0, 1.0], np.float32)
    >>> found = api.soup(loss, networks, data, data)
    >>> found.recipe.tolist(), found.coefficients.round(2).tolist()
    (['uniform', 'greedy'], [[0.33, 0.33, 0.33], [0.5, 0.0, 0.5]])
    >>> curves.combine(networks, found.coefficients[1]).round(2).tolist()
    [0.0]
    """
    more = {} if decay is None else {"ema": soups.exponential(len(networks), decay)}
    make = partial(
        _evaluator, loss, networks, data, validation, further, batch_size, metrics, state
    )
    there = _networks(networks, names, make)
    if "validation" not in there.evaluator.splits:
        raise ValueError("validation=None: the greedy soup is chosen on held-out data")
    t = interpolation.positions((0.0, 1.0), checks.whole_number("points", points, 3))
    own, state = parallel.replicate((there.params, _or_empty(state)), there.mesh)
    segments = interpolation.interpolate(there.evaluator, own, there.names, t, state)

    def evaluate(rows: Float[np.ndarray, "rows K"]) -> results.Values:
        return results.Values.joined([there.evaluator(own, rows, state)])

    return soups.measure(evaluate, segments, more)


def surface(
    loss: Loss,
    points: Sequence[PyTree],
    data: PyTree,
    validation: PyTree = None,
    *,
    further: Mapping[str, PyTree] | None = None,
    curve: tuple[curves.Curve, Sequence[PyTree]] | None = None,
    iterates: Mapping[int, PyTree] | None = None,
    names: Sequence[str] = ("start", "end", "bend"),
    extent: float | None = None,
    grid: tuple[int, int] = (21, 21),
    margin: float = 0.2,
    refine: float | None = None,
    examples: int | None = None,
    stop_above: float | None = None,
    metrics: Given | Sequence[Given] = (),
    batch_size: int | None = None,
    state: PyTree = None,
    progress: Progress = _no_progress,
) -> results.Surface:
    """Evaluates the loss on the plane through three points (Gotmare et al., 2018, Section 5).

    Args:
      loss: see the module.
      points: three parameter pytrees; for a curve with one bend ``(start, end, bend)``.
      data: the training split.
      validation: another split, of the same structure.
      further: likewise, other data to measure on, by their names in the result.
      curve: a curve and its control points, to draw on the plane.
      iterates: parameters of a training run by epoch, to draw on the plane.
      names: names of the three points.
      extent: for a surface around one point: ``points`` then come from
        `mcjax.analysis.directions.around`, and the grid extends ``extent`` times each direction's
        length to both sides of the first point. The other two are not networks, and are not drawn
        as such.
      grid: number of points along x and along y.
      margin: margin around what is drawn, relative to the larger extent.
      refine: evaluate only some of the grid's points, and interpolate the others so that losses
        miss by at most this share of the range that a figure shows, such as 0.02. See
        `mcjax.analysis.refinement.refine`; by default all points are evaluated.
      examples: measure points on a random sample of this many examples of each split, with
        standard errors (`mcjax.engine.sampling.Sampled`); by default on all examples. Batch norm's
        statistics are then those of the sample: use 1,000 or more.
      stop_above: with ``examples``, a loss beyond which the sample is enough: points that are not
        above it by three standard errors are measured on all examples.
      metrics: to measure as well; see the module.
      batch_size: examples per forward pass; default: the backend's.
      state: an objective's state.
      progress: called with the number of grid points done; with ``refine`` of those evaluated.

    Returns:
      The input of `mcjax.plots.surface_figure`: ``found.x`` ``[W]`` and ``found.y`` ``[H]`` in
      units of weight distance, ``found.metrics["train"]["loss"]`` ``[H, W]``, ``found.points``,
      ``found.curve``, ``found.iterates`` and, with ``extent``, ``found.directions``;
      with ``refine``, ``found.refinement`` has the evaluated points and the error; with
      ``examples``, ``found.sampling`` has the standard errors.
      ``found.to_arrays()`` returns the arrays of ``surface.npz``.

    Raises:
      ValueError: as the module says; or the points do not span a plane, the control points or the
        iterates do not match them, or ``names``, ``extent``, ``grid``, ``margin``, ``refine``,
        ``examples`` or ``stop_above`` is out of range.

    >>> from mcjax import api
    >>> loss = lambda w, batch: jnp.mean((w[0] * w[1] - batch) ** 2)  # low where w_0 w_1 = 1
    >>> points = [np.float32(w) for w in ([0.2, 5], [5, 0.2], [1, 1])]
    >>> found = api.surface(loss, points, np.float32([1, 1]), grid=(4, 3))
    >>> found.metrics["train"]["loss"].shape, found.y.round(1)
    ((3, 4), array([-1.4,  1.1,  3.6]))
    >>> dict(zip(found.points.name.tolist(), found.points.xy.round(1).tolist()))
    {'start': [0.0, 0.0], 'end': [6.8, 0.0], 'bend': [3.4, 2.3]}
    """
    if len(names) != 3:
        raise ValueError(f"{len(names)} names: a plane has three points")
    if extent is not None and not 0 < extent < np.inf:
        raise ValueError(f"extent={extent}: use a positive number")
    surfaces.check_grid(grid, margin)
    if refine is not None:
        refinement.check_tolerance(refine)
    if examples is not None:
        checks.whole_number("examples", examples, sampling.LEAST)
    if stop_above is not None and (examples is None or not 0 < stop_above < np.inf):
        raise ValueError(f"stop_above={stop_above}: use a positive loss, and examples with it")
    evaluator, mesh = _evaluator(
        loss, points, data, validation, further, batch_size, metrics, state
    )
    if examples is not None:
        evaluator = sampling.Sampled(evaluator, examples, stop_above=stop_above)
    points, state = parallel.replicate((tuple(points), _or_empty(state)), mesh)
    plane = planes.plane(points)
    if curve is not None:
        checks.control_points(*curve)
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
    if refine is not None:
        evaluate = partial(
            surfaces.evaluate_points, evaluator, planes.frame(plane, points), plane, state=state
        )
        return surfaces.refined(found, x, y, evaluate, refine, progress)
    rows = [row for _, row in surfaces.evaluate(evaluator, points, plane, x, y, state, progress)]
    return surfaces.filled(found, x, y, rows)


def sharpness(
    loss: Loss,
    params: PyTree,
    data: PyTree,
    *,
    count: int = 1,
    samples: int = 32,
    seed: int = 0,
    batch_size: int | None = None,
    state: PyTree = None,
    progress: Progress = _no_progress,
) -> results.PointSharpness:
    """The largest eigenvalues of the Hessian of the mean training loss, and its trace.

    The eigenvalues are from ARPACK (`mcjax.analysis.hessian.eigenpairs`), the trace is Hutchinson's
    estimate (`mcjax.analysis.hessian.trace`). For points along a curve, use
    `mcjax.analysis.hessian.sharpness`.

    Args:
      loss: see the module.
      params: the point.
      data: the training split.
      count: number of eigenvalues, less than the number of parameters.
      samples: random vectors for the trace, 2 or more; its error decreases with their square root.
      seed: seed for both.
      batch_size: examples per forward pass; default: the backend's.
      state: an objective's state.
      progress: called with the number of Hessian products done.

    Raises:
      ValueError: as the module says; or there are not more parameters than ``count``.
      mcjax.analysis.hessian.NoEigenvaluesError: the Hessian is not finite, or ARPACK does not
        converge.

    >>> from mcjax import api
    >>> loss = lambda w, batch: 0.5 * jnp.sum(jnp.array([3.0, 1.0, -2.0]) * w**2)
    >>> found = api.sharpness(loss, jnp.ones(3), np.zeros((4, 1), np.float32))
    >>> found.eigenvalues.round(4), round(found.trace, 4), round(found.loss, 4)
    (array([3.]), 2.0, 1.0)
    """
    count, samples = checks.whole_number("count", count), checks.whole_number("samples", samples, 2)
    evaluator, mesh = _evaluator(loss, (params,), data, None, None, batch_size)
    params, state = parallel.replicate((params, _or_empty(state)), mesh)
    return hessian.at_point(
        evaluator, hessian.make_product(evaluator), params, state, count, samples=samples,
        seed=seed, progress=progress,
    )  # fmt: skip


def _placed(
    iterates: Mapping[int, PyTree] | None, points: Sequence[PyTree], mesh: jax.sharding.Mesh
) -> Iterator[tuple[int, PyTree]]:
    """Yields epochs and their parameters on all devices."""
    for epoch, params in (iterates or {}).items():
        curves.check_matching((points[0], params))
        yield epoch, parallel.replicate(params, mesh)


class _Networks(NamedTuple):
    """Several networks, checked, with an evaluator for them."""

    params: tuple[PyTree, ...]
    names: Sequence[str]
    evaluator: evaluation.Evaluator
    mesh: jax.sharding.Mesh


def _networks(
    networks: Sequence[PyTree],
    names: Sequence[str] | None,
    make: Callable[[], tuple[evaluation.Evaluator, jax.sharding.Mesh]],
) -> _Networks:
    if len(networks) < 2:
        raise ValueError(f"{len(networks)} networks: interpolation is between two or more")
    names = [str(k) for k in range(len(networks))] if names is None else names
    if len(set(names)) != len(networks):
        raise ValueError(f"names={names!r}: give {len(networks)} different names")
    evaluator, mesh = make()
    for name, params in zip(names, networks, strict=True):
        checks.finite(f"network {name} cannot be interpolated", params)
    return _Networks(tuple(networks), names, evaluator, mesh)


def _evaluator(
    loss: Loss,
    points: Sequence[PyTree],
    data: PyTree,
    validation: PyTree,
    further: Mapping[str, PyTree] | None,
    batch_size: int | None,
    metrics: Given | Sequence[Given] = (),
    state: PyTree = None,
) -> tuple[evaluation.Evaluator, jax.sharding.Mesh]:
    """The evaluator of all splits, and the mesh."""
    if batch_size is not None:
        batch_size = checks.whole_number("batch_size", batch_size)
    splits = {"train": data} if validation is None else {"train": data, "validation": validation}
    for name, split in (further or {}).items():
        if name in splits:
            raise ValueError(f"further data cannot be named {name}, as another split is")
        splits[name] = split
    results.check_splits(splits)
    for name, split in splits.items():
        if jax.tree.structure(split) != jax.tree.structure(data):
            raise ValueError(f"data and {name} have different tree structures")
        checks.num_examples(split)
    objective, fetch, mesh = _prepare(loss, points, data)
    if more := builtin_metrics.find_all(metrics):
        batch = streams.first_batch(fetch, data, metric_checks.EXAMPLES)
        objective = metric_checks.with_metrics(
            objective, more, points[0], _or_empty(state), batch, mesh
        )
    splits = streams.place(splits, mesh)
    return evaluation.Evaluator(objective, fetch, splits, mesh, batch_size=batch_size), mesh


def _prepare(
    loss: Loss, points: Sequence[PyTree], data: PyTree
) -> tuple[objectives.Objective, streams.Fetch, jax.sharding.Mesh]:
    """Checks parameters, data and loss; returns the objective, the ``fetch`` and the mesh."""
    for number, point in enumerate(points):
        checks.parameters(number, point)
    curves.check_matching(points)
    checks.num_examples(data)
    mesh = parallel.make_mesh()
    if isinstance(loss, objectives.Objective):
        if not isinstance(data, Mapping) or "weight" in data:
            raise ValueError("an Objective's data must be a dict of arrays without a 'weight'")
        return loss, _with_weight, mesh
    mean = objectives.with_key(loss)
    checks.mean_loss(mean, points[0], data)
    rows = lambda params, batch, key: mean(params, batch["rows"], key)  # noqa: E731
    return objectives.from_loss(rows, parallel.DATA_AXIS, "numbers"), _rows_and_numbers, mesh


def _rows_and_numbers(
    data: PyTree, rows: Array, examples: Array, weight: Array, key: Array
) -> dict[str, PyTree]:
    return {"rows": jax.tree.map(lambda x: x[rows], data), "weight": weight, "numbers": examples}


def _with_weight(
    data: dict[str, PyTree], rows: Array, examples: Array, weight: Array, key: Array
) -> dict[str, PyTree]:
    return {name: x[rows] for name, x in data.items()} | {"weight": weight}


def _or_empty(state: PyTree) -> PyTree:
    empty: dict[str, PyTree] = {}
    return empty if state is None else state


def _advice(
    objective: objectives.Objective,
    fetch: streams.Fetch,
    mesh: jax.sharding.Mesh,
    ends: Sequence[PyTree],
    data: PyTree,
    state: PyTree,
) -> str:
    """What to check after a non-finite loss: the data, or the learning rate."""
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
        "it is not finite even at the ends, before any step. Check data and parameters for "
        f"non-finite values, and labels that are not classes{found}"
    )
