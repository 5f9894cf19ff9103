"""The inputs of an interpolation: names in flags are resolved, then checked and loaded."""

import itertools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves
from mcjax.engine import parallel

from ..cli import InterpolateConfig, ModeConfig, UsageError
from ..runs import (
    Name,
    Point,
    Run,
    SavedCurve,
    curve_name,
    epoch_of,
    expand,
    label,
    load_curve,
    load_point,
    parse_name,
)
from ..training import Problem, alignment, check_measured, check_problem
from . import references


class Found(NamedTuple):
    """The checkpoints that the flags name; all of them exist and share one problem.

    Attributes:
      mode: the flags of the first one's mode.
      points: the networks, by their names for figures, all different.
      curves: the fitted curves, by their references.
      group: for each network whether it is of --against; None without --against.
      epoch: their epochs, if each group is of one run; otherwise None.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    points: dict[str, Name]
    curves: dict[str, Name]
    group: np.ndarray | None
    epoch: np.ndarray | None
    different: tuple[str, ...]


class PairCurve(NamedTuple):
    """A fitted curve between two of the networks.

    Attributes:
      pair: indices of its ends, in rising order.
      reverse: whether ``t = 0`` is the end of the curve.
      family: its family.
      control: indices of its control points among all of an `Inputs`.
    """

    pair: tuple[int, int]
    reverse: bool
    family: curves.Curve
    control: tuple[int, ...]


class Inputs(NamedTuple):
    """The inputs of an interpolation, checked and loaded.

    Attributes:
      mode: the flags of the first network's mode.
      problem: its data, network and evaluator.
      names: the networks' names, for figures.
      group: for each network whether it is of --against; None without --against.
      points: the networks, on one device.
      control: their parameters, then the bends of the curves, on all devices.
      state: the first network's state, on all devices.
      curves: the curves, by their references.
      epoch: the networks' epochs, if each group is of one run; otherwise None.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    problem: Problem
    names: tuple[str, ...]
    group: np.ndarray | None
    points: tuple[Point, ...]
    control: tuple[Any, ...]
    state: Any
    curves: dict[str, PairCurve]
    epoch: np.ndarray | None
    different: tuple[str, ...]


def resolve(config: InterpolateConfig, allowed: Collection[str] | None = None) -> Found:
    """Resolves the names in the flags, without reading data.

    Args:
      config: the flags.
      allowed: --allow_different; None if the command does not have it.

    Raises:
      UsageError: there are too few networks, a run or epoch does not exist, or the checkpoints
        differ in network or data.
    """
    check_measured(config.splits, config.metrics)
    flags = {"--points": config.points, "--against": config.against}
    texts = {flag: [x for text in own for x in expand(text)] for flag, own in flags.items()}
    if not config.points and not config.against and len(config.curve) == 1:
        texts["--points"] = [f"{config.curve[0]}~{t}" for t in (0, 1)]
    if not texts["--points"]:
        raise UsageError("--points is missing: two checkpoints RUN[@EPOCH][~T] or more")
    every = [text for group in texts.values() for text in group]
    if len(every) < 2:
        raise UsageError(f"--points={every[0]}: give two checkpoints or more")
    if len(set(every)) < len(every):
        twice = next(text for text in every if every.count(text) > 1)
        raise UsageError(f"{twice} is named twice in --points and --against")
    for text in config.curve:
        curve_name(text)
    found = [references.find(flag, text) for flag, group in texts.items() for text in group]
    lines = [references.find("--curve", text) for text in config.curve]
    mode, different = references.shared(
        [*found, *lines], config.data_dir, "share a segment", allowed
    )
    check_problem(mode)
    points = dict(zip(labels(every), (one.name for one in found), strict=True))
    by_curve = dict(zip(config.curve, (one.name for one in lines), strict=True))
    group = np.repeat([0, 1], [len(g) for g in texts.values()]) if config.against else None
    epoch = _epochs([g for g in texts.values() if g])
    return Found(mode, points, by_curve, group, epoch, different)


def _epochs(groups: Sequence[Sequence[str]]) -> np.ndarray | None:
    """The epochs of all networks, if each group is several epochs of one run."""
    names = [[parse_name(text) for text in group] for group in groups]
    if any(len(group) < 2 or len({name.run for name in group}) > 1 for group in names):
        return None
    if any(name.t is not None for group in names for name in group):
        return None
    return np.array([epoch_of(name) for group in names for name in group])


def labels(texts: Sequence[str]) -> list[str]:
    """Short labels if they differ, else the references themselves."""
    short = [label(text) for text in texts]
    return short if len(set(short)) == len(short) else list(texts)


def load(config: InterpolateConfig, found: Found, problem: Problem) -> Inputs:
    """Loads the inputs onto the devices.

    Args:
      config: the flags.
      found: the names in them, resolved.
      problem: the networks' problem, with an evaluator for --splits and --metrics.

    Raises:
      UsageError: networks do not match, a parameter is not finite, or a curve does not end at two
        of the networks.
    """
    points = {name: load_point(place) for name, place in found.points.items()}
    alignment.check_finite("interpolated", points)
    loaded = {text: load_curve(Run(p.run), p.epoch) for text, p in found.curves.items()}
    networks = [point.params for point in points.values()]
    for text, curve in loaded.items():
        line = {f"--curve={text}": Point(x, None) for x in curve.points}
        alignment.check_finite("interpolated", line)
    try:
        curves.check_matching((*networks, *(x for one in loaded.values() for x in one.points)))
    except ValueError as error:
        raise UsageError(f"--points and --curve do not match: {error}") from None
    first = len(networks)
    placed: dict[str, PairCurve] = {}
    for text, curve in loaded.items():
        placed[text] = _place(text, curve, networks, first)
        first += len(curve.points) - 2
    bends = itertools.chain.from_iterable(curve.points[1:-1] for curve in loaded.values())
    state = next(iter(points.values())).state
    control, state = parallel.replicate(((*networks, *bends), state), problem.mesh)
    return Inputs(
        found.mode, problem, tuple(points), found.group, tuple(points.values()), control, state,
        placed, found.epoch, found.different,
    )  # fmt: skip


def _place(text: str, curve: SavedCurve, networks: Sequence[Any], first: int) -> PairCurve:
    """Finds the networks at a curve's ends.

    Args:
      text: the curve's reference.
      curve: the curve.
      networks: parameters.
      first: the index of its first bend among the control points.

    Raises:
      UsageError: an end is not one of them.
    """
    ends: list[int] = []
    for which, t in ((0, 0), (-1, 1)):
        here = [k for k, x in enumerate(networks) if _equal(x, curve.points[which])]
        if not here:
            raise UsageError(
                f"--curve={text}: its end at t = {t} is none of --points; add {text}~{t}"
            )
        ends.append(here[0])
    bends = range(first, first + len(curve.points) - 2)
    pair = (min(ends), max(ends))
    return PairCurve(pair, ends[0] > ends[1], curve.family, (ends[0], *bends, ends[1]))


def _equal(a: Any, b: Any) -> bool:
    return bool(jax.tree.all(jax.tree.map(np.array_equal, a, b)))
