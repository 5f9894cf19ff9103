"""The checkpoints of a run: their epochs and their parameters."""

from collections.abc import Collection
from typing import Any

from mcjax.engine import checkpoints

from ..cli import UsageError
from . import names
from .folder import Run
from .status import Status


def open_checkpoints(
    run: Run, keep: Collection[int] = (), read_only: bool = False
) -> checkpoints.Checkpoints:
    """Opens the run's checkpoints, numbered by step; a context manager.

    Args:
      run: the run.
      keep: steps whose checkpoints are never replaced by later ones.
      read_only: whether nothing will be written.
    """
    return checkpoints.Checkpoints(run.path / "checkpoints", tuple(keep), read_only)


def open_ends(run: Run, read_only: bool = False) -> checkpoints.Checkpoints:
    """Opens the saved ends of a curve, one checkpoint of step 0; a context manager."""
    return checkpoints.Checkpoints(run.path / "ends", (0,), read_only)


def checkpoint_steps(run: Run) -> list[int]:
    """The steps of a run's checkpoints."""
    with open_checkpoints(run, read_only=True) as saved:
        return saved.steps()


def restore(run: Run, epoch: int | None = None, step: int | None = None) -> Any:
    """Restores a checkpoint, named as for `step_of`, on the first local device.

    Raises:
      UsageError: there is none, or it is damaged.
    """
    step = step_of(run, epoch, step)
    with open_checkpoints(run, read_only=True) as saved:
        return _intact(saved, step)


def restore_ends(run: Run) -> Any:
    """Restores a curve's ends, ``{"start": params, "end": params}``.

    Raises:
      UsageError: they are damaged.
    """
    with open_ends(run, read_only=True) as saved:
        return _intact(saved, 0)


def steps_of(run: Run) -> list[int]:
    """The steps of the checkpoints of a mode or curve.

    Raises:
      UsageError: there is no such run, or it is of another kind.
    """
    info = run.info
    if not info:
        raise UsageError(f"there is no run at {run.path}; {names.SYNTAX}")
    if info["kind"] not in ("mode", "curve"):
        raise UsageError(f"{run.path} is {names.a_kind(info['kind'])}: it has no checkpoints")
    return checkpoint_steps(run)


def step_of(run: Run, epoch: int | None, step: int | None = None) -> int:
    """The step of a checkpoint: of an epoch, of the step itself, or by default the last.

    Raises:
      UsageError: there is no such run, it is not finished, or the checkpoint was not kept.
    """
    steps, info = steps_of(run), run.info
    if info["status"] == Status.RUNNING and epoch is None and step is None:
        raise UsageError(f"{run.path} is not finished: run its command again")
    per_epoch = info["steps_per_epoch"]
    if step is not None:
        if step not in steps:
            raise UsageError(f"{run.path} has no checkpoint of step {step}; it has {_list(steps)}")
        return step
    epochs = [s // per_epoch for s in steps if s % per_epoch == 0]
    if epoch is None:
        if not epochs:
            raise UsageError(f"{run.path} has no checkpoint: its status is {info['status']}")
        return epochs[-1] * per_epoch
    if epoch not in epochs:
        raise UsageError(f"{run.path} has no checkpoint of epoch {epoch}; it has {_list(epochs)}")
    return epoch * per_epoch


def _list(numbers: Collection[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def _intact(saved: checkpoints.Checkpoints, step: int) -> Any:
    """Restores a checkpoint; raises UsageError if it is damaged."""
    try:
        return saved.restore(step)
    except checkpoints.Damaged as error:
        raise UsageError(str(error)) from None
