"""The scales for one GPU: the plan of each sitting, and all of a sitting at a tiny size."""

import os
import re
import signal
import threading
import time

import pytest

from experiments import reproduce
from experiments.cli.configs import CurveConfig, ModeConfig, ReproduceConfig
from experiments.cli.errors import Interrupted
from experiments.cli.flags import parse_flagfile
from experiments.jobs import local
from experiments.papers.gotmare2018 import reproduction, scales, timings
from experiments.runs.folder import Run
from tests.mutation import ROOT
from tests.reproductions import ALL, plan

PAGE = (ROOT / "docs" / "paper.md").read_text()
SITTINGS = re.findall(
    r"--scale=fashion_mnist_vgg16 --figures=([\d,]+) --epochs_factor=([\d.]+).*?# (\d+) minutes",
    PAGE,
)
GPU_SCALES = ("fashion_mnist_vgg16", "cifar10")


@pytest.mark.parametrize("scale", GPU_SCALES)
def test_each_documented_sitting_fits_in_half_an_hour(scale, tmp_path):
    """And has the time that the page says, on the device that was timed."""
    assert [set(map(int, figures.split(","))) for figures, *_ in SITTINGS] == [
        scales.SECTION_5, scales.SECTION_3,
    ]  # fmt: skip
    rates = timings.find(scale, "bf16", "NVIDIA H200")
    for figures, factor, minutes in SITTINGS:
        found = plan(tmp_path, scale, map(int, figures.split(",")), float(factor))
        total = sum(timings.seconds(rates, job) for job in found.jobs) / 60
        assert total < 27  # the machine's start, and stops, need time too
        if scale == "fashion_mnist_vgg16":
            assert round(total) == int(minutes)


def test_a_plans_seconds_are_epochs_points_and_starts(tmp_path):
    rates = timings.Rates("gpu", "a GPU", "bf16", 2.0, 0.1, 7.0)
    found = {j.name: j for j in plan(tmp_path, "fashion_mnist_vgg16").jobs}
    assert timings.seconds(rates, found["sgdr"]) == 7 + 150 * 2
    assert timings.seconds(rates, found["sgdr_30_70"]) == 7 + 200 * 2 + 2 * 31 * 0.1
    assert timings.seconds(rates, found["GA"]) == pytest.approx(7 + 200 * 2 + 6 * 31 * 0.1)
    assert timings.seconds(rates, found["surface_30_70"]) == pytest.approx(7 + (17**2 + 20) * 0.1)


def test_the_announcement_names_what_was_timed():
    rates = timings.find("cifar10", "bf16", "NVIDIA H200")
    words = timings.announcement([60.0, 120.0], 5, rates, "bf16", "NVIDIA H200")
    assert words == "2 of 5 runs to do: about 3 minutes on one NVIDIA H200"
    other = timings.announcement([60.0], 5, rates, "bf16", "NVIDIA A100")
    assert "NVIDIA A100 has not been timed" in other
    assert timings.find("cifar10", "tf32", "NVIDIA H200") is None
    words = timings.announcement([0.0], 5, None, "tf32", "NVIDIA H200")
    assert words.endswith("not been timed with --precision=tf32")


def test_the_time_left_follows_the_pace_of_finished_runs(tmp_path):
    todo = plan(tmp_path, chosen=(2,)).jobs[:3]
    costs = {job.name: cost for job, cost in zip(todo, (60.0, 120.0, 240.0), strict=True)}
    pool = local._Pool(todo, costs, 2, tmp_path)
    assert pool._left() == "0 of 3, about 7 min left"
    pool.waiting = list(todo[1:])
    for whole, left in ((False, 6), (True, 12)):  # a resumed run says nothing of the pace
        pool._end(local.Running(todo[0], None, [], 0.0, whole), 0, 240.0)
        assert pool._left() == f"1 of 3, about {left} min left"


@pytest.mark.parametrize("scale", scales.SCALES)
def test_the_precision_is_that_of_all_flagfiles(scale):
    precision = "bf16" if scale in GPU_SCALES else "float32"
    config = reproduction._with_precision(ReproduceConfig(scale=scale))
    assert config.precision == precision
    for name in ALL - set(map(scales.surface_name, scales.PLANES)):
        kind = ModeConfig if name in (*scales.MODES, *scales.PAIRS) else CurveConfig
        assert parse_flagfile(kind, scales.SCALES[scale].flagfile(name)).precision == precision
    own = ReproduceConfig(scale=scale, precision="tf32")
    assert reproduction._with_precision(own).precision == "tf32"


def tiny_flagfiles(folder, scale):
    """Copies a scale's flagfiles: few images, a small network, evaluated at a few points."""
    tiny = {
        "dataset": "digits", "train_size": 1000, "validation_size": 100, "pad_to": 8,
        "crop_padding": 1, "model": "mlp", "lr": 0.01, "batch_size": 50, "points": 3,
    }  # fmt: skip
    shared = ("crop_padding", "batch_size", "points")  # flags of curves
    for file in sorted((ROOT / "experiments" / "flags" / scale).glob("*.cfg")):
        lines = file.read_text().splitlines()
        curve = any(line.startswith("--curve=") for line in lines)
        mine = {n: x for n, x in tiny.items() if (n in shared if curve else n != "points")}
        kept = [line for line in lines if line[2:].partition("=")[0] not in mine]
        target = folder / "experiments" / "flags" / scale / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join([*kept, *(f"--{n}={x}" for n, x in mine.items())]))


def terminate_after_a_run(workdir):
    """Sends SIGTERM to this process when a run of a reproduction is done."""
    while not any(Run(file.parent).status == "done" for file in workdir.glob("*/run.json")):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.long
@pytest.mark.parametrize(("figures", "runs"), [((2, 3, 5, 6, 7), 10), ((1, 4, 8, 9, 10), 13)])
def test_a_sitting_is_stopped_and_resumed(tmp_path, monkeypatch, capsys, figures, runs):
    tiny_flagfiles(tmp_path, "fashion_mnist_vgg16")
    monkeypatch.setattr(scales, "PACKAGE_ROOT", tmp_path)
    small = scales.SCALES["fashion_mnist_vgg16"]._replace(grid=3)
    monkeypatch.setitem(scales.SCALES, "fashion_mnist_vgg16", small)
    config = ReproduceConfig(
        scale="fashion_mnist_vgg16", figures=figures, epochs_factor=0.01,
        workdir=str(tmp_path / "work"), checkpoint_seconds=0.0,
    )  # fmt: skip
    stop = threading.Thread(target=terminate_after_a_run, args=(tmp_path / "work",))
    stop.start()
    with pytest.raises(Interrupted):
        reproduce.run(config)
    stop.join()
    done = [p for p in (tmp_path / "work").iterdir() if Run(p).status == "done"]
    assert 0 < len(done) < runs
    times = {p: (p / "run.json").stat().st_mtime_ns for p in done}
    claims = reproduce.run(config)
    assert len(claims[0]) == 9
    assert times == {p: (p / "run.json").stat().st_mtime_ns for p in done}
    text = capsys.readouterr()
    left = re.findall(r"(\d+) of (\d+) runs to do: about", text.out + text.err)
    assert left == [(str(runs), str(runs)), (str(runs - len(done)), str(runs))]
    folders = [p for p in (tmp_path / "work").iterdir() if (p / "run.json").exists()]
    assert {Run(p).status for p in folders} == {"done"}
    assert {Run(p).info["flags"]["precision"] for p in folders} == {"bf16"}
    drawn = {p.stem for p in (tmp_path / "work" / "figures").glob("figure*.png")}
    assert drawn == {f"figure{n:02d}" for n in figures}
