"""Curves between two modes, from their flags to the last epoch of training (Section 2)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves
from mcjax.engine import objectives, parallel

from ..cli import CurveConfig, RunFailed, UsageError, identity, say
from ..runs import (
    UNTRAINED,
    Name,
    Run,
    Status,
    changed_flags,
    check_unchanged,
    checkpoint_steps,
    load_point,
    mode_config,
    open_ends,
    step_of,
)
from . import loop
from .ends import End, check_alike, check_shapes, resolve, train_if_needed
from .failures import chance_failure, mark_failed
from .optimization import check_training, steps_per_epoch, with_weight_decay
from .problem import Problem, check_batch, check_measured, check_problem, for_mode

EVALUATION = ("points", "splits", "metrics")
"""The flags by which a fitted curve is evaluated: with others it is evaluated again."""


class Fit(NamedTuple):
    """A curve to fit, its flags checked.

    Attributes:
      folder: its run.
      config: its flags.
      start: its first end.
      end: its last end.
    """

    folder: Run
    config: CurveConfig
    start: End
    end: End

    @property
    def keep(self) -> tuple[int, ...]:
        """Epochs whose checkpoints stay: those asked for, and those to evaluate."""
        return (*self.config.keep, *evaluated_epochs(self.folder, self.config))


def evaluated_epochs(folder: Run, config: CurveConfig) -> list[int]:
    """Curve epochs to evaluate, now or when the command was given before, beside the last."""
    before = folder.info.get("flags", {}).get("eval_epochs", ())
    return sorted({*before, *config.eval_epochs})


def labels(config: CurveConfig) -> dict[str, int | None]:
    """The names of the evaluated epochs' files, the last epoch's first, and the epochs."""
    return {"curve": None} | {f"curve@{epoch}": epoch for epoch in config.eval_epochs}


def check_flags(config: CurveConfig) -> Fit:
    """Checks a curve's flags, its run folder and its ends; no data are read.

    Raises:
      UsageError: something is wrong with them.
    """
    _check_values(config)
    folder = Run(config.workdir)
    folder.check_same("curve", config)
    _check_kept(folder, config)
    modes_dir = Path(config.modes_dir) if config.modes_dir else folder.path / "modes"
    start, end = (_end(text, modes_dir, folder, config) for text in (config.start, config.end))
    if start.name.run == end.name.run and identity(start.mode) != identity(end.mode):
        raise UsageError(
            f"--start={config.start} and --end={config.end} would both be trained in "
            f"{start.name.run}: give the flagfiles different names"
        )
    check_alike(start, end)
    check_problem(start.mode)
    return Fit(folder, config, start, end)


def _check_values(config: CurveConfig) -> None:
    """Raises UsageError for flags that are wrong in themselves."""
    for name in ("workdir", "start", "end"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: the two ends alone are 2")
    if config.bends < 0 or (config.bends == 0 and not config.free_ends):
        raise UsageError(f"--bends={config.bends}: there is nothing to fit; use 1 or more")
    if config.t_strata < 1 or config.batch_size % config.t_strata:
        raise UsageError(
            f"--t_strata={config.t_strata} does not divide --batch_size={config.batch_size}"
        )
    check_training(config)
    check_measured(config.splits, config.metrics)
    late = [e for e in (*config.eval_epochs, *config.keep) if not 0 < e <= config.epochs]
    if late:
        words = ", ".join(map(str, late))
        raise UsageError(f"there is no curve epoch {words}: --epochs={config.epochs}")


def _check_kept(folder: Run, config: CurveConfig) -> None:
    """Raises UsageError where an epoch to evaluate is past and its checkpoint was not kept."""
    newest = max(checkpoint_steps(folder), default=0)
    fitted = folder.status in (Status.FITTED, Status.DONE)
    per_epoch = folder.info.get("steps_per_epoch", 1)
    again = changed_flags(folder, config, EVALUATION)
    for label, epoch in labels(config).items():
        past = epoch is not None and epoch * per_epoch <= newest
        due = again or not (folder.path / f"{label}.npz").exists()
        if (fitted or past) and due:
            step_of(folder, epoch)


def _end(text: str, modes_dir: Path, folder: Run, config: CurveConfig) -> End:
    """One end; a fitted curve whose mode has gone or changed still has its own copy."""
    try:
        return resolve(text, modes_dir, config)
    except UsageError:
        if folder.status in UNTRAINED:
            raise
        mode = mode_config(folder.info, data_dir=config.data_dir)
        return End(Name(Path(text), None, None), mode, False)


def check_data(fit: Fit, problem: Problem) -> None:
    """Checks what needs the data, before any long work.

    Raises:
      UsageError: the networks of the ends do not match, or a batch does not fit the data or the
        devices.
    """
    check_shapes(problem, fit.start, fit.end)
    check_batch(problem, fit.start.mode, fit.config.batch_size, fit.config.t_strata)
    if fit.folder.status in UNTRAINED:
        _note_seeds(fit.start, fit.end)


def _note_seeds(start: End, end: End) -> None:
    seeded = not any("imported" in Run(one.name.run).info for one in (start, end))
    if seeded and start.mode.seed == end.mode.seed and start.name.run != end.name.run:
        say(
            f"note: both modes have seed {start.mode.seed}: they share their initialisation "
            "and data order"
        )


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


def judge(fit: Fit, problem: Problem, arrays: Mapping[str, np.ndarray]) -> None:
    """Marks a curve that has just been evaluated done, or failed where its middle is at chance.

    Args:
      fit: the curve.
      problem: its.
      arrays: of ``curve.npz``.

    Raises:
      RunFailed: it is at chance, and ``allow_failed`` is not set.
    """
    if fit.folder.status != Status.FITTED:
        return
    accuracy = arrays.get("curve_train_accuracy")
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
