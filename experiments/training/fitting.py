"""Training curves: one, or several at once, from checked flags to the last epoch."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import jax

from mcjax import curves
from mcjax.engine import objectives, parallel
from mcjax.results import Profile

from ..cli import RunFailed, UsageError, identity, say
from ..runs import (
    Point,
    Status,
    check_unchanged,
    checkpoint_steps,
    load_point,
    open_ends,
    restore_ends,
)
from . import alignment, loop
from .ends import train_if_needed
from .failures import chance_failure, mark_failed
from .fits import Fit
from .optimization import steps_per_epoch, with_weight_decay
from .problem import Problem, for_mode


def begin(fit: Fit, problem: Problem) -> None:
    """Opens the run's folder and trains the modes that are not trained yet.

    Raises:
      RunFailed: a mode did not train, or the curve has failed before.
    """
    fit.folder.open(
        "curve",
        fit.config,
        steps_per_epoch=steps_per_epoch(problem, fit.config),
        mode=identity(fit.start.mode),
    )
    if fit.folder.status == Status.FAILED and not fit.config.allow_failed:
        raise RunFailed(f"{fit.folder.path} failed before: {fit.folder.info['reason']}")
    for one in (fit.start, fit.end):
        train_if_needed(one, problem, fit.config.allow_failed)


def train(fit: Fit, problem: Problem) -> None:
    """Trains a curve that is begun, or resumes it; a curve that is trained stays as it is.

    Raises:
      UsageError: an end was retrained since this curve was begun.
      RunFailed: the loss or its gradient was not finite.
      Interrupted: a signal came.
    """
    if fit.folder.status != Status.RUNNING:
        return
    function, start = _prepare(fit, problem)
    strata, keep = fit.config.t_strata, fit.keep
    loop.train(fit.folder, fit.config, problem, function, start, strata=strata, keep=keep)
    fit.folder.move_to(Status.FITTED)


def train_together(fits: Collection[Fit], problem: Problem) -> None:
    """Trains several curves that are begun, divided over the devices.

    Curves that have a checkpoint of the same step resume together; those that have none start
    together. One that fails is marked so.

    Raises:
      UsageError: an end was retrained since its curve was begun.
      Interrupted: a signal came.
    """
    for group in _groups([fit for fit in fits if fit.folder.status == Status.RUNNING]):
        config, own = group[0].config, for_mode(problem, group[0].start.mode)
        say(f"{len(group)} curves together, on {own.mesh.size} devices")
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


def _groups(fits: Iterable[Fit]) -> list[list[Fit]]:
    """Curves that can resume from a common checkpoint, or that all start from the segment."""
    steps = {fit.folder.path: set(checkpoint_steps(fit.folder)) for fit in fits}
    fresh = [fit for fit in fits if not steps[fit.folder.path]]
    begun = [fit for fit in fits if steps[fit.folder.path]]
    if begun and not set.intersection(*(steps[fit.folder.path] for fit in begun)):
        return [group for group in (fresh, *([fit] for fit in begun)) if group]
    return [group for group in (fresh, begun) if group]


def _prepare(fit: Fit, problem: Problem) -> tuple[Callable[..., Any], loop.Start]:
    """Loads the ends, saves them beside the curve, and lays the bends on the segment.

    Returns:
      The training function and what it starts from.

    Raises:
      UsageError: an end is another one than when this curve was begun.
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
    """The end with its units in the start's order: saved beside the curve, or matched now.

    Raises:
      UsageError: a weight is not finite, or the end was retrained since it was aligned.
    """
    crc32, before = alignment.checksum(last.params), fit.folder.info.get("aligned")
    with open_ends(fit.folder, read_only=True) as there:
        is_saved = bool(there.steps())
    if before and is_saved:
        if before["crc32"] != crc32:
            raise UsageError(
                f"--end has been trained anew since the curve in {fit.folder.path} was begun: "
                "give another --workdir"
            )
        return last._replace(params=restore_ends(fit.folder)["end"])
    assert fit.config.align is not None
    found = alignment.align(problem, first, last, fit.config.align, f"--end={fit.config.end}")
    fit.folder.update(aligned=found.facts | {"crc32": crc32})
    return found.point


def judge(fit: Fit, problem: Problem, found: Profile) -> None:
    """Marks a curve that has just been evaluated done, or failed where its middle is at chance.

    Args:
      fit: the curve.
      problem: its.
      found: its profile.

    Raises:
      RunFailed: it is at chance, and ``allow_failed`` is not set.
    """
    if fit.folder.status != Status.FITTED:
        return
    accuracy = found.curve.metrics["train"].get("accuracy")
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
