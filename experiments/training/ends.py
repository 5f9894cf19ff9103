"""The two ends of a curve: existing checkpoints, or modes to train first."""

import contextlib
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves

from ..cli import CurveConfig, ModeConfig, RunFailed, UsageError, find_flagfile, parse_flagfile, say
from ..runs import UNTRAINED, Name, Run, Status, find_checkpoint, load_point
from . import modes
from .problem import Problem, check_batch, check_joined, make_problem, same_problem, shapes


class End(NamedTuple):
    """An end whose flags have been checked; it may not be trained yet.

    Attributes:
      name: its reference.
      mode: the flags of its mode (for a point on a curve, of the mode at its start).
      untrained: whether `mode` has to be trained first.
    """

    name: Name
    mode: ModeConfig
    untrained: bool


def resolve(text: str, modes_dir: Path, config: CurveConfig) -> End:
    """Finds an end without reading data.

    Args:
      text: ``RUN[@EPOCH][~T]`` or a mode's flagfile.
      modes_dir: the folder that holds a flagfile's mode, in a subfolder named after the file.
      config: the curve's flags; a mode to train takes its data folder, precision and trackers.

    Raises:
      UsageError: there is no such run, epoch or flagfile, or its flags are wrong.
    """
    file = find_flagfile(text)
    if file is None:
        return End(*find_checkpoint(text, config.data_dir), untrained=False)
    mode = parse_flagfile(ModeConfig, file)
    mode = dataclasses.replace(
        mode,
        workdir=str(modes_dir / file.stem),
        data_dir=config.data_dir or mode.data_dir,
        precision=config.precision,
        tracker=config.tracker or mode.tracker,
    )
    mode = modes.check_flags(mode)
    run = Run(mode.workdir)
    return End(Name(run.path, None, None), mode, run.status in UNTRAINED)


def train_if_needed(end: End, problem: Problem, allow_failed: bool) -> None:
    """Trains an end's mode if it is not trained yet, on its own data.

    Args:
      end: the end.
      problem: the curve's problem.
      allow_failed: whether to accept a mode that failed to train.

    Raises:
      RunFailed: the mode failed, now or earlier, and ``allow_failed`` is False.
    """
    if end.untrained:
        with contextlib.suppress(RunFailed):  # it is marked failed
            say(modes.result(modes.train(end.mode, _own_problem(end, problem))))
    if why := refusal(end, allow_failed):
        raise RunFailed(why)


def refusal(end: End, allow_failed: bool) -> str:
    """Why an end cannot be connected: its mode failed to train; empty if it can be."""
    run = Run(end.name.run)
    if run.status != Status.FAILED or allow_failed:
        return ""
    return f"{run.path} failed ({run.info['reason']}); --allow_failed connects it anyway"


def check_alike(start: End, end: End, allowed: Collection[str] | None) -> None:
    """Checks, by their flags, that two ends can be connected.

    Raises:
      UsageError: they differ in network, or in data other than those of --allow_different.
    """
    check_joined(start.mode, end.mode, allowed, "--start and --end cannot be connected")


def check_shapes(problem: Problem, start: End, end: End) -> None:
    """Checks that the networks of two ends match, and the batch sizes of those to be trained.

    Raises:
      UsageError: the networks differ, or a batch size does not fit the data or the devices.
    """
    trees = [_parameters(one, problem) for one in (start, end)]
    try:
        curves.check_matching(jax.tree.map(_blank, trees))
    except ValueError as error:
        raise UsageError(f"--start and --end do not match: {error}") from None
    for one in (start, end):
        if one.untrained:
            check_batch(_own_problem(one, problem), one.mode, one.mode.batch_size)


def _own_problem(end: End, problem: Problem) -> Problem:
    """The problem of an end: the curve's, unless the end is trained on different data."""
    return make_problem(end.mode) if same_problem(problem.mode, end.mode) else problem


def _parameters(end: End, problem: Problem) -> Any:
    """The parameters of an end, or their shapes and dtypes."""
    if end.untrained or not same_problem(problem.mode, end.mode):
        return shapes(_own_problem(end, problem), end.mode)[0]
    return load_point(end.name).params  # without its own data


def _blank(x: Any) -> np.ndarray:
    """Zeros of the shape and dtype of ``x`` that take no memory."""
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)
