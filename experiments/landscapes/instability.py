"""Evaluates the segments between the children of every fork; each fork is saved when it is done."""

import dataclasses
from typing import Any

import numpy as np

from mcjax import paths
from mcjax.analysis import instability, interpolation
from mcjax.engine import parallel
from mcjax.results import Instability, Interpolation

from ..cli import InstabilityConfig, Progress, UsageError, collect_signals, stop_if_signalled
from ..runs import Run, begin_evaluation, load_result, save_arrays
from ..training import MEASURED, Problem, check_measured, forking, modes, pin_data, pin_further
from . import drawing

EVALUATION = ("num_points", *MEASURED)
"""Flags of the evaluation, which runs again if they change."""
FILE, REPORT = "instability.npz", "instability.json"


def check_flags(config: InstabilityConfig) -> tuple[InstabilityConfig, Run, forking.Sweep]:
    """Checks the flags by themselves and against the run folder, without loading data.

    Returns:
      The flags, with the user's own data completed; the run folder; the networks to train.

    Raises:
      UsageError: a flag is wrong, or the folder holds another run.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the run's folder")
    config = pin_further(dataclasses.replace(config, dataset=pin_data(config).dataset))
    folder = Run(config.workdir)
    folder.check_same("instability", config)
    sweep = forking.plan(config)
    if config.num_points < 3:
        raise UsageError(f"--num_points={config.num_points}: use 3 or more, one between the ends")
    check_measured(config.splits, config.metrics)
    drawing.check_style(config.style)
    return config, folder, sweep


def evaluate(
    folder: Run, config: InstabilityConfig, sweep: forking.Sweep, problem: Problem, per_epoch: int
) -> Instability:
    """Evaluates the forks that are not saved yet, and writes the arrays.

    Args:
      folder: opened and locked.
      config: the flags.
      sweep: the networks, trained.
      problem: their problem, with an evaluator for --splits and --metrics.
      per_epoch: steps per epoch.

    Raises:
      Interrupted: a signal came; finished forks are saved.
    """
    begin_evaluation(folder, config, EVALUATION, (FILE, REPORT, "segments", "figures/*"))
    t = np.linspace(0, 1, config.num_points)
    (folder.path / "segments").mkdir(exist_ok=True)
    ordered = sorted(sweep.forks, key=lambda fork: fork.step(per_epoch))
    each = len(interpolation.every_pair(config.children)) * len(t) + config.children
    bar = Progress(f"{folder.path.name}: segments", each * len(ordered), "point", 0)
    found: list[Interpolation] = []
    with collect_signals() as received:
        try:
            for number, fork in enumerate(ordered):
                found.append(_segments(folder, fork, t, problem, bar, number * each, received))
        finally:
            bar.close()
    steps = [fork.step(per_epoch) for fork in ordered]
    result = instability.collect([fork.text for fork in ordered], steps, per_epoch, found)
    save_arrays(folder.path / FILE, result.to_arrays())
    if parallel.is_first():
        paths.remove_tree(folder.path / "segments")
    return result


def _segments(
    folder: Run,
    fork: forking.Fork,
    t: np.ndarray,
    problem: Problem,
    bar: Progress,
    before: int,
    received: list[int],
) -> Interpolation:
    """The segments between a fork's children: those saved earlier, or evaluated now."""
    file = folder.path / "segments" / f"{fork.text}.npz"
    if file.exists():
        return load_result(Interpolation, file)

    def progress(done: int) -> None:
        bar.update(before + done)
        stop_if_signalled(received)

    children: list[Any] = [modes.load_trained(Run(one.workdir)) for one in fork.children]
    networks, state = parallel.replicate(
        (tuple(one.params for one in children), children[0].state), problem.mesh
    )
    names = [Run(one.workdir).path.name for one in fork.children]
    one = interpolation.interpolate(problem.evaluator, networks, names, t, state, progress)
    save_arrays(file, one.to_arrays())
    return one
