"""Folders of reproductions that were never run: every run of the plan with made-up results."""

import json
from collections.abc import Container
from pathlib import Path

import numpy as np

from experiments.cli.flags import identity
from experiments.papers.gotmare2018 import kept, scales
from experiments.runs import add_metrics
from experiments.runs.arrays import save_arrays
from experiments.runs.folder import Run
from mcjax.analysis import profiles
from mcjax.results import PathMetrics, Profile, Slopes

FLAGS = {"scale": "digits", "epochs_factor": 1.0, "precision": "float32"}
ALL = {*scales.MODES, *scales.PAIRS, *(name for n in scales.FIGURES for name in scales.shown_in(n))}
T = np.linspace(0, 1, 5)
SPLITS = ("train", "validation")


def plan(tmp_path, scale="digits", chosen=scales.FIGURES, factor=1.0, seed=0):
    """The plan of one repetition."""
    shared = {"data_dir": None, "precision": "float32"}
    return scales.make_plan(scales.SCALES[scale], tmp_path, set(chosen), factor, seed, shared)


def write(folder: Path, seeds: int = 2, without: Container[str] = (), **flags) -> Run:
    """A reproduction with all runs done but those of ``without``, ``RUN`` or ``K/RUN``."""
    run = Run(folder)
    folder.mkdir(parents=True)
    run.update(
        format=1, kind="reproduction", status="running", flags=FLAGS | {"seeds": seeds} | flags,
        versions={"mcjax": "0.1.0"}, device="1 x cpu (cpu)",
    )  # fmt: skip
    for seed in range(seeds):
        place = kept.place(folder, seeds, seed)
        plan = kept.make_plan(run.info["flags"], place, seed)
        jobs = [j for j in plan.jobs if not {j.name, f"{seed}/{j.name}"} & set(without)]
        for job in jobs:
            _write_run(job, np.random.default_rng(seed))
        names = [j.name for j in jobs if set(j.name) <= set(scales.MODES)]
        (place / "gradients.json").write_text(json.dumps({"w70": 0.3, "w150": 0.1}))
        xy = np.random.default_rng(seed).normal(size=(len(names), 2))
        names.sort(key=len)
        save_arrays(place / "embedding.npz", {"name": np.array(names), "xy": xy})
    return run


def _write_run(job, rng):
    run = Run(job.config.workdir)
    run.path.mkdir(parents=True)
    flags = {"format": 1, "kind": job.kind, "status": "done", "flags": identity(job.config)}
    run.update(**flags, versions={"mcjax": "0.1.0"}, steps_per_epoch=14)
    if job.kind == "surface":
        save_arrays(run.path / "surface.npz", surface(rng))
        return
    for epoch in (1, 2):
        add_metrics(
            run.path,
            epoch=epoch,
            step=14 * epoch,
            lr=0.1 / epoch,
            seconds=1.5,
            validation={"accuracy": 0.5},
        )
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / "weights").write_bytes(b"0" * 1000)
    if job.kind == "curve":
        for label in ("", *(f"@{e}" for e in job.config.eval_epochs)):
            save_arrays(run.path / f"curve{label}.npz", curve(rng, job.name.startswith("step")))


def curve(rng, falls: bool = False):
    """Arrays of a curve; its segment has a barrier, or falls in a line."""
    line, bump, paths = 0.4 - 0.3 * T, T * (1 - T), {}
    for path, height in (("segment", 0.0 if falls else 0.8), ("curve", -0.4)):
        noise = rng.uniform(0.9, 1.1)
        shift = (0.6 if path == "curve" else -0.3) * noise * bump
        accuracy = 0.9 - 0.05 * noise * bump
        metrics = {
            "train": {"loss": line + height * noise * bump, "accuracy": accuracy},
            "validation": {"loss": 0.5 - 0.1 * T + shift, "accuracy": accuracy},
        }
        paths[path] = profiles.summarize(PathMetrics(metrics, arc_length=3 * T), T)
    slopes = {"train": {"loss": Slopes(-0.02, 0.001, -0.02, 0.001)}}
    paths["curve"] = paths["curve"]._replace(slopes=slopes)
    return Profile(T, paths).to_arrays()


def surface(rng):
    """Arrays of a surface of 5 x 4 points."""
    arrays = {"x": np.linspace(-1, 3, 5), "y": np.linspace(-1, 2, 4)}
    arrays["point_xy"] = np.array([[0.0, 0], [2, 0], [1, 1]])
    arrays["point_name"] = np.array(["w70", "w150", "bend"])
    for split in SPLITS:
        arrays[f"{split}_loss"] = rng.uniform(0.1, 5, (4, 5))
        arrays[f"point_{split}_loss"] = np.array([0.2, 0.3, 0.1])
    return arrays
