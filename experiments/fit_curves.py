r"""Fits the curves of many pairs of modes at once, and compares their barriers (Section 2).

    python -m experiments.fit_curves --flagfile=experiments/flags/digits/pairs.cfg \
        --modes=runs/G,runs/A,runs/B --workdir=runs/pairs

--modes connects every two, --pairs=START:END,... those given. Each curve has its run folder in
WORKDIR, the same that `fit_curve` makes, so either command goes on with it. The curves are laid
over the devices and trained together; --shard=3/8 takes every eighth from the third on, for an
array of jobs that need no communication. The command without --shard, given when they have ended,
finds their curves done and puts all together: WORKDIR/pairs.json and WORKDIR/figures/barriers.png.
"""

import contextlib
import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.engine import parallel
from mcjax.results import Profile

from . import fit_curve
from .cli import command, flag_parsers
from .cli.configs import CurveConfig, CurvesConfig
from .cli.errors import RunFailed, UsageError
from .cli.progress import say, show
from .landscapes import drawing
from .runs import json_text
from .runs.arrays import load_result
from .runs.files import write_atomically
from .training import ends, loop
from .training import problem as problems


def run(config: CurvesConfig) -> list[dict[str, Any]]:
    """Fits what is missing, evaluates and compares.

    Returns:
      A row for each curve of this shard, as in ``pairs.json``.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: some of the modes or curves did not train; the others are done.
      Interrupted: a signal came.
    """
    fits = [fit_curve.check(curve) for curve in plan(config)]
    _check_alike(fits, config)
    with contextlib.ExitStack() as locks:
        for fit in fits:
            locks.enter_context(fit.folder.locked())
        rows, failures = _fit_all(fits)
    show(table(rows))
    if not config.shard:
        _put_together(Path(config.workdir), rows, config.style)
    if failures:
        first = next(iter(failures.items()))
        raise RunFailed(f"{len(failures)} of {len(fits)} curves failed; {': '.join(first)}")
    return rows


def _fit_all(fits):
    """The rows of all curves, and why some failed."""
    failures = {}
    for fit in fits:
        try:
            fit_curve.begin(fit)
        except RunFailed as error:
            failures[fit.folder.path.name] = str(error)
    going = [fit for fit in fits if fit.folder.path.name not in failures]
    for group in _groups([fit for fit in going if fit.folder.status == "running"]):
        _train(group)
    for number, fit in enumerate(going, 1):
        if fit.folder.status == "fitted":
            say(f"evaluating {fit.folder.path.name}: curve {number} of {len(going)}")
        if fit.folder.status in ("fitted", "done"):
            fit_curve.finish(fit)
        with contextlib.suppress(RunFailed):
            fit_curve.judge(fit)
        if fit.folder.status == "failed":
            failures[fit.folder.path.name] = fit.folder.info["reason"]
    return [_row(fit, failures) for fit in fits], failures


def plan(config: CurvesConfig) -> list[CurveConfig]:
    """The curves of this shard, each with the flags that `fit_curve` would take.

    Raises:
      UsageError: no pairs, or flags that are wrong.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing")
    if config.seeds < 1:
        raise UsageError(f"--seeds={config.seeds}: use 1 or more")
    pairs = [*itertools.combinations(config.modes, 2), *map(_pair, config.pairs)]
    if not pairs:
        raise UsageError("--modes or --pairs is missing: two modes or more, or START:END")
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(CurveConfig)
        if field.name not in ("workdir", "start", "end", "seed", "modes_dir")
    }
    folder = Path(config.workdir)
    found: dict[str, CurveConfig] = {}
    for start, end in pairs:
        for seed in range(config.seed, config.seed + config.seeds):
            name = re.sub("[@~]", "-", f"{ends.label(start)}_{ends.label(end)}")
            name += f"_seed{seed}" if config.seeds > 1 else ""
            if name in found:
                raise UsageError(
                    f"two pairs would share the folder {folder / name}: {start}, {end}"
                )
            found[name] = CurveConfig(
                **shared,
                workdir=str(folder / name),
                start=start,
                end=end,
                seed=seed,
                modes_dir=config.modes_dir or str(folder / "modes"),
            )
    return list(found.values())[_shard(config.shard)]


def table(rows: list[dict[str, Any]]) -> str:
    """The curves beside their segments, a line for each, for the console."""
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"{'':{width}} {'highest training loss':>25}  {'over the higher end':>21}",
        f"{'':{width}} {'curve':>12} {'segment':>12}  {'curve':>10} {'segment':>10}",
    ]
    for row in rows:
        if "why" in row:
            lines.append(f"{row['name']:{width}} {row['why']}")
            continue
        numbers = [row[path][name] for name in ("highest", "over_max") for path in PATHS]
        lines.append(
            "{:{}} {:12.4g} {:12.4g}  {:10.4g} {:10.4g}".format(row["name"], width, *numbers)
        )
    return "\n".join(lines)


PATHS = ("curve", "segment")
FAILED = {"over_max": float("nan")}


def _pair(text):
    match flag_parsers.split(text, ":"):
        case [start, end] if start and end:
            return start, end
    raise UsageError(f"--pairs={text}: write START:END, and a colon in a name as \\:")


def _shard(text):
    """The slice of the curves that ``I/N`` means."""
    if not text:
        return slice(None)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard={text}: write I/N, I from 1 to N")
    return slice(int(match[1]) - 1, None, int(match[2]))


def _check_alike(fits, config):
    """All are of one problem; shards never train the same mode at the same time."""
    for fit in fits:
        differing = problems.same_problem(fits[0].start.mode, fit.start.mode)
        if differing:
            raise UsageError(f"{fits[0].start.name.run} and {fit.start.name.run} cannot be "
                             f"fitted together: they differ in {differing[0]}")  # fmt: skip
        for end in (fit.start, fit.end):
            if end.untrained and config.shard:
                raise UsageError(f"{end.name.run} is not trained: train all modes before --shard")


def _groups(fits):
    """Curves that can go on from a common checkpoint, or that all start anew."""
    steps = {}
    for fit in fits:
        with fit.folder.checkpoints(read_only=True) as saved:
            steps[fit.folder.path] = set(saved.steps())
    fresh = [fit for fit in fits if not steps[fit.folder.path]]
    begun = [fit for fit in fits if steps[fit.folder.path]]
    if begun and not set.intersection(*(steps[fit.folder.path] for fit in begun)):
        return [group for group in (fresh, *([fit] for fit in begun)) if group]
    return [group for group in (fresh, begun) if group]


def _train(fits):
    """Trains a group of curves together."""
    config, problem = fits[0].config, fits[0].problem
    say(f"{len(fits)} curves together, on {problem.mesh.size} devices")
    functions, starts = zip(*map(fit_curve.prepare, fits), strict=True)
    loop.train_together(
        [fit.folder for fit in fits],
        config,
        problem,
        functions[0],
        starts,
        strata=config.t_strata,
        keep=tuple({epoch for fit in fits for epoch in fit.keep}),
    )
    for fit in fits:
        if fit.folder.status == "running":
            fit.folder.update(status="fitted")


def _row(fit, failures):
    """What ``pairs.json`` says of a curve."""
    row = {
        "name": fit.folder.path.name,
        "start": ends.label(fit.config.start),
        "end": ends.label(fit.config.end),
        "seed": fit.config.seed,
    }
    if row["name"] in failures:
        return row | {"why": failures[row["name"]]}
    found = load_result(Profile, fit.folder.path / "curve.npz")
    return row | {
        name: {"highest": float(np.max(path.metrics["train"]["loss"]))}
        | {how: float(x) for how, x in path.barriers["train"]["loss"]._asdict().items()}
        for name, path in found.paths.items()
    }


def _put_together(folder, rows, style):
    """Writes ``pairs.json`` and draws the matrix of barriers."""
    write_atomically(folder / "pairs.json", json_text.dumps(rows, indent=1) + "\n")
    if not parallel.is_first():
        return
    heights = {
        path: [(row["start"], row["end"], row.get(path, FAILED)["over_max"]) for row in rows]
        for path in PATHS
    }

    def draw():
        with plots.style(*style):
            figure = plots.barrier_matrix(heights["curve"], heights["segment"])
            return plots.save(figure, folder / "figures" / "barriers")

    figure = drawing.attempt(draw, folder / "pairs.json", "the same command")
    if figure:
        show(f"figure: {figure}")


if __name__ == "__main__":
    command.main(CurvesConfig, run, __doc__)
