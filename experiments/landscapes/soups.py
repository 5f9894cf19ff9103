"""Averages of networks as modes: their inputs, coefficients, metrics and ensembles."""

import dataclasses
import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves
from mcjax.analysis import soups
from mcjax.engine import parallel
from mcjax.results import Soups, Values

from ..cli import (
    InterpolateConfig,
    ModeConfig,
    SoupConfig,
    UsageError,
    collect_signals,
    recorded,
    to_flags,
)
from ..cli.configs import Measuring
from ..runs import (
    Point,
    Run,
    epoch_of,
    load_result,
    mode_config,
    open_checkpoints,
    write_atomically,
)
from ..training import Problem, alignment
from . import drawing, ensembling, interpolation, interpolation_inputs, saved_paths

FILE, REPORT = "soup.npz", "soup.json"
SWA_START = 0.75
"""Share of the last point's epoch from which SWA averages by default (Izmailov et al., 2018)."""


class Found(NamedTuple):
    """What the flags name.

    Attributes:
      points: the checkpoints; all of them exist and share one problem.
      rows: coefficients over them, by recipe, of those that need the order of one run.
    """

    points: interpolation_inputs.Found
    rows: dict[str, np.ndarray]


class Made(NamedTuple):
    """All averages and their metrics, and the one of --recipe, on all devices."""

    found: Soups
    point: Point


def check_flags(config: SoupConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    if config.num_points < 3:
        raise UsageError(f"--num_points={config.num_points}: use 3 or more, one between the ends")
    if "validation" not in config.splits:
        raise UsageError(
            f"--splits={','.join(config.splits)}: give validation, too; soups are chosen on it"
        )
    if not 0 < config.ema_decay < 1:
        raise UsageError(f"--ema_decay={config.ema_decay:g}: use a number between 0 and 1")
    if config.align and config.curve:
        raise UsageError("--align moves the points off the ends of --curve: give one of the two")
    drawing.check_style(config.style)
    return _check_folder(config)


def _check_folder(config: SoupConfig) -> Run:
    folder = Run(config.workdir)
    info, there = folder.info, recorded(SoupConfig())  # a flag that was added later had its default
    if not info:
        return folder
    if "soup" not in info:
        raise UsageError(f"{folder.path} holds a run that is not a soup; use another --workdir")
    there |= info["soup"]["flags"]
    mine = recorded(config).items()
    differing = [f"--{k}: {there[k]} there, {x} now" for k, x in mine if there[k] != x]
    if differing:
        raise UsageError(
            f"{folder.path} holds a soup with other flags ({'; '.join(differing)}); use another "
            "--workdir, or delete it"
        )
    return folder


def resolve(config: SoupConfig) -> Found:
    """Resolves the names in the flags, without reading data.

    Raises:
      UsageError: there are too few points, a run or epoch does not exist, the points differ in
        network or data, or are not those of one run in order where --recipe needs that.
    """
    if not config.points:
        raise UsageError("--points is missing: two checkpoints RUN[@EPOCH][~T] or more")
    points = interpolation_inputs.resolve(_segments(config))
    if points.epoch is None or (np.diff(points.epoch) <= 0).any():
        if config.recipe in ("swa", "ema") or config.swa_start is not None:
            raise UsageError(
                f"--points={','.join(config.points)}: swa and ema average checkpoints of one run "
                "in their order; give two or more, such as RUN@all"
            )
        return Found(points, {})
    last, start = float(points.epoch[-1]), config.swa_start
    start = SWA_START * last if start is None else start
    try:
        swa = soups.since(points.epoch, start)
    except ValueError as error:
        raise UsageError(f"--swa_start={start:g}: {error}") from None
    ema = soups.exponential(len(points.points), config.ema_decay)
    return Found(points, {"swa": swa, "ema": ema})


def _segments(config: SoupConfig) -> InterpolateConfig:
    """The flags of the segments between the points."""
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Measuring)}
    own = {name: getattr(config, name) for name in ("points", "curve", "num_points")}
    return InterpolateConfig(**shared, **own)


def load(config: SoupConfig, found: Found, problem: Problem) -> interpolation_inputs.Inputs:
    """Loads the points and the bends of the curves onto the devices.

    Raises:
      UsageError: they do not match, a parameter is not finite, or a curve does not end at two of
        the points.
    """
    return interpolation_inputs.load(_segments(config), found.points, problem)


def make(
    folder: Run, config: SoupConfig, found: Found, inputs: interpolation_inputs.Inputs
) -> Made:
    """Evaluates what is missing, writes the arrays, and saves the average of --recipe.

    Raises:
      UsageError: a point was retrained after this run started, or cannot be aligned.
      Interrupted: a signal came; what is evaluated is saved.
    """
    sums = saved_paths.checksums(folder, inputs.control, "a point of --points or --curve")
    _open(folder, config, found, sums)
    inputs = _aligned(folder, config, inputs)
    if (folder.path / FILE).exists():
        result = load_result(Soups, folder.path / FILE)
    else:
        evaluated = partial(_evaluated, folder, config, found, inputs)
        result = saved_paths.completed(folder, FILE, evaluated)
    row = result.coefficients[result.recipe.tolist().index(config.recipe)]
    params = jax.jit(curves.combine)(inputs.control, _padded(row, inputs)[0].astype(np.float32))
    state = inputs.problem.evaluator.statistics(params, inputs.state)
    step = folder.info["flags"]["epochs"]
    with open_checkpoints(folder, keep=(step,)) as saved:
        saved.save(step, {"params": params, "model_state": state})
    return Made(result, Point(params, state))


def hint(config: SoupConfig) -> str:
    """What to try if the average is at chance."""
    ways = ["--recipe=greedy", *([] if config.align else ["--align"])]
    return (
        "; weights of networks with high barriers between them can seldom be averaged: see above, "
        f"and try {' or '.join(ways)} in another --workdir"
    )


def _open(folder: Run, config: SoupConfig, found: Found, sums: list[int]) -> None:
    """Opens the run as a mode with the flags of the last point's; each epoch counts as one step."""
    names = list(found.points.points.values())
    facts: dict[str, Any] = {"soup": {"flags": recorded(config)}, "control_crc32": sums}
    imported = [info["imported"] for name in names if "imported" in (info := Run(name.run).info)]
    if imported:
        facts["imported"] = imported[0]
    last = names[-1]
    own: dict[str, Any] = {"epochs": int(epoch_of(last)), "keep": (), "keep_steps": ()}
    mode: ModeConfig = mode_config(Run(last.run).info, workdir=config.workdir, **own)
    folder.open("mode", mode, steps_per_epoch=1, **facts)
    write_atomically(folder.path / "flags.cfg", to_flags(config))


def _aligned(
    folder: Run, config: SoupConfig, inputs: interpolation_inputs.Inputs
) -> interpolation_inputs.Inputs:
    """With --align, the points with their units permuted to match the first one's."""
    if not config.align:
        return inputs
    points, method = [inputs.points[0]], alignment.Method(config.align)
    facts: dict[str, Any] = {}
    for name, point in zip(inputs.names[1:], inputs.points[1:], strict=True):
        one = alignment.align(inputs.problem, points[0], point, method, name)
        points.append(one.point)
        facts[name] = one.facts
    folder.update(soup=folder.info["soup"] | {"aligned": facts})
    control = tuple(point.params for point in points)
    control = parallel.replicate(control, inputs.problem.mesh)
    return inputs._replace(points=tuple(points), control=control)


def _evaluated(
    folder: Run, config: SoupConfig, found: Found, inputs: interpolation_inputs.Inputs
) -> Soups:
    """The metrics of the points, their segments, all averages and the ensembles."""
    segments = interpolation.Paths(folder, _segments(config), inputs).evaluated()
    with collect_signals() as received:
        evaluator, count = inputs.problem.evaluator, itertools.count()
        saved = saved_paths.SavedPaths(folder, evaluator, inputs.state, None, received)

        def evaluate(rows: np.ndarray) -> Values:
            key = f"averages-{next(count)}"  # the greedy choice is the same in a resumed run
            saved.evaluate(inputs.control, {key: _padded(rows, inputs)})
            return saved.values(key)

        try:
            result = soups.measure(evaluate, segments, found.rows)
        finally:
            saved.bar.close()
    names, metrics = ensembling.of_networks(inputs)
    return result._replace(ensemble=np.array(names, str), ensembles=metrics)


def _padded(rows: np.ndarray, inputs: interpolation_inputs.Inputs) -> np.ndarray:
    """Rows over the points as rows over all control points, of which the others are bends."""
    rows = np.atleast_2d(rows)
    return np.pad(rows, [(0, 0), (0, len(inputs.control) - rows.shape[1])])
