"""The inputs of a surface: names in flags are resolved, then checked and loaded."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcjax import curves, planes
from mcjax.engine import parallel
from mcjax.results import Directions

from ..cli import ModeConfig, SurfaceConfig, UsageError
from ..runs import (
    Name,
    Point,
    Run,
    checkpoint_steps,
    curve_name,
    label,
    load_curve,
    load_point,
)
from ..training import Problem, alignment, check_measured, check_problem
from . import references, surface_directions


class Found(NamedTuple):
    """The checkpoints that the flags name; all of them exist and share one problem.

    Attributes:
      mode: the flags of the first point's mode.
      texts: the points' names, as given.
      points: the points' names, parsed.
      curve: the name of the curve to draw, or None.
      iterates: names of the iterates, with their epochs.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    texts: tuple[str, ...]
    points: tuple[Name, ...]
    curve: Name | None
    iterates: tuple[tuple[str, int], ...]
    different: tuple[str, ...]


class Inputs(NamedTuple):
    """The inputs of a surface, checked and loaded.

    Attributes:
      mode: the flags of the first point's mode.
      problem: its data, network and evaluator.
      points: three parameter pytrees, on all devices; with --directions, the centre and the centre
        plus each direction.
      names: the points' names, for figures.
      state: the first point's network state, on all devices.
      plane: the plane through the points.
      curve: family and control points of the curve to draw, or None.
      iterates: names of the iterates, with their epochs.
      half_widths: ``[2]``, how far the surface extends on each side of the first point along x and
        y, in units of weight distance; None if it covers the points, the curve and the iterates.
      directions: facts on the directions; None without --directions.
      aligned: with --align, facts on the alignment of the second point.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    problem: Problem
    points: tuple[Any, ...]
    names: tuple[str, ...]
    state: Any
    plane: planes.Plane
    curve: tuple[curves.Curve, tuple[Any, ...]] | None
    iterates: tuple[tuple[str, int], ...]
    half_widths: np.ndarray | None
    directions: Directions | None
    aligned: dict[str, Any] | None
    different: tuple[str, ...]


def resolve(config: SurfaceConfig) -> Found:
    """Resolves the names in the flags, without reading data.

    Raises:
      UsageError: a run or epoch does not exist, the checkpoints differ in network or data, two
        points are the same, or there are too few iterates.
    """
    check_measured(config.splits, config.metrics)
    curve = references.find("--curve", config.curve) if config.curve else None
    if curve:
        curve_name(config.curve)
    others = [curve] if curve else []
    others += [references.find("--iterates", text) for text in config.iterates]
    iterates = tuple(one for text in config.iterates for one in _iterates(text))
    if config.directions == "pca" and len(iterates) < 3:
        raise UsageError(
            f"--iterates={','.join(config.iterates)}: two principal directions need three iterates "
            f"or more, got {len(iterates)}; train with --keep, or name them RUN@1,RUN@2,RUN@3"
        )
    texts = config.points or (iterates[-1][0],)
    found = [references.find("--points", text) for text in texts]
    names = tuple(one.name for one in found)
    if len(set(names)) < len(names):
        twice = next(text for text, name in zip(texts, names, strict=True) if names.count(name) > 1)
        raise UsageError(
            f"--points={','.join(texts)}: {twice} is there twice; a plane needs three points"
        )
    mode, different = references.shared(
        [*found, *others], config.data_dir, "share a plane", config.allow_different
    )
    check_problem(mode)
    return Found(mode, texts, names, curve.name if curve else None, iterates, different)


def load(config: SurfaceConfig, found: Found, problem: Problem) -> Inputs:
    """Loads the inputs onto the devices.

    Args:
      config: the surface's flags.
      found: the names in the flags, resolved.
      problem: the points' problem, with an evaluator for --splits and --metrics.

    Raises:
      UsageError: the checkpoints do not match, the three points do not span a plane, or the
        directions do not exist.
      Interrupted: a signal came while eigenvectors were computed.
    """
    loaded = [load_point(name) for name in found.points]
    aligned = None
    if config.align:
        name = f"--points: {found.texts[1]}"
        method = alignment.Method(config.align)
        loaded[1], aligned = alignment.align(problem, loaded[0], loaded[1], method, name)
    around = _around(config, found, problem, loaded)
    corners, state = parallel.replicate((around.points, loaded[0].state), problem.mesh)
    plane = _plane(config, corners)
    half_widths = None
    if config.directions not in (None, "pca"):
        half_widths = (config.extent or 1.0) * np.linalg.norm(plane.anchors[1:], axis=1)
    line = None
    if found.curve:
        family, control, _ = load_curve(Run(found.curve.run), found.curve.epoch)
        check_matching(config.curve, (corners[0], *control))
        line = family, parallel.replicate(control, problem.mesh)
    return Inputs(
        found.mode, problem, corners, around.names, state, plane, line, found.iterates,
        half_widths, around.directions, aligned, found.different,
    )  # fmt: skip


def _around(
    config: SurfaceConfig, found: Found, problem: Problem, loaded: Sequence[Point]
) -> surface_directions.Around:
    """The three points of --points, or one point and two directions."""
    names = tuple(map(label, found.texts))
    if config.align:
        names = (names[0], f"{names[1]}, aligned", *names[2:])
    if not config.directions:
        return surface_directions.Around(tuple(p.params for p in loaded), names, None)
    chosen = surface_directions.make(config, problem, loaded[0], found.iterates)
    return chosen._replace(names=(*names, *chosen.names))


def _iterates(text: str) -> list[tuple[str, int]]:
    """Names and epochs: of ``RUN@30`` itself, of ``RUN`` all its kept epochs."""
    name = references.find("--iterates", text).name
    if name.step is not None:
        raise UsageError(f"--iterates={text}: write RUN or RUN@EPOCH")
    if name.epoch is not None:
        return [(text, name.epoch)]
    run = Run(name.run)
    flags, per_epoch = run.info["flags"], run.info["steps_per_epoch"]
    kept = {*flags["keep"], *flags.get("eval_epochs", ()), flags["epochs"]}
    there = set(checkpoint_steps(run))
    t = "" if name.t is None else f"~{name.t}"
    return [(f"{name.run}@{e}{t}", e) for e in sorted(kept) if e * per_epoch in there]


def _plane(config: SurfaceConfig, corners: Sequence[Any]) -> planes.Plane:
    flag = f"--points={','.join(config.points)}"
    if config.directions:
        flag = f"--directions={config.directions}"
    try:
        plane = planes.plane(corners)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None
    if not np.isfinite(plane.anchors).all():
        raise UsageError(f"{flag}: a parameter is not finite")
    return plane


def check_matching(text: str, trees: tuple[Any, ...]) -> None:
    """Raises UsageError, naming ``text``, if parameter pytrees differ in structure or shapes."""
    try:
        curves.check_matching(trees)
    except ValueError as error:
        raise UsageError(f"{text} does not share a plane with --points: {error}") from None
