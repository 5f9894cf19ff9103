"""The two ends of a curve: existing checkpoints, or modes to train first."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mcjax import curves

from ..cli import CurveConfig, ModeConfig, RunFailed, UsageError, find_flagfile, parse_flagfile, say
from ..runs import UNTRAINED, Name, Run, Status, find_checkpoint
from . import modes
from .problem import Problem, check_batch, same_problem, shapes


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
    """Trains an end's mode if it is not trained yet.

    Args:
      end: the end.
      problem: the curve's problem.
      allow_failed: whether to accept a mode that failed to train.

    Raises:
      RunFailed: the mode failed, now or earlier, and ``allow_failed`` is False.
    """
    if end.untrained:
        try:
            say(modes.result(modes.train(end.mode, problem)))
        except RunFailed:
            if not allow_failed:
                raise
    run = Run(end.name.run)
    if run.status == Status.FAILED and not allow_failed:
        raise RunFailed(
            f"{run.path} failed ({run.info['reason']}); --allow_failed connects it anyway"
        )


def check_alike(start: End, end: End) -> None:
    """Checks, by their flags, that two ends can be connected.

    Raises:
      UsageError: they differ in data set or network.
    """
    differing = same_problem(start.mode, end.mode)
    if differing:
        raise UsageError(f"--start and --end cannot be connected: they differ in {differing[0]}")


def check_shapes(problem: Problem, start: End, end: End) -> None:
    """Checks that the networks of two ends match, and the batch sizes of those to be trained.

    Raises:
      UsageError: the networks differ, or a batch size does not fit the data or the devices.
    """
    trees = [shapes(problem, one.mode)[0] for one in (start, end)]
    try:
        curves.check_matching(jax.tree.map(lambda x: jnp.zeros((), x.dtype), trees))
    except ValueError as error:
        raise UsageError(f"--start and --end do not match: {error}") from None
    for one in (start, end):
        if one.untrained:
            check_batch(problem, one.mode, one.mode.batch_size)
