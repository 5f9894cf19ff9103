"""From a reference, ``RUN[@EPOCH][~T]``, to parameters, control points and flags."""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves

from ..cli import ModeConfig, UsageError
from . import saved
from .folder import Run
from .names import Name, a_kind, at, is_run, parse_name


class Checkpoint(NamedTuple):
    """An existing checkpoint.

    Attributes:
      name: its reference.
      mode: the flags of its mode (for a curve, of the mode at its start).
    """

    name: Name
    mode: ModeConfig


class Point(NamedTuple):
    """A point of weight space with the network state saved beside it."""

    params: Any
    state: Any


class SavedCurve(NamedTuple):
    """A curve as its run saved it.

    Attributes:
      family: the coefficients as a function of ``t``.
      points: the control points, parameter pytrees.
      state: the network's state.
    """

    family: curves.Curve
    points: tuple[Any, ...]
    state: Any


def find_checkpoint(text: str, data_dir: str | None = None) -> Checkpoint:
    """Finds a checkpoint without loading it.

    Args:
      text: ``RUN[@EPOCH][~T]`` or ``RUN@sSTEP[~T]``.
      data_dir: the data folder to set in the mode's flags.

    Raises:
      UsageError: there is no such run, epoch or point.
    """
    name = parse_name(text)
    run = Run(name.run)
    saved.step_of(run, name.epoch, name.step)
    info = run.info
    if name.t is not None and info["kind"] != "curve":
        raise UsageError(f"{text}: {name.run} is a mode; only a curve has points ~T")
    return Checkpoint(name, mode_config(info, workdir=str(name.run), data_dir=data_dir))


def expand(text: str) -> list[str]:
    """The references that ``RUN@all``, ``RUN@10-`` or ``RUN@10-30`` stands for.

    These are all kept checkpoints of a run and its last one, those from epoch 10 on, and those of
    epochs 10 to 30; for a curve, ``~T`` may follow. Checkpoints that were saved by the clock are
    left out. Any other text is returned as it is.

    Raises:
      UsageError: there is no such run, or it has no such checkpoint.
    """
    match = re.fullmatch(r"(.+)@(?:all|(\d+)-(\d*))(~[^~]+)?", text)
    if match is None or is_run(at(text)):
        return [text]
    path, low, high, t = match.groups("")
    run = Run(path)
    steps, per_epoch = saved.steps_of(run), run.info["steps_per_epoch"]
    wanted = [e * per_epoch for e in run.info["flags"].get("keep", ())]
    wanted += [*run.info["flags"].get("keep_steps", ()), *steps[-1:]]
    steps = [step for step in steps if step in wanted]
    names = {s: f"s{s}" if s % per_epoch else str(s // per_epoch) for s in steps}
    first, last = int(low or 0), int(high) if high else math.inf
    found = [name for s, name in names.items() if first <= s / per_epoch <= last]
    if not found:
        there = ", ".join(names.values()) or "none"
        raise UsageError(f"{text}: {run.path} has no such checkpoint; it has {there}")
    return [f"{path}@{name}{t}" for name in found]


def epoch_of(name: Name) -> float:
    """The epoch of a checkpoint, a fraction between epochs.

    Raises:
      UsageError: there is no such checkpoint.
    """
    run = Run(name.run)
    return saved.step_of(run, name.epoch, name.step) / run.info["steps_per_epoch"]


def mode_config(info: dict[str, Any], **changes: Any) -> ModeConfig:
    """The mode's flags from the ``run.json`` of a mode, or of a curve between modes."""
    kept = info["flags"] if info["kind"] == "mode" else info["mode"]
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
    return dataclasses.replace(ModeConfig(**values), **changes)


def load_point(name: Name) -> Point:
    """The parameters and state that a name stands for, on the host's first device.

    Raises:
      UsageError: there is no such checkpoint.
    """
    run = Run(name.run)
    tree = saved.restore(run, name.epoch, name.step)
    if run.info["kind"] == "mode":
        return Point(tree["params"], tree["model_state"])
    curve = _curve(run, tree)
    t = 0.5 if name.t is None else name.t
    return Point(curves.point(curve.family, curve.points, t), curve.state)


def load_curve(run: Run, epoch: int | None = None) -> SavedCurve:
    """A curve run's family, control points and network state at an epoch."""
    return _curve(run, saved.restore(run, epoch))


def _curve(run: Run, tree: Any) -> SavedCurve:
    """The curve in a restored checkpoint of its run."""
    flags = run.info["flags"]
    family = curves.FAMILIES[flags["curve"]](flags["bends"])
    points = tuple(tree["params"])
    if not flags["free_ends"]:
        ends = saved.restore_ends(run)
        points = (ends["start"], *points, ends["end"])
    return SavedCurve(family, points, tree["model_state"])


def curve_name(text: str) -> Name:
    """Parses the reference of ``--curve``, without checking that the curve exists.

    Raises:
      UsageError: it is a point on a curve, a step, or a run of another kind.
    """
    name = parse_name(text)
    kind = Run(name.run).info.get("kind", "curve")
    if (name.t, name.step) != (None, None) or kind != "curve":
        holds = "" if kind == "curve" else f" {name.run} holds {a_kind(kind)};"
        raise UsageError(f"--curve={text}:{holds} write RUN[@EPOCH] of a curve")
    return name


def check_unchanged(run: Run, ends: dict[str, Any]) -> None:
    """Checks that a curve's ends, ``{"start": params, "end": params}``, are those it started with.

    Raises:
      UsageError: one of them has been retrained since.
    """
    for which in changed_ends(run, ends):
        raise UsageError(
            f"--{which} has been retrained since the curve in {run.path} was started: give "
            "another --workdir"
        )


def changed_ends(run: Run, ends: dict[str, Any]) -> list[str]:
    """The names of those of a curve's ends that differ from the copies that it started with."""
    before = saved.restore_ends(run)
    same = lambda a, b: np.array_equal(a, b, equal_nan=True)  # noqa: E731
    return [
        name
        for name, one in ends.items()
        if not jax.tree.all(jax.tree.map(same, before[name], one))
    ]
