"""Layer-wise barriers of two networks: the inputs, and paths that are saved when they are done."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mcjax import curves
from mcjax.analysis import layers
from mcjax.engine import parallel
from mcjax.results import Layers

from ..cli import LayersConfig, ModeConfig, UsageError, collect_signals, identity
from ..runs import (
    Name,
    Point,
    Run,
    begin_evaluation,
    load_point,
)
from ..training import MEASURED, Problem, alignment, check_measured, check_problem
from . import drawing, references, saved_logits, saved_paths
from .interpolation_inputs import labels

EVALUATION = ("num_points", *MEASURED, "save_logits")
"""Flags of the evaluation, which runs again if they change."""
FILE, REPORT = "layers.npz", "layers.json"


class Found(NamedTuple):
    """The checkpoints that the flags name; both exist and share one problem.

    Attributes:
      mode: the flags of the first one's mode.
      points: the two, by their names for figures.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    points: dict[str, Name]
    different: tuple[str, ...]


class Inputs(NamedTuple):
    """The inputs, checked and loaded.

    Attributes:
      mode: the flags of the first network's mode.
      problem: its data, network and evaluator.
      points: the two networks by name, on one device.
      different: what the training data of others differ in.
    """

    mode: ModeConfig
    problem: Problem
    points: dict[str, Point]
    different: tuple[str, ...]


def check_flags(config: LayersConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    for name in ("workdir", "start", "end"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.start == config.end:
        raise UsageError(f"--start and --end are both {config.start}: give two checkpoints")
    if config.num_points < 2:
        raise UsageError(f"--num_points={config.num_points}: use 2 or more, for t = 0 and t = 1")
    drawing.check_style(config.style)
    saved_logits.check_flags(config)
    folder = Run(config.workdir)
    folder.check_same("layers", config)
    return folder


def resolve(config: LayersConfig) -> Found:
    """Resolves the names in the flags, without reading data.

    Raises:
      UsageError: a run or epoch does not exist, or the two differ in network or data.
    """
    check_measured(config.splits, config.metrics)
    texts = (config.start, config.end)
    found = [references.find(*one) for one in zip(("--start", "--end"), texts, strict=True)]
    mode, different = references.shared(
        found, config.data_dir, "share layers", config.allow_different
    )
    check_problem(mode)
    points = dict(zip(labels(texts), (one.name for one in found), strict=True))
    return Found(mode, points, different)


def load(found: Found, problem: Problem) -> Inputs:
    """Loads the two networks.

    Raises:
      UsageError: they do not match, or a parameter is not finite.
    """
    points = {name: load_point(place) for name, place in found.points.items()}
    alignment.check_finite("interpolated", points)
    try:
        curves.check_matching([point.params for point in points.values()])
    except ValueError as error:
        raise UsageError(f"--start and --end do not match: {error}") from None
    return Inputs(found.mode, problem, points, found.different)


def evaluate(folder: Run, config: LayersConfig, inputs: Inputs) -> Layers:
    """Evaluates the networks and all paths that are not saved yet, and writes the arrays.

    Raises:
      UsageError: a network was retrained after this run started, or cannot be aligned.
      Interrupted: a signal came; finished paths are saved.
    """
    control = [point.params for point in inputs.points.values()]
    sums = saved_paths.checksums(folder, control, "--start or --end")
    facts = {"different": list(inputs.different)} if inputs.different else {}
    folder.open("layers", config, mode=identity(inputs.mode), control_crc32=sums, **facts)
    begin_evaluation(folder, config, EVALUATION, (FILE, REPORT, *saved_paths.FOLDERS, "figures/*"))
    return saved_paths.completed(folder, FILE, partial(_evaluated, folder, config, inputs))


def _evaluated(folder: Run, config: LayersConfig, inputs: Inputs) -> Layers:
    problem, (start, end) = inputs.problem, inputs.points.values()
    if config.align:
        name = f"--end={config.end}"
        method = alignment.Method(config.align)
        end, facts = alignment.align(problem, start, end, method, name)
        folder.update(aligned=facts)
    layer, t = order(problem, start), np.linspace(0, 1, config.num_points)
    rows = layers.rows(start.params, layer, t)
    control, state = parallel.replicate(((start.params, end.params), start.state), problem.mesh)
    total = 2 + (len(rows) - 1) * len(t)
    with collect_signals() as received:
        logits = saved_logits.SavedLogits(folder, config, problem)
        saved = saved_paths.SavedPaths(folder, problem.evaluator, state, total, received, logits)
        try:
            saved.evaluate(control, {_key(span): one for span, one in rows.items()})
        finally:
            saved.bar.close()
    values = {span: saved.values(_key(span)) for span in rows}
    return layers.collect(values, tuple(inputs.points), layer, t)


def order(problem: Problem, point: Point) -> list[str]:
    """The layers of a network, in the order in which it uses them."""
    images = next(alignment.training_images(problem, most=2))[0]
    network = alignment.logits(problem)

    def function(params: Any, *inputs: Any) -> Any:
        return network({"params": params, **point.state}, *inputs)

    return layers.order(function, point.params, images)


def _key(span: layers.Span | None) -> str:
    return "networks" if span is None else f"layers-{span[0]}-{span[1]}"
