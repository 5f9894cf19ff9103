"""The checkpoints of a run: which epochs are there, and their parameters."""

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
    """The run's checkpoints, by steps done; a context manager."""
    return checkpoints.Checkpoints(run.path / "checkpoints", tuple(keep), read_only)


def open_ends(run: Run, read_only: bool = False) -> checkpoints.Checkpoints:
    """The two ends of a curve, saved once as step 0; a context manager."""
    return checkpoints.Checkpoints(run.path / "ends", (0,), read_only)


def checkpoint_steps(run: Run) -> list[int]:
    """The steps of a run's checkpoints."""
    with open_checkpoints(run, read_only=True) as saved:
        return saved.steps()


def restore(run: Run, epoch: int | None = None) -> Any:
    """The checkpoint of an epoch, or of the last one, on the host's first device.

    Raises:
      UsageError: there is none, or it is damaged.
    """
    step = step_of(run, epoch)
    with open_checkpoints(run, read_only=True) as saved:
        return _intact(saved, step)


def restore_ends(run: Run) -> Any:
    """A curve's ends, ``{"start": params, "end": params}``.

    Raises:
      UsageError: they are damaged.
    """
    with open_ends(run, read_only=True) as saved:
        return _intact(saved, 0)


def step_of(run: Run, epoch: int | None) -> int:
    """The checkpoint's step for an epoch, or for the last one.

    Raises:
      UsageError: there is no such run, it is not finished, or the epoch was not kept.
    """
    info = run.info
    if not info:
        raise UsageError(f"there is no run at {run.path}; {names.NAMED}")
    if info["kind"] not in ("mode", "curve"):
        raise UsageError(f"{run.path} is a {info['kind']}: it has no checkpoints")
    if info["status"] == Status.RUNNING and epoch is None:
        raise UsageError(f"{run.path} is not finished: run its command again")
    per_epoch = info["steps_per_epoch"]
    epochs = [s // per_epoch for s in checkpoint_steps(run) if s % per_epoch == 0]
    if epoch is None:
        if not epochs:
            raise UsageError(f"{run.path} has no checkpoint: it is {info['status']}")
        return epochs[-1] * per_epoch
    if epoch not in epochs:
        have = ", ".join(map(str, epochs)) or "none"
        raise UsageError(f"{run.path} has no checkpoint of epoch {epoch}; it has {have}")
    return epoch * per_epoch


def _intact(saved: checkpoints.Checkpoints, step: int) -> Any:
    try:
        return saved.restore(step)
    except checkpoints.Damaged as error:
        raise UsageError(str(error)) from None
