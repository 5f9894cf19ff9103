"""What a surface is made of: from the flags' names to checked and loaded parameters."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from mcjax import curves, planes
from mcjax.engine import parallel
from mcjax.results import Directions

from ..cli.configs import ModeConfig, SurfaceConfig
from ..cli.errors import UsageError
from ..runs.folder import Run
from ..runs.names import parse_name
from ..training import ends
from ..training import problem as problems
from . import surface_directions


class Sources(NamedTuple):
    """What a surface is made of, checked and loaded.

    Attributes:
      mode: the flags of the first point's mode.
      problem: its data, network and evaluator.
      points: three parameter pytrees, on all devices; with --directions the centre and where the
        two directions lead from it.
      names: of the points, for figures.
      state: the first point's network state, on all devices.
      plane: through the points.
      curve: family and control points of the curve to draw, or None.
      iterates: names of the iterates, with their epochs.
      half_widths: ``[2]``, how far the surface reaches on each side of the first point along x and
        y, in units of weight distance; None where it covers what is drawn.
      directions: with --directions, what they are.
    """

    mode: ModeConfig
    problem: problems.Problem
    points: tuple[Any, ...]
    names: tuple[str, ...]
    state: Any
    plane: planes.Plane
    curve: tuple[curves.Curve, tuple[Any, ...]] | None
    iterates: tuple[tuple[str, int], ...]
    half_widths: np.ndarray | None
    directions: Directions | None


def load(config: SurfaceConfig) -> Sources:
    """Finds and loads what the flags name.

    Raises:
      UsageError: a run or epoch is not there, the checkpoints are of different networks or data,
        the three points span no plane, or there are no such directions.
      Interrupted: a signal came while eigenvectors were sought.
    """
    curve = _find("--curve", config.curve) if config.curve else None
    if curve:
        ends.curve_name(config.curve)
    others = [curve] if curve else []
    others += [_find("--iterates", text) for text in config.iterates]
    iterates = tuple(one for text in config.iterates for one in _iterates(text))
    if config.directions == "pca" and len(iterates) < 3:
        raise UsageError(
            f"--iterates={','.join(config.iterates)}: two principal directions need three iterates "
            f"or more, got {len(iterates)}; train with --keep, or name them RUN@1,RUN@2,RUN@3"
        )
    texts = config.points or (iterates[-1][0],)
    found = [_find("--points", text) for text in texts]
    mode = _shared_mode(config, [*found, *others])
    problem = problems.make_problem(mode, config.precision, config.splits, config.metrics)
    loaded = [ends.load(end.name) for end in found]
    points, names, along = tuple(p.params for p in loaded), tuple(map(ends.label, texts)), None
    if config.directions:
        chosen = surface_directions.make(config, problem, loaded[0], iterates)
        points, names, along = chosen.points, (*names, *chosen.names), chosen.directions
    points, state = parallel.replicate((points, loaded[0].state), problem.mesh)
    plane = _plane(config, points)
    half_widths = None
    if config.directions not in (None, "pca"):
        half_widths = (config.extent or 1.0) * np.linalg.norm(plane.anchors[1:], axis=1)
    line = None
    if curve:
        family, control, _ = ends.load_curve(Run(curve.name.run), curve.name.epoch)
        check_matching(config.curve, (points[0], *control))
        line = family, parallel.replicate(control, problem.mesh)
    return Sources(mode, problem, points, names, state, plane, line, iterates, half_widths, along)


def _shared_mode(config, found):
    """The mode of the first checkpoint, whose problem all others must share."""
    mode = dataclasses.replace(found[0].mode, data_dir=config.data_dir)
    for end in found:
        differing = problems.same_problem(mode, end.mode)
        if differing:
            raise UsageError(
                f"{found[0].name.run} and {end.name.run} are not on one plane: they differ in "
                f"{differing[0]}"
            )
    return mode


def _find(flag, text):
    """A checkpoint that is there."""
    run = Run(parse_name(text).run)
    kind = run.info.get("kind")
    if kind not in ("mode", "curve"):
        what = f"holds a {kind}" if kind else "is no run"
        raise UsageError(f"{flag}={text}: {run.path} {what}; give a mode's or curve's run folder")
    return ends.resolve(text, run.path, None, "float32")


def _iterates(text):
    """``RUN@30`` as it is; ``RUN`` as all its kept epochs: names and epochs."""
    name = _find("--iterates", text).name
    if name.epoch is not None:
        return [(text, name.epoch)]
    run = Run(name.run)
    flags, per_epoch = run.info["flags"], run.info["steps_per_epoch"]
    kept = {*flags["keep"], *flags.get("eval_epochs", ()), flags["epochs"]}
    with run.checkpoints(read_only=True) as saved:
        there = set(saved.steps())
    t = "" if name.t is None else f"~{name.t}"
    return [(f"{name.run}@{e}{t}", e) for e in sorted(kept) if e * per_epoch in there]


def _plane(config, points):
    named = f"--points={','.join(config.points)}"
    if config.directions:
        named = f"--directions={config.directions}"
    try:
        plane = planes.plane(points)
    except ValueError as error:
        raise UsageError(f"{named}: {error}") from None
    if not np.isfinite(plane.anchors).all():
        raise UsageError(f"{named}: a parameter is not finite")
    return plane


def check_matching(text: str, trees: tuple[Any, ...]) -> None:
    """Raises UsageError, naming ``text``, where parameter pytrees differ in shape."""
    try:
        curves.check_matching(trees)
    except ValueError as error:
        raise UsageError(f"{text} is not on one plane with --points: {error}") from None
