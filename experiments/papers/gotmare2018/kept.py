"""Kept results: the small files of a reproduction's finished runs, enough to judge and draw it.

The folder holds the reproduction's ``run.json`` and, in ``seedK/RUN/``, each finished run's
``run.json``, ``metrics.jsonl`` and arrays, but no checkpoints. What needs the weights is computed
while they exist: ``seedK/gradients.json`` (gradient norms at w70 and w150) and
``seedK/embedding.npz`` (t-SNE of the modes and bends).
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcjax.analysis import embedding
from mcjax.engine import parallel

from ...cli import ReproduceConfig, UsageError, recorded, say
from ...runs import (
    Run,
    Status,
    json_text,
    load_arrays,
    load_point,
    mode_config,
    parse_name,
    save_arrays,
    write_atomically,
)
from ...training import make_problem
from ..judging import NOT_RUN
from . import scales

PERPLEXITY = 4.0
"""Perplexity of the t-SNE, which needs more networks than this."""
PATHS = ("start", "end", "points", "curve", "iterates")
"""Flags that name other runs; kept results name them ``seedK/RUN``."""
SAME = ("paper", "scale", "epochs_factor", "precision")
"""Flags that results kept in one folder share."""


def place(workdir: Path, seeds: int, seed: int) -> Path:
    """Returns the folder of a repetition's runs."""
    return workdir if seeds == 1 else workdir / f"seed{seed}"


def collect(workdir: Run, kept: Run, data_dir: str | None = None) -> None:
    """Copies the small files of a reproduction's finished runs; ``workdir`` is not written to.

    Args:
      workdir: a reproduction, finished or not.
      kept: where to copy them; results of other runs there are left as they are.
      data_dir: the data set's folder, for the gradients.

    Raises:
      UsageError: ``workdir`` is not a reproduction, or ``kept`` holds one with other flags.
    """
    info = workdir.info
    if info.get("kind") != "reproduction":
        raise UsageError(f"--workdir={workdir.path} is not a reproduction")
    flags, there = recorded_flags(workdir), recorded_flags(kept)
    for name in SAME:
        if kept.info and there[name] != flags[name]:
            raise UsageError(
                f"{kept.path} holds results with --{name}={there[name]}, but {workdir.path} has "
                f"{flags[name]}: keep them in another folder"
            )
    kept.path.mkdir(parents=True, exist_ok=True)
    for seed in range(flags["seeds"]):
        source = place(workdir.path, flags["seeds"], seed)
        target = kept.path / f"seed{seed}"
        plan = make_plan(flags, source, seed)
        names = [job.name for job in plan.jobs]
        done = [name for name in names if _copy_run(source / name, target, seed, names)]
        if done:
            for file in (source / "gradients.json", source / "embedding.npz"):
                if file.exists():
                    shutil.copyfile(file, target / file.name)
            add_from_weights(source, target, plan, data_dir)
        say(f"seed {seed}: {len(done)} of {len(plan.jobs)} runs kept")
    count = max(flags["seeds"], there["seeds"])
    kept.update(**info | {"flags": info["flags"] | {"seeds": count}})


def recorded_flags(run: Run) -> dict[str, Any]:
    """The flags in a reproduction's ``run.json``; defaults for flags that are newer than it."""
    return recorded(ReproduceConfig()) | run.info.get("flags", {})


def make_plan(flags: dict[str, Any], workdir: Path, seed: int) -> scales.Plan:
    """Plans all runs of a repetition, from the flags in the reproduction's ``run.json``."""
    shared = {"precision": flags["precision"]}
    return scales.make_plan(
        scales.SCALES[flags["scale"]],
        workdir,
        set(scales.FIGURES),
        flags["epochs_factor"],
        seed,
        shared,
    )


def _copy_run(folder: Path, target: Path, seed: int, names: Sequence[str]) -> bool:
    """Copies a run of the plan's ``names`` if it is done or failed; returns whether it was."""
    info = Run(folder).info
    if info.get("status") not in (Status.DONE, Status.FAILED):
        return False
    run = Run(target / folder.name)
    run.path.mkdir(parents=True, exist_ok=True)
    for name in PATHS:
        if name in info["flags"]:
            info["flags"][name] = _relative(info["flags"][name], f"seed{seed}", names)
    text = json_text.dumps(info)  # messages name runs, too
    if folder.parent.is_absolute():
        text = text.replace(f"{folder.parent}/", f"seed{seed}/")
    path = rf"[^\s\"',;=()\\]*/({'|'.join(names)})(?!\w)"
    text = re.sub(path, rf"seed{seed}/\1", text)
    run.update(**json_text.loads(text))
    for file in (folder / "metrics.jsonl", *sorted(folder.glob("*.npz"))):
        if file.exists():
            shutil.copyfile(file, run.path / file.name)
    return True


def _relative(value: Any, parent: str, names: Sequence[str]) -> Any:
    """Rewrites the path of one of the runs ``names`` as ``parent/RUN[@EPOCH][~T]``."""
    if isinstance(value, list):
        return [_relative(one, parent, names) for one in value]
    last = Path(value).name if isinstance(value, str) else ""
    return f"{parent}/{last}" if re.split("[@~]", last)[0] in names else value


def seeds(kept: Run) -> int:
    """The number of repetitions, including those of which nothing is kept yet.

    Raises:
      UsageError: nothing is kept.
    """
    numbers = [int(p.name[4:]) for p in kept.path.glob("seed*") if p.name[4:].isdigit()]
    if not kept.info or not numbers:
        raise UsageError(
            f"--kept={kept.path}: no results are kept there; add --workdir to copy those of a "
            "reproduction's finished runs first"
        )
    return max(kept.info["flags"]["seeds"], 1 + max(numbers))


def missing(plan: scales.Plan, folder: Path) -> dict[str, str]:
    """Finds out from the run folders why runs of a plan are missing.

    Returns:
      The reason, by run.

    Raises:
      UsageError: a run has other flags than the plan.
    """
    found: dict[str, str] = {}
    for job in plan.jobs:
        run = Run(folder / job.name)
        if run.status == Status.NEW:
            failed = [n for n in job.needs if found.get(n, NOT_RUN) != NOT_RUN]
            found[job.name] = (
                f"not run, since {failed[0]}: {found[failed[0]]}" if failed else NOT_RUN
            )
            continue
        run.check_same(job.kind, job.config)
        if run.status == Status.FAILED:
            found[job.name] = run.info["reason"]
        elif run.status != Status.DONE:
            found[job.name] = NOT_RUN
    return found


def add_from_weights(
    source: Path, target: Path, plan: scales.Plan, data_dir: str | None = None
) -> None:
    """Computes what needs the weights, if the runs are done and it does not exist yet.

    Args:
      source: the folder of the run folders, with checkpoints.
      target: where ``gradients.json`` and ``embedding.npz`` are written.
      plan: the repetition's runs.
      data_dir: the data set's folder, for the gradients.
    """
    target.mkdir(parents=True, exist_ok=True)
    done = [job.name for job in plan.jobs if Run(source / job.name).status == Status.DONE]
    if scales.pair_name("sgdr", 70, 150) in done and not (target / "gradients.json").exists():
        norms = _gradient_norms(Run(source / "sgdr"), plan.epochs["sgdr"], data_dir)
        write_atomically(target / "gradients.json", json_text.dumps(norms))
    names = sorted((n for n in done if set(n) <= set(scales.MODES)), key=len)  # G, ..., GA, ...
    file = target / "embedding.npz"
    if len(names) > PERPLEXITY and not (file.exists() and list(load_arrays(file)["name"]) == names):
        save_arrays(file, _embedding(source, names))


def _gradient_norms(run: Run, epochs: dict[int, int], data_dir: str | None) -> dict[str, float]:
    mode = mode_config(run.info, data_dir=data_dir)
    problem = make_problem(mode, run.info["flags"]["precision"])
    norms = {}
    for epoch in (70, 150):
        point = load_point(parse_name(f"{run.path}@{epochs[epoch]}"))
        point = parallel.replicate(point, problem.mesh)
        norms[f"w{epoch}"] = problem.evaluator.gradient_norm(point.params, point.state)
    return norms


def _embedding(source: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    networks = [load_point(parse_name(str(source / name))).params for name in names]
    distances = embedding.distances(networks)
    xy = embedding.tsne(distances, PERPLEXITY)
    return {"name": np.array(names), "distances": distances, "xy": xy}
