"""Commands whose runs, references and data are at buckets: equal to local ones, bit for bit."""

import io
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments import fit_curve, loss_surface, runs, train_mode
from experiments.cli import find_flagfile
from experiments.cli.configs import CurveConfig, ModeConfig, SurfaceConfig
from experiments.cli.errors import UsageError
from mcjax import data, paths
from tests import buckets
from tests.buckets import bucket, server
from tests.campaign import commands
from tests.mcjax.data import data_sets

__all__ = ["bucket", "server"]

MODE = {
    "model": "mlp", "width": 0.25, "train_size": 200, "validation_size": 50, "batch_size": 50,
    "epochs": 2, "keep": (1,), "schedule": "constant",
}  # fmt: skip
LOCK_SECONDS = 60


def result(url, tmp_path):
    """What a run at a bucket holds, as `commands.result` has it."""
    copy = tmp_path / f"copy-{url.rpartition('/')[2]}"
    paths.copy(paths.at(url), copy)
    found = commands.result(copy)
    assert not (paths.is_url(url) and (copy / ".lock").exists())
    return found


def test_a_run_folder(bucket, tmp_path):
    folders = [runs.Run(place) for place in (f"{tmp_path}/A", f"{bucket}/runs/A")]
    config = ModeConfig(**MODE, seed=3)
    for run in folders:
        with run.locked():
            assert (run.path / ".lock").exists()
            run.open("mode", config, steps_per_epoch=4)
            for epoch in (1, 2):
                runs.add_metrics(run.path, epoch=epoch, step=4 * epoch, train={"loss": epoch})
            runs.cut_metrics(run.path, 4, 4)
            runs.save_arrays(run.path / "mode.npz", {"w": np.arange(3)})
            run.move_to(runs.Status.DONE, final={"train": {"loss": np.nan}})
            runs.begin_evaluation(run, config, (), ())
    here, there = folders
    assert runs.parse_name(f"{there.path}@1") == (there.path, 1, None, None)
    assert here.info == there.info
    assert here.metrics() == there.metrics() == [{"epoch": 1, "step": 4, "train": {"loss": 1}}]
    for name in ("flags.cfg", "run.json", "metrics.jsonl"):
        assert (here.path / name).read_bytes() == (there.path / name).read_bytes()
    assert runs.load_arrays(there.path / "mode.npz")["w"].tolist() == [0, 1, 2]
    assert find_flagfile(f"{there.path}/flags.cfg") == there.path / "flags.cfg"
    with pytest.raises(UsageError, match=r"none\.npz cannot be read"):
        runs.load_arrays(there.path / "none.npz")


@pytest.mark.long
def test_a_mode_is_the_same_as_a_local_one(bucket, tmp_path):
    here, there = f"{tmp_path}/A", f"{bucket}/runs/A"
    for place in (here, there):
        train_mode.run(ModeConfig(**MODE, seed=3, workdir=place))
    assert result(there, tmp_path) == commands.result(tmp_path / "A")
    loaded = runs.load(f"{there}@1")
    assert loaded.config.workdir == there
    assert len(loaded.metrics) == 2
    with pytest.raises(UsageError, match=f"{there} has no checkpoint of epoch 7; it has 1, 2"):
        runs.load(f"{there}@7")
    with pytest.raises(UsageError, match=f"{there} holds a run with other flags .--seed: 3"):
        train_mode.run(ModeConfig(**MODE, seed=4, workdir=there))


@pytest.mark.long
def test_references_go_across(bucket, tmp_path):
    found = {}
    for place in (str(tmp_path), f"{bucket}/runs"):
        train_mode.run(ModeConfig(**MODE, seed=3, workdir=f"{place}/A"))
        train_mode.run(ModeConfig(**MODE, seed=4, workdir=f"{place}/B"))
    for place, other in ((str(tmp_path), f"{bucket}/runs"), (f"{bucket}/runs", str(tmp_path))):
        flags = {"start": f"{other}/A@1", "end": f"{place}/B", "workdir": f"{place}/AB"}
        fit_curve.run(CurveConfig(**flags, epochs=2, batch_size=50, points=3))
        flags = {"curve": f"{place}/AB", "workdir": f"{place}/plane"}
        flags["points"] = (f"{place}/A", f"{other}/B", f"{place}/AB~0.5")
        flags["iterates"] = (f"{other}/A",)
        loss_surface.run(SurfaceConfig(**flags, grid="3x3"))
        fork = f"{other}/A@1"
        train_mode.run(ModeConfig(**MODE | {"epochs": 3}, seed=3, fork=fork, workdir=f"{place}/F"))
        found[place] = [
            result(f"{place}/{name}", tmp_path / f"copies-of-{place[:2]}".strip("/"))
            for name in ("AB", "plane", "F")
        ]
    here, there = found.values()
    for plane in (here[1], there[1]):  # the names in them are references
        del plane["surface.npz"]["point_name"], plane["surface.npz"]["iterate_name"]
    assert here == there
    loss_surface.run(SurfaceConfig(**flags, grid="4x3"))
    assert [p.name for p in paths.at(f"{place}/plane/earlier/1").glob("*.npz")] == ["surface.npz"]


@pytest.mark.long
def test_data_at_a_bucket(bucket, tmp_path):
    data_sets.write_idx(tmp_path / "mnist", compress=True)
    paths.copy(tmp_path / "mnist", paths.at(f"{bucket}/official/mnist"))
    folders = (f"{tmp_path}/mnist", f"{bucket}/official")
    here, there = (data.load("mnist", data_dir=folder, validation_size=1) for folder in folders)
    assert np.array_equal(here.train.images, there.train.images)
    assert np.array_equal(here.test.labels, there.test.labels)
    rng = np.random.default_rng(0)
    content = io.BytesIO()
    labels, images = np.arange(300) % 3, rng.random((300, 8, 8)) / 4
    images[np.arange(300), labels] += 0.7  # a bright row for each class
    np.savez(content, images=images, labels=labels)
    for folder in (paths.at(f"{bucket}/data"), tmp_path):
        (folder / "mine.npz").write_bytes(content.getvalue())
    small = MODE | {"epochs": 4, "keep": (), "validation_size": 20}
    for dataset, data_dir in (
        ("npz:mine.npz", f"{bucket}/data"),
        (f"npz:{bucket}/data/mine.npz", None),
    ):
        name = f"{tmp_path}/{'A' if data_dir else 'B'}"
        train_mode.run(ModeConfig(**small, dataset=dataset, data_dir=data_dir, workdir=name))
        recorded = runs.Run(name).info["flags"]["dataset"]
        assert recorded.startswith(f"npz:{bucket}/data/mine.npz#crc32=")
    local = ModeConfig(**small, dataset="npz:mine.npz", data_dir=str(tmp_path))
    train_mode.run(ModeConfig(**vars(local) | {"workdir": f"{tmp_path}/C"}))
    assert commands.result(tmp_path / "A") == commands.result(tmp_path / "C")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"dataset": "npz:{}/none.npz"}, "there is no file .*/none.npz"),
        ({"dataset": "mnist", "data_dir": "{}/none"}, "data_dir='.*none' is not a folder"),
        ({"dataset": "folder:{}/images"}, "read from local folders only"),
        ({"dataset": "tfds:mnist", "data_dir": "{}"}, "read from local folders only"),
        ({"fork": "{}/none@3"}, "--fork=.*/none@3: its kind is missing, not mode"),
        ({"tracker": ("tensorboard",)}, "--tracker=tensorboard writes to local folders only"),
        ({"profile": True}, "--profile writes to local folders only"),
    ],
)
def test_what_does_not_work_is_refused_up_front(bucket, flags, words):
    flags = {n: x.format(bucket) if isinstance(x, str) else x for n, x in flags.items()}
    with pytest.raises(UsageError, match=words) as caught:
        train_mode.run(ModeConfig(**MODE | flags, workdir=f"{bucket}/A"))
    assert "\n" not in str(caught.value)
    assert not paths.at(f"{bucket}/A").exists()


def started(flags, cache):
    """A command that trains for long."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train_mode", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=commands.environment(cache),
    )  # fmt: skip


def wait_for(path, process, seconds=120):
    """Waits until a file is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, path
        time.sleep(0.1)


@pytest.mark.long
def test_signals_and_a_second_command(bucket, tmp_path):
    cache, there = tmp_path / "cache", paths.at(f"{bucket}/runs/A")
    flags = [*commands.MODE, "--epochs=150", "--seed=3"]
    status, error = commands.finish("train_mode", [*flags, f"--workdir={tmp_path}/A"], cache)
    assert status == 0, error
    flags.append(f"--workdir={there}")
    with started(flags, cache) as first:
        wait_for(there / "metrics.jsonl", first)
        status, error = commands.finish("train_mode", flags, cache, seconds=LOCK_SECONDS)
        assert status == 2
        assert (
            error.strip()
            .split("\n")[-1]
            .startswith(
                f"train_mode: {there} is in use by another process: process {first.pid} on "
            )
        )
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 75, first.communicate()[1]
    assert not (there / ".lock").exists()
    with started(flags, cache) as second:
        wait_for(there / ".lock", second)
        time.sleep(3)
        second.kill()
    began = time.monotonic()
    status, error = commands.finish("train_mode", flags, cache)
    assert status == 0, error
    assert time.monotonic() - began > LOCK_SECONDS
    assert f"{there} is locked by process {second.pid} on" in error
    assert "Traceback" not in error
    assert result(str(there), tmp_path) == commands.result(tmp_path / "A")


@pytest.mark.long
def test_a_server_that_goes_away(tmp_path):
    with buckets.s3_server() as values, buckets.environment(values):
        there = paths.at(f"{buckets.new_bucket('s3')}/runs/A")
        flags = [*commands.MODE, "--epochs=100000", "--seed=3", f"--workdir={there}"]
        process = started(flags, tmp_path / "cache")
        wait_for(there / "metrics.jsonl", process)
    began = time.monotonic()
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 1, error
    assert time.monotonic() - began < 90
    assert error.strip().split("\n")[-1].startswith("train_mode: lost the bucket: ")
    assert "Traceback" not in error
