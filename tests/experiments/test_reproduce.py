import dataclasses
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import reproduce
from experiments.cli.configs import ModeConfig, ReproduceConfig
from experiments.cli.errors import UsageError
from experiments.papers import jobs
from experiments.papers.gotmare2018 import differences, figures, scales
from experiments.runs import add_metrics
from mcjax.analysis import profiles
from mcjax.plots import profile_plots
from mcjax.results import PathMetrics, Profile


def plan(tmp_path, scale="digits", chosen=scales.FIGURES, factor=1.0, seed=0):
    shared = {"data_dir": None, "precision": "float32"}
    return scales.make_plan(scales.SCALES[scale], tmp_path, set(chosen), factor, seed, shared)


@pytest.mark.parametrize("scale", scales.SCALES)
def test_the_plan_is_the_papers(scale, tmp_path):
    found = plan(tmp_path, scale)
    names = [job.name for job in found.jobs]
    assert len(names) == len(set(names)) == 7 + 6 + 2 + 6 + 2
    for job in found.jobs:
        assert all(names.index(need) < names.index(job.name) for need in job.needs)
    pair = next(j for j in found.jobs if j.name == "sgdr_30_150").config
    run = next(j for j in found.jobs if j.name == "sgdr").config
    here = found.epochs["sgdr"]
    assert (pair.start, pair.end) == tuple(f"{tmp_path}/sgdr@{here[e]}" for e in (30, 150))
    assert {here[e] for e in (30, 70, 150)} <= set(run.keep)
    surface = next(j for j in found.jobs if j.name == "surface_70_150").config
    assert surface.points[2] == f"{tmp_path}/sgdr_70_150"
    assert set(found.epochs["GA"]) >= {20, 40, 60, 80}


def test_figures_choose_their_runs(tmp_path):
    names = {j.name for j in plan(tmp_path, chosen=(3,)).jobs}
    assert {"sgdr", "sgdr_70_150", "surface_70_150"} <= names
    assert not names & {"G", "GA", "surface_30_70"}
    assert {j.name for j in plan(tmp_path, chosen=(1,)).jobs} == {
        *"GABCDEF", *(f"G{x}" for x in "ABCDEF")
    }  # fmt: skip


def test_what_differs_from_the_paper_is_found_by_itself(tmp_path):
    """Epochs, rates and batches of a claim's runs, those of the paper in parentheses."""
    digits = plan(tmp_path).jobs
    assert differences.of_claim(3, digits) == "lr 0.03 (0.05)"
    words = differences.of_claim(1, digits)
    assert words.startswith("epochs 100 (200) but for A; epochs 300 (200) for A; ")
    assert "optimizer adam (sgd) for E" in words
    assert "curve lr 0.001 (0.015) for GE" in words
    assert "curve epochs 4 (200)" in differences.of_claim(5, plan(tmp_path, factor=0.04).jobs)
    paper = plan(tmp_path, "cifar10").jobs
    assert {differences.of_claim(n, paper) for n in range(1, 10)} == {"as in the paper"}
    assert differences.of_claim(1, plan(tmp_path, chosen=(2,)).jobs) == ""
    assert differences.of_scale(scales.SCALES["cifar10"], 500) == ""
    words = differences.of_scale(scales.SCALES["fashion_mnist"], 50)
    assert "VGG10 with batch norm (VGG16 in the paper)" in words
    assert "an epoch has 50 steps (500 in the paper)" in words


def test_repetitions_have_seeds_of_their_own(tmp_path):
    seeds = [{j.config.seed for j in plan(tmp_path, chosen=(1, 2), seed=k).jobs} for k in (0, 1)]
    assert not seeds[0] & seeds[1]
    assert len(seeds[0]) == 7 + 6 + 2 + 6


def mode_job(tmp_path, name, needs=(), **changes):
    config = ModeConfig(
        workdir=str(tmp_path / name), model="mlp", width=0.25, train_size=200, epochs=2,
        batch_size=50, lr=0.05,
    )  # fmt: skip
    return jobs.Job(name, "train_mode", dataclasses.replace(config, **changes), needs)


def test_jobs_run_fail_and_are_found_done(tmp_path):
    todo = [
        mode_job(tmp_path, "bad", lr=1e9),
        mode_job(tmp_path, "good", epochs=30),
        mode_job(tmp_path, "after_bad", ("bad",)),
    ]
    outcome = jobs.run_jobs(todo, {}, 2, tmp_path / "logs")
    assert outcome["good"] is None
    assert "not finite" in outcome["bad"]
    assert outcome["after_bad"].startswith("not run, since bad")
    assert not (tmp_path / "after_bad").exists()
    before = (tmp_path / "good" / "metrics.jsonl").stat().st_mtime_ns
    assert jobs.run_jobs(todo[1:2], {}, 1, tmp_path / "logs") == {"good": None}
    assert (tmp_path / "good" / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_refused_job_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"strange ended with status 2: .*unknown model"):
        jobs.run_jobs([mode_job(tmp_path, "strange", model="vgg99")], {}, 1, tmp_path / "logs")


def fake_curve(rng, points=7):
    t = np.linspace(0, 1, points)
    paths = {}
    for path in ("curve", "segment"):
        metrics = {
            split: {name: rng.uniform(0.1, 0.9, points) for name in ("loss", "accuracy")}
            for split in ("train", "validation")
        }
        paths[path] = profiles.summarize(PathMetrics(metrics, arc_length=2 * t), t)
    return Profile(t, paths).to_arrays()


def test_all_figures_are_drawn_from_arrays(tmp_path, monkeypatch):
    """Every figure but the t-SNE's, with one pair missing."""
    monkeypatch.setattr(profile_plots, "FORMATS", ("png",))
    rng = np.random.default_rng(0)
    found = plan(tmp_path)
    for job in found.jobs:
        (tmp_path / job.name).mkdir()
        if job.module == "fit_curve":
            for label in ("", *(f"@{e}" for e in job.config.eval_epochs)):
                np.savez(tmp_path / job.name / f"curve{label}.npz", **fake_curve(rng))
        elif job.module == "train_mode":
            for epoch in (1, 2):
                add_metrics(
                    tmp_path / job.name,
                    epoch=epoch,
                    step=epoch,
                    lr=0.1 / epoch,
                    validation={"accuracy": 0.5},
                )
        else:
            xy = np.array([[0.0, 0], [2, 0], [1, 1]])
            arrays = {"x": np.linspace(-1, 3, 5), "y": np.linspace(-1, 2, 4), "point_xy": xy}
            arrays["point_name"] = np.array(["w70", "w150", "bend"])
            for split in ("train", "validation"):
                arrays[f"{split}_loss"] = rng.uniform(0.1, 5, (4, 5))
                arrays[f"point_{split}_loss"] = np.array([0.2, 0.3, 0.1])
            np.savez(tmp_path / job.name / "surface.npz", **arrays)
    missing = {"GE": "not run, since E: it did not train", "step_55_65": "stopped"}
    source = figures.Source(tmp_path, found.epochs, missing)
    drawn = figures.draw(source, set(scales.FIGURES) - {4}, tmp_path / "figures")
    assert sorted(drawn) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert all(path.stat().st_size > 5000 for path in drawn.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": (11,)}, "--figures=11"),
        ({"epochs_factor": 0.0}, "--epochs_factor"),
        ({"seeds": 0}, "--seeds"),
        ({"scale": "cifar10", "data_dir": "nowhere"}, "nowhere"),
        ({"coordinator": "localhost:1234"}, "--coordinator=localhost:1234: reproduce starts"),
    ],
)
def test_wrong_flags(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        reproduce.run(dataclasses.replace(ReproduceConfig(workdir=str(tmp_path / "r")), **changes))


@pytest.mark.long
def test_stopping_half_way_gives_the_same_report(tmp_path):
    """The whole digits reproduction at a fiftieth of its epochs, once whole, once in pieces."""
    command = [sys.executable, "-m", "experiments.reproduce", "--epochs_factor=0.02"]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    subprocess.run([*command, f"--workdir={whole}"], check=True)
    for seconds in (25, 40):
        process = subprocess.Popen([*command, f"--workdir={pieces}"])
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 75
    subprocess.run([*command, f"--workdir={pieces}"], check=True)
    texts = [(p / "report.md").read_text().replace(str(p), "") for p in (whole, pieces)]
    without_cost = [re.sub(r"Training alone took .* in all\.", "", t) for t in texts]
    assert without_cost[0] == without_cost[1]
    table = json.loads((whole / "claims.json").read_text())
    assert [c["number"] for c in table] == list(range(1, 10))
    assert len(list((whole / "figures").glob("*.png"))) == 11
