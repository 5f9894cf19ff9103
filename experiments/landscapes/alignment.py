"""Aligned runs: a permuted network as a mode, and the segments before and after."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import curves, plots, symmetries
from mcjax.analysis import profiles
from mcjax.engine import parallel
from mcjax.results import ALIGNED_PATHS, PathMetrics, Profile, Values

from ..cli import AlignConfig, ModeConfig, Progress, UsageError, say, to_flags
from ..runs import (
    Point,
    Run,
    find_checkpoint,
    json_text,
    label,
    load_point,
    load_result,
    open_checkpoints,
    restore,
    save_arrays,
    step_of,
    write_atomically,
)
from ..training import Problem, alignment, check_problem, modes
from ..training.ends import End, check_alike
from . import drawing

FILE, REPORT = "align.npz", "align.json"
BATCH_NORM = "batch norm's statistics, recomputed at every point of every path"
IDENTITY = ("start", "end", "method", "points", "restarts", "seed")
REPAIR_IMAGES = 10_000
"""REPAIR computes its statistics on this many training images, the first ones."""
REPAIR = f"REPAIR with at most the first {REPAIR_IMAGES} training images"


def check_flags(config: AlignConfig) -> Run:
    """Checks the flags by themselves and against the run folder, without reading data.

    Returns:
      The run folder.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    for name in ("workdir", "start", "end"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: use 2 or more, since both ends are points")
    if config.restarts < 1:
        raise UsageError(f"--restarts={config.restarts}: use 1 or more")
    if config.seed < 0:
        raise UsageError(f"--seed={config.seed}: use 0 or more")
    drawing.check_style(config.style)
    folder = Run(config.workdir)
    info = folder.info
    there = info.get("aligned", {}) if info.get("kind") == "mode" else {}
    differing = [
        f"--{name}: {before} there, {value} now"
        for name, value in _identity(config).items()
        if there and (before := there.get(name, getattr(AlignConfig, name))) != value
    ]
    if info and (differing or not there):
        what = f"with other flags ({'; '.join(differing)})" if there else "that is not aligned"
        raise UsageError(f"{folder.path} holds a run {what}; use another --workdir, or delete it")
    return folder


def _identity(config: AlignConfig) -> dict[str, Any]:
    """The flags that identify an aligned run."""
    return {name: getattr(config, name) for name in IDENTITY}


def resolve(config: AlignConfig) -> tuple[End, End]:
    """Finds the two networks, without reading data.

    Raises:
      UsageError: one does not exist, or they differ in network or data.
    """
    texts = (config.start, config.end)
    start, end = (End(*find_checkpoint(text, config.data_dir), False) for text in texts)
    check_alike(start, end, None)
    check_problem(start.mode)
    return start, end


def make(folder: Run, config: AlignConfig, ends: tuple[End, End], problem: Problem) -> None:
    """Aligns, evaluates and draws what is missing, and marks the run done.

    Raises:
      UsageError: a weight is not finite, or an end was retrained after this run started.
      RunFailed: the network is at chance.
    """
    start, end = (load_point(one.name) for one in ends)
    _open(folder, config, ends, [alignment.checksum(point.params) for point in (start, end)])
    aligned = _aligned(folder, config, problem, start, end)
    found = _profile(folder, config, problem, {"start": start, "before": end, "after": aligned})
    _report(folder, found, alignment.has_batch_norm(problem, start))
    draw(folder, config, found)
    params, state = parallel.replicate((aligned.params, aligned.state), problem.mesh)
    modes.finish(folder, problem, params, state, "the aligned network")


def _open(folder: Run, config: AlignConfig, ends: tuple[End, End], crc32: list[int]) -> None:
    """Opens the run as a mode with the flags of the end's mode; each epoch counts as one step."""
    other = Run(ends[1].name.run).info
    facts: dict[str, Any] = {"aligned": _identity(config) | {"crc32": crc32}}
    if "imported" in other:
        facts["imported"] = other["imported"]
    if folder.info and folder.info["aligned"]["crc32"] != crc32:
        raise UsageError(
            f"--start or --end was retrained since {folder.path} was begun: use another --workdir"
        )
    folder.open("mode", _mode(config, ends[1]), steps_per_epoch=1, **facts)
    write_atomically(folder.path / "flags.cfg", to_flags(config))


def _mode(config: AlignConfig, end: End) -> ModeConfig:
    """The flags of the end's mode, with its epoch as the last."""
    run = Run(end.name.run)
    epoch = step_of(run, end.name.epoch, end.name.step) // run.info["steps_per_epoch"]
    return dataclasses.replace(end.mode, workdir=config.workdir, epochs=epoch, keep=())


def _aligned(folder: Run, config: AlignConfig, problem: Problem, start: Point, end: Point) -> Point:
    """Loads the aligned network, or matches and saves it."""
    with open_checkpoints(folder, read_only=True) as saved:
        steps = saved.steps()
    if steps:
        tree = restore(folder, steps[-1])
        return Point(tree["params"], tree["model_state"])
    method = alignment.Method(config.method, config.restarts, config.seed)
    point, facts = alignment.align(problem, start, end, method, f"--end={config.end}")
    folder.update(aligned=folder.info["aligned"] | facts)
    step = folder.info["flags"]["epochs"]
    tree = {"params": point.params, "model_state": point.state}
    with open_checkpoints(folder, keep=(step,)) as saved:
        saved.save(step, parallel.replicate(tree, problem.mesh))
    return point


def _profile(
    folder: Run, config: AlignConfig, problem: Problem, networks: dict[str, Point]
) -> Profile:
    """Evaluates the profiles; each is saved when it is done."""
    t, file = np.linspace(0, 1, config.points), folder.path / FILE
    found = load_result(Profile, file) if file.exists() else Profile(t, {})
    for path in ALIGNED_PATHS:
        if path in found.paths:
            continue
        if path != "repaired":
            one = _segment(folder, problem, networks["start"], networks[path], t, path)
        elif alignment.has_batch_norm(problem, networks["start"]):
            continue
        else:
            one = _repaired(folder, problem, networks, t, found.paths["after"])
        if one is not None:
            found.paths[path] = one
            save_arrays(file, found.to_arrays())
    return found


def _segment(
    folder: Run, problem: Problem, start: Point, end: Point, t: np.ndarray, path: str
) -> PathMetrics:
    control = parallel.replicate((start.params, end.params), problem.mesh)
    state = parallel.replicate(start.state, problem.mesh)
    bar = Progress(f"{folder.path.name}: {path}", len(t), "point")
    try:
        return profiles.along(problem.evaluator, curves.segment(), control, t, state, bar.update)
    finally:
        bar.close()


def _repaired(
    folder: Run, problem: Problem, networks: dict[str, Point], t: np.ndarray, after: PathMetrics
) -> PathMetrics | None:
    """Metrics of the corrected network at every ``t``; None if it cannot be corrected."""
    try:
        corrected = _corrected(problem, networks, t)
    except ValueError as error:
        say(f"note: no REPAIR: {error}")
        return None
    bar = Progress(f"{folder.path.name}: repaired", len(t), "point")
    state = parallel.replicate(networks["start"].state, problem.mesh)
    blocks = []
    try:
        for number, found in enumerate(corrected, 1):
            if number == 1:
                say_what_is_left(folder, found)
            one = parallel.replicate(found.params["params"], problem.mesh)
            blocks.append(problem.evaluator((one,), [[1.0]], state))
            bar.update(number)
    finally:
        bar.close()
    values = Values.joined(blocks)
    return profiles.summarize(PathMetrics(values.metrics, values.l2, after.arc_length), t)


def say_what_is_left(folder: Run, found: symmetries.Repaired) -> None:
    """Records the leaves that REPAIR corrects, and reports those that it does not or in part."""
    leaves = {name: list(getattr(found, name)) for name in ("corrected", "scaled", "left")}
    folder.update(repair=leaves)
    for name, words in (("scaled", "sets no means, for want of a bias, in"), ("left", "skips")):
        if leaves[name]:
            more = ", ..." if leaves[name][5:] else ""
            say(f"note: REPAIR {words} {', '.join(leaves[name][:5])}{more}")


def _corrected(
    problem: Problem, networks: dict[str, Point], t: np.ndarray
) -> Iterator[symmetries.Repaired]:
    """Yields the corrected network at every ``t``."""
    function = alignment.logits(problem)
    spec = alignment.find(problem, function, networks["start"])
    start, end = (alignment.variables(networks[name]) for name in ("start", "after"))
    batches = list(alignment.training_images(problem, REPAIR_IMAGES))
    return symmetries.repair_path(spec, function, start, end, batches, t.tolist())


def _report(folder: Run, found: Profile, batch_norm: bool) -> None:
    """Writes ``align.json``."""
    barriers = {
        path: {
            split: {name: heights._asdict() for name, heights in losses.items()}
            for split, losses in one.barriers.items()
        }
        for path, one in found.paths.items()
    }
    lengths = {path: found.paths[path].arc_length for path in ("before", "after")}
    facts = folder.info["aligned"] | {
        "distance": {path: float(x[-1]) for path, x in lengths.items() if x is not None},
        "correction": REPAIR if "repaired" in barriers else BATCH_NORM if batch_norm else None,
        "repair": folder.info.get("repair"),
        "barriers": barriers,
    }
    if batch_norm:
        barriers["repaired"] = barriers["after"]
    write_atomically(folder.path / REPORT, json_text.dumps(facts, indent=1) + "\n")


def draw(folder: Run, config: AlignConfig, found: Profile) -> Path | None:
    """Draws the profiles, if the figure does not exist yet in this style; None if it failed."""
    stem = folder.path / "figures" / "align"
    again = config.style or folder.info.get("style")  # the style's file may have changed
    folder.update(style=config.style)
    if not parallel.is_first() or (plots.is_whole(stem) and not again):
        return stem.with_suffix(".png")
    title = f"{label(config.start)} to {label(config.end)}, aligned by {config.method}"

    def one() -> Path:
        with plots.style(*config.style):
            return plots.save(plots.curve_figure(found, title), stem)

    return drawing.attempt(one, folder.path / FILE, drawing.command("align", folder.path))


def summarize(folder: Run) -> str:
    """The text that `align` prints for a finished run."""
    facts = json_text.loads((folder.path / REPORT).read_bytes())
    heights = [
        f"{path} {losses['train']['loss']['over_max']:.4g}"
        for path, losses in facts["barriers"].items()
    ]
    return "\n".join(
        [
            modes.result(folder),
            alignment.describe(facts),
            f"barrier of the training loss over the higher end: {', '.join(heights)}",
        ]
    )
