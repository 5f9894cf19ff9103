"""The two ends of a curve: from a checkpoint's name or a mode's flagfile to parameters."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves

from .. import train_mode
from ..cli.configs import ModeConfig
from ..cli.errors import RunFailed, UsageError
from ..cli.flags import find_flagfile, parse_flagfile
from ..cli.progress import say
from ..runs.folder import Run
from ..runs.names import Name, parse_name
from . import problem as problems


class Point(NamedTuple):
    """A point of weight space with the network state saved beside it."""

    params: Any
    state: Any


class End(NamedTuple):
    """An end that has been checked but perhaps not trained.

    Attributes:
      name: the checkpoint.
      mode: the flags of its mode (of the start's, for a point of a curve).
      untrained: whether `mode` has to be trained first.
    """

    name: Name
    mode: ModeConfig
    untrained: bool


def resolve(
    text: str,
    modes_dir: Path,
    data_dir: str | None,
    precision: str,
    tracker: tuple[str, ...] = (),
) -> End:
    """Finds an end.

    Args:
      text: ``RUN[@EPOCH][~T]`` or a mode's flagfile.
      modes_dir: where a flagfile's mode is, or will be trained: in a folder of the file's name.
      data_dir: for a mode that is trained.
      precision: likewise.
      tracker: likewise.

    Raises:
      UsageError: there is no such run, epoch or flagfile, or its flags are wrong.
    """
    file = find_flagfile(text)
    if file is None:
        name = parse_name(text)
        run = Run(name.run)
        run.step_of(name.epoch)
        info = run.info
        if name.t is not None and info["kind"] != "curve":
            raise UsageError(f"{text}: {name.run} is a mode; only a curve has points ~T")
        mode = problems.mode_config(info, workdir=str(name.run), data_dir=data_dir)
        return End(name, mode, False)
    mode = parse_flagfile(ModeConfig, file)
    folder = modes_dir / file.stem
    mode = dataclasses.replace(
        mode,
        workdir=str(folder),
        data_dir=data_dir or mode.data_dir,
        precision=precision,
        tracker=tracker or mode.tracker,
    )
    train_mode.check(mode)
    run = Run(folder)
    run.check_same("mode", mode)
    return End(Name(folder, None, None), mode, run.status in ("new", "running"))


def label(text: str) -> str:
    """A short name of an end for a figure: the run's or flagfile's, with epoch and ``t``.

    >>> label("experiments/flags/digits/G.cfg"), label("runs/digits/sgdr@70")
    ('G', 'sgdr@70')
    """
    return Path(text).name.removesuffix(".cfg")


def train_if_needed(end: End, allow_failed: bool) -> None:
    """Trains an end's mode if it is not trained yet.

    Raises:
      RunFailed: the mode failed, now or before, and ``allow_failed`` is not set.
    """
    if end.untrained:
        try:
            say(train_mode.result(train_mode.train(end.mode)))
        except RunFailed:
            if not allow_failed:
                raise
    run = Run(end.name.run)
    if run.status == "failed" and not allow_failed:
        raise RunFailed(
            f"{run.path} failed ({run.info['reason']}); --allow_failed connects it all the same"
        )


def load(name: Name) -> Point:
    """The parameters and state that a name stands for, on the host's first device.

    Raises:
      UsageError: there is no such checkpoint.
    """
    run = Run(name.run)
    tree = run.restore(name.epoch)
    if run.info["kind"] == "mode":
        return Point(tree["params"], tree["model_state"])
    curve, points = control_points(run, tree)
    t = 0.5 if name.t is None else name.t
    return Point(curves.point(curve, points, t), tree["model_state"])


def control_points(run: Run, tree: Any) -> tuple[curves.Curve, tuple[Any, ...]]:
    """A curve run's family and control points, from a restored checkpoint of it."""
    flags = run.info["flags"]
    curve = curves.FAMILIES[flags["curve"]](flags["bends"])
    points = tuple(tree["params"])
    if not flags["free_ends"]:
        ends = run.restore_ends()
        points = (ends["start"], *points, ends["end"])
    return curve, points


def check_unchanged(run: Run, both: dict[str, Any]) -> None:
    """Checks that a curve's ends, ``{"start": params, "end": params}``, are what it began with.

    Raises:
      UsageError: one of them was trained anew since.
    """
    for which, saved in run.restore_ends().items():
        equal = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=True), saved, both[which])
        if not jax.tree.all(equal):
            raise UsageError(
                f"--{which} has been trained anew since the curve in {run.path} was begun: give "
                "another --workdir"
            )


def curve_name(text: str) -> Name:
    """The curve that ``--curve`` names; whether it is there is not looked at.

    Raises:
      UsageError: it is a point of a curve, or a run of another kind.
    """
    name = parse_name(text)
    if name.t is not None or Run(name.run).info.get("kind", "curve") != "curve":
        raise UsageError(f"--curve={text}: write RUN[@EPOCH] of a curve")
    return name


def load_curve(run: Run, epoch: int | None = None) -> tuple[curves.Curve, tuple[Any, ...], Any]:
    """A curve run's family, control points and network state at an epoch."""
    tree = run.restore(epoch)
    return *control_points(run, tree), tree["model_state"]


def check_shapes(problem: problems.Problem, start: End, end: End) -> None:
    """Checks that two ends can be connected, without training either.

    Raises:
      UsageError: they differ in data set or network.
    """
    differing = problems.same_problem(start.mode, end.mode)
    if differing:
        raise UsageError(f"--start and --end cannot be connected: they differ in {differing[0]}")
    trees = [
        jax.eval_shape(lambda k, m=e.mode: problems.init(problem, m, k)[0], jax.random.key(0))
        for e in (start, end)
    ]
    try:
        curves.check_matching(jax.tree.map(lambda x: jnp.zeros((), x.dtype), trees))
    except ValueError as error:
        raise UsageError(f"--start and --end do not match: {error}") from None
