"""Checks of a curve's flags, run folder and ends, before any data are read (Section 2)."""

from pathlib import Path
from typing import Any, NamedTuple

from ..cli import CurveConfig, UsageError, identity, launch, say
from ..runs import (
    UNTRAINED,
    Name,
    Run,
    Status,
    at,
    changed_ends,
    changed_flags,
    checkpoint_steps,
    forks,
    load_point,
    mode_config,
    open_ends,
    step_of,
)
from . import alignment
from .ends import End, check_alike, check_shapes, resolve
from .further import pin as pin_further
from .optimization import check_steps, check_training
from .problem import (
    MEASURED,
    Problem,
    check_batch,
    check_measured,
    check_problem,
    data_words,
    same_problem,
)

EVALUATION = ("points", *MEASURED, "save_logits")
"""The flags of a fitted curve's evaluation: if they change, it is reevaluated."""


class Fit(NamedTuple):
    """A curve to fit, whose flags have been checked.

    Attributes:
      folder: its run.
      config: its flags.
      start: the end at ``t = 0``.
      end: the end at ``t = 1``.
    """

    folder: Run
    config: CurveConfig
    start: End
    end: End

    @property
    def different(self) -> list[str]:
        """What the training data of the two ends differ in."""
        return same_problem(self.start.mode, self.end.mode)

    @property
    def keep(self) -> tuple[int, ...]:
        """Epochs whose checkpoints to keep: those of ``--keep``, and those to evaluate."""
        return (*self.config.keep, *evaluated_epochs(self.folder, self.config))


def evaluated_epochs(folder: Run, config: CurveConfig) -> list[int]:
    """Epochs to evaluate in addition to the last, from this command or an earlier one."""
    before = folder.info.get("flags", {}).get("eval_epochs", ())
    return sorted({*before, *config.eval_epochs})


def labels(config: CurveConfig) -> dict[str, int | None]:
    """The evaluated epochs by the stem of their files; None is the last epoch, which is first."""
    return {"curve": None} | {f"curve@{epoch}": epoch for epoch in config.eval_epochs}


def check_flags(config: CurveConfig) -> Fit:
    """Checks a curve's flags, run folder and ends, without reading data.

    Raises:
      UsageError: one of them is wrong.
    """
    _check_values(config)
    config = pin_further(config)
    folder = Run(config.workdir)
    folder.check_same("curve", config)
    forks.check(folder, "curve", config)
    _check_kept(folder, config)
    modes_dir = at(config.modes_dir) if config.modes_dir else folder.path / "modes"
    start, end = (_end(text, modes_dir, folder, config) for text in (config.start, config.end))
    if start.name.run == end.name.run and identity(start.mode) != identity(end.mode):
        raise UsageError(
            f"--start={config.start} and --end={config.end} would both be trained in "
            f"{start.name.run}: give the flagfiles different names"
        )
    check_alike(start, end, config.allow_different)
    check_problem(start.mode)
    return Fit(folder, config, start, end)


def _check_values(config: CurveConfig) -> None:
    """Raises UsageError for flags whose values are wrong or missing."""
    for name in ("workdir", "start", "end"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: use 2, the two ends, or more")
    if config.bends < 0 or (config.bends == 0 and not config.free_ends):
        raise UsageError(
            f"--bends={config.bends}: nothing to fit; use 1 or more, or evaluate the segment "
            f"without a fit: {launch.usage('interpolate')} --points=RUN,RUN"
        )
    if config.t_strata < 1 or config.batch_size % config.t_strata:
        raise UsageError(
            f"--t_strata={config.t_strata} does not divide --batch_size={config.batch_size}"
        )
    check_training(config)
    check_measured(config.splits, config.metrics)
    late = [e for e in (*config.eval_epochs, *config.keep) if not 0 < e <= config.epochs]
    if late:
        epochs = ", ".join(map(str, late))
        raise UsageError(f"the curve has no epoch {epochs}: --epochs={config.epochs}")


def _check_kept(folder: Run, config: CurveConfig) -> None:
    """Raises UsageError if an epoch to evaluate is over and its checkpoint was not kept."""
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
    """An end; if its mode was deleted or changed, the copy that a fitted curve has of it."""
    try:
        return resolve(text, modes_dir, config)
    except UsageError:
        if folder.status in UNTRAINED:
            raise
        mode = mode_config(folder.info, data_dir=config.data_dir)
        return End(Name(at(text), None, None), mode, False)


def check_data(fit: Fit, problem: Problem) -> None:
    """Checks that depend on the data, before any long work.

    Raises:
      UsageError: the networks of the ends do not match, or a batch size does not fit the data or
        the devices.
    """
    check_shapes(problem, fit.start, fit.end)
    _check_moved(fit)
    check_batch(problem, fit.start.mode, fit.config.batch_size, fit.config.t_strata)
    check_steps(problem, fit.config)
    if fit.folder.status in UNTRAINED:
        _note_seeds(fit.start, fit.end)
        _note_different(fit)


def _check_moved(fit: Fit) -> None:
    """Raises UsageError if an end in another place than the run records is another network."""
    now = {"start": fit.config.start, "end": fit.config.end}
    there = fit.folder.info.get("flags", now)
    moved = [which for which in now if there[which] != now[which]]
    if not moved:
        return
    with open_ends(fit.folder, read_only=True) as saved:
        if not saved.steps():
            return
    ends = {"start": fit.start, "end": fit.end}
    for which in moved:
        if not _is_end(fit.folder, which, load_point(ends[which].name).params):
            raise UsageError(
                f"--{which}={now[which]} is not the network of {there[which]} that the curve in "
                f"{fit.folder.path} has: use another --workdir"
            )


def _is_end(folder: Run, which: str, params: Any) -> bool:
    """Whether a network is the one that the curve was started with."""
    aligned = folder.info.get("aligned")
    if which == "end" and aligned:  # the curve's copy is permuted
        return alignment.checksum(params) == aligned["crc32"]
    return not changed_ends(folder, {which: params})


def _note_different(fit: Fit) -> None:
    """Prints a note if the two ends are trained on different data."""
    if fit.different:
        start, data = fit.config.start, data_words(fit.start.mode)
        say(
            f"note: the ends differ in {'; '.join(fit.different)}. The curve trains on the data of "
            f"--start={start} ({data}), with its normalization, and is measured on them"
        )


def _note_seeds(start: End, end: End) -> None:
    """Prints a note if the two ends are different modes with the same seed."""
    seeded = not any("imported" in Run(one.name.run).info for one in (start, end))
    if seeded and start.mode.seed == end.mode.seed and start.name.run != end.name.run:
        say(
            f"note: both modes have seed {start.mode.seed}: they have the same initialisation "
            "and data order"
        )
