"""Training curves, one or several at once, from checked flags to the last epoch."""

from collections.abc import Collection

import jax

from mcjax import curves
from mcjax.engine import objectives, parallel
from mcjax.engine.objectives import StratumLoss
from mcjax.results import Profile

from ..cli import RunFailed, UsageError, identity, say
from ..runs import (
    Point,
    Status,
    check_unchanged,
    forks,
    load_point,
    open_ends,
    restore_ends,
)
from . import alignment, loop, run_group
from .ends import train_if_needed
from .failures import chance_failure, mark_failed
from .fits import Fit
from .optimization import steps_per_epoch, with_weight_decay
from .problem import Problem, for_mode


def begin(fit: Fit, problem: Problem) -> None:
    """Opens the curve's run folder and trains the modes that are not trained yet.

    Raises:
      RunFailed: a mode did not train, or the curve failed earlier.
    """
    steps = steps_per_epoch(problem, fit.config)
    facts = forks.begin(fit.folder, fit.config, steps) | {"mode": identity(fit.start.mode)}
    if fit.different:
        facts["different"] = fit.different
    fit.folder.open("curve", fit.config, steps_per_epoch=steps, **facts)
    before = fit.folder.info["flags"]
    flags = before | {"start": fit.config.start, "end": fit.config.end}
    if flags != before:  # the ends were moved
        fit.folder.update(flags=flags)
    if fit.folder.status == Status.FAILED and not fit.config.allow_failed:
        raise RunFailed(f"{fit.folder.path} failed before: {fit.folder.info['reason']}")
    for one in (fit.start, fit.end):
        train_if_needed(one, problem, fit.config.allow_failed)


def train(fit: Fit, problem: Problem) -> None:
    """Trains a curve after `begin`, or resumes it; a trained curve is left unchanged.

    Raises:
      UsageError: an end has been retrained since the curve was started.
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal arrived.
    """
    if fit.folder.status != Status.RUNNING:
        return
    function, start = _prepare(fit, problem)
    strata, keep = fit.config.t_strata, fit.keep
    loop.train(fit.folder, fit.config, problem, function, start, strata=strata, keep=keep)
    fit.folder.move_to(Status.FITTED)


def train_together(fits: Collection[Fit], problem: Problem) -> None:
    """Trains several curves after `begin`, divided over the devices.

    Curves with a checkpoint of the same step resume together; those without a checkpoint start
    together. A curve that fails is marked failed.

    Raises:
      UsageError: an end has been retrained since its curve was started.
      Interrupted: a signal arrived.
    """
    by_path = {fit.folder.path: fit for fit in fits if fit.folder.status == Status.RUNNING}
    for runs in run_group.groups([fit.folder for fit in by_path.values()]):
        group = [by_path[run.path] for run in runs]
        config, own = group[0].config, for_mode(problem, group[0].start.mode)
        say(f"training {len(group)} curves at once on {own.mesh.size} devices")
        functions, starts = zip(*(_prepare(fit, own) for fit in group), strict=True)
        loop.train_together(
            [fit.folder for fit in group],
            config,
            own,
            functions[0],
            starts,
            strata=config.t_strata,
            keep=tuple({epoch for fit in group for epoch in fit.keep}),
        )
        for fit in group:
            if fit.folder.status == Status.RUNNING:
                fit.folder.move_to(Status.FITTED)


def _prepare(fit: Fit, problem: Problem) -> tuple[StratumLoss, loop.Start]:
    """Loads the ends, saves a copy of them with the curve, and places the bends on the segment.

    Returns:
      The training function, from `mcjax.engine.objectives`, and its start.

    Raises:
      UsageError: an end has been retrained since the curve was started.
    """
    folder, config = fit.folder, fit.config
    first, last = (load_point(one.name) for one in (fit.start, fit.end))
    if config.align:
        last = _aligned(fit, problem, first, last)
    ends = {"start": first.params, "end": last.params}
    with open_ends(folder) as there:
        there.save(0, parallel.replicate(ends, problem.mesh))
    check_unchanged(folder, ends)
    curve = curves.FAMILIES[config.curve](config.bends)
    line = jax.jit(lambda a, b: curves.straight_line(curve, a, b))
    bends = line(first.params, last.params)
    objective = with_weight_decay(config, problem.objective)
    if config.free_ends:
        function = objectives.on_curve_with_free_ends(curve, objective, config.t_strata)
        trained = (first.params, *bends, last.params)
        return function, loop.Start(trained, (), first.state, config.seed)
    function = objectives.on_curve(curve, objective, config.t_strata)
    return function, loop.Start(bends, (first.params, last.params), first.state, config.seed)


def _aligned(fit: Fit, problem: Problem, first: Point, last: Point) -> Point:
    """The end with its units permuted to match the start: the curve's copy of it, or a new one.

    Raises:
      UsageError: a weight is not finite, or the end has been retrained since it was aligned.
    """
    crc32, before = alignment.checksum(last.params), fit.folder.info.get("aligned")
    with open_ends(fit.folder, read_only=True) as there:
        is_saved = bool(there.steps())
    if before and is_saved:
        if before["crc32"] != crc32:
            raise UsageError(
                f"--end has been retrained since the curve in {fit.folder.path} was started: "
                "give another --workdir"
            )
        return last._replace(params=restore_ends(fit.folder)["end"])
    assert fit.config.align is not None
    method = alignment.Method(fit.config.align)
    found = alignment.align(problem, first, last, method, f"--end={fit.config.end}")
    fit.folder.update(aligned=found.facts | {"crc32": crc32})
    return found.point


def judge(fit: Fit, problem: Problem, profile: Profile) -> None:
    """Marks a newly evaluated curve done, or failed if its middle is at chance.

    Args:
      fit: the curve.
      problem: its problem.
      profile: its profile.

    Raises:
      RunFailed: it is at chance, and ``--allow_failed`` is not set.
    """
    if fit.folder.status != Status.FITTED:
        return
    accuracy = profile.curve.metrics["train"].get("accuracy")
    reason = None
    if accuracy is not None:
        middle = float(accuracy[len(accuracy) // 2])
        reason = chance_failure(problem, middle, "the middle of the curve")
    if reason is None:
        fit.folder.move_to(Status.DONE)
        return
    failure = mark_failed(fit.folder, reason)
    if not fit.config.allow_failed:
        raise RunFailed(failure)
