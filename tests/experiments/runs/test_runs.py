import json
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import pytest

from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.errors import UsageError
from experiments.runs import (
    add_metrics,
    cut_metrics,
    folder,
    in_use,
    load_point,
    mode_config,
    names,
    open_checkpoints,
    step_of,
)
from experiments.runs.arrays import load_arrays
from experiments.training import problem as problems
from mcjax.engine import parallel


def opened(place, config=None, **facts):
    run = folder.Run(place)
    run.open("mode", config or ModeConfig(seed=4), steps_per_epoch=5, **facts)
    return run


def test_a_new_run_says_what_it_is(tmp_path):
    assert folder.Run(tmp_path / "G").info == {}
    assert folder.Run(tmp_path / "G").status == "new"
    run = opened(tmp_path / "G", extra=1)
    info = json.loads((tmp_path / "G" / "run.json").read_text())
    assert info.pop("crc32") > 0
    assert info == run.info
    assert (info["format"], info["kind"], info["status"]) == (folder.FORMAT, "mode", "running")
    assert (info["steps_per_epoch"], info["extra"], info["flags"]["seed"]) == (5, 1, 4)
    assert "workdir" not in info["flags"]
    assert {"mcjax", "python", *folder.PACKAGES} == set(info["versions"])
    assert "8 x" in info["device"]
    assert "--seed=4\n" in (tmp_path / "G" / "flags.cfg").read_text()
    assert {p.name for p in run.path.iterdir()} == {"run.json", "flags.cfg"}


def test_a_later_format_is_not_guessed_at(tmp_path):
    run = opened(tmp_path / "G")
    run.update(format=folder.FORMAT + 1)
    with pytest.raises(UsageError, match=r"has format 2; this mcjax reads 1"):
        _ = folder.Run(run.path).info


def test_a_damaged_run_file_is_said_so(tmp_path):
    run = opened(tmp_path / "G")
    (run.path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        _ = run.status


def test_the_same_flags_go_on_and_others_do_not(tmp_path):
    run = opened(tmp_path / "G")
    opened(tmp_path / "G", ModeConfig(seed=4, workdir="elsewhere", checkpoint_seconds=1.0))
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "G", ModeConfig(seed=5, keep=(3,)))
    message = str(caught.value)
    assert "--seed: 4 there, 5 now" in message
    assert "--keep: [] there, [3] now" in message
    assert "--epochs" not in message
    assert "another --workdir" in message
    assert "--seed=4\n" in (run.path / "flags.cfg").read_text()  # not overwritten
    with pytest.raises(UsageError, match="holds a mode, not a curve"):
        run.check_same("curve", CurveConfig())


@pytest.mark.parametrize("below", ["", "run", "deeper/run"])
def test_a_file_in_the_way(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / below
    with pytest.raises(UsageError, match=f"--workdir={place} cannot be written"):
        opened(place)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot be written: Permission denied"):
        opened(tmp_path / "G")


def test_metrics_are_cut_where_training_goes_on(tmp_path):
    run = opened(tmp_path / "G")
    assert run.metrics() == []
    for epoch in (1, 2, 3):
        add_metrics(run.path, epoch=epoch, step=5 * epoch, train={"loss": 1 / epoch})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "step": 20, "tr')  # killed while it wrote
    assert [m["epoch"] for m in run.metrics()] == [1, 2, 3]
    cut_metrics(run.path, 12, 5)
    assert [m["step"] for m in run.metrics()] == [5, 10]
    add_metrics(run.path, epoch=3, step=15)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert json.loads(lines[1])["train"]["loss"] == 0.5


def test_lost_metrics_are_said(tmp_path):
    config = ModeConfig(seed=4, epochs=3)
    run = opened(tmp_path / "G", config)
    for epoch in (1, 2):
        add_metrics(run.path, epoch=epoch, step=5 * epoch)
    cut_metrics(run.path, 14, 5)  # in the third epoch
    with pytest.raises(
        UsageError, match=r"metrics\.jsonl is damaged: it has 2 lines for epochs 1 to 3"
    ):
        cut_metrics(run.path, 15, 5)
    add_metrics(run.path, epoch=3, step=15)
    run.update(status="done")
    opened(tmp_path / "G", config)
    (run.path / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match=r"metrics\.jsonl is damaged"):
        opened(tmp_path / "G", config)


def test_steps_of_epochs(tmp_path):
    run = folder.Run(tmp_path / "G")
    with pytest.raises(UsageError, match=f"there is no run at {run.path}"):
        step_of(run, 3)
    assert not run.path.exists()
    opened(run.path)
    with open_checkpoints(run, keep=(10, 15)) as saved:
        for step in (10, 15, 18, 20):  # 18 is in mid-epoch
            saved.save(step, {"x": jnp.float32(step)})
    assert step_of(run, 2) == 10
    with pytest.raises(UsageError, match="is not finished"):
        step_of(run, None)
    for epoch in (0, 1, 5, 18):
        with pytest.raises(UsageError, match=rf"no checkpoint of epoch {epoch}; it has 2, 3, 4$"):
            step_of(run, epoch)
    run.update(status="done")
    assert step_of(run, None) == 20


def test_a_failed_run_without_checkpoint(tmp_path):
    run = opened(tmp_path / "G")
    run.update(status="failed", reason="it diverged")
    with pytest.raises(UsageError, match="has no checkpoint: its status is failed"):
        step_of(run, None)
    with pytest.raises(UsageError, match="no checkpoint of epoch 3; it has none"):
        step_of(run, 3)


def test_a_folder_in_use_is_refused(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    run = folder.Run(tmp_path / "G")
    with run.locked(), run.locked():  # within a process it may be entered again
        assert not in_use(run.path)
        with (run.path / ".lock").open("a") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (run.path / ".lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert in_use(run.path)
        with pytest.raises(UsageError, match="G is in use by another process"), run.locked():
            pass
    assert not in_use(run.path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("run.json", '"seed": 4', '"seed": 5', "run.json is damaged: its checksum differs"),
        ("run.json", '"format": 1', '"format": 9', "has format 9"),
        ("metrics.jsonl", '"loss": 0.5', '"loss": 0.4', "metrics.jsonl is damaged at line 2"),
        ("metrics.jsonl", '"step": 10', '"step": "x', "metrics.jsonl is damaged at line 2"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, old, new, message):
    run = opened(tmp_path / "G")
    add_metrics(run.path, epoch=1, step=5, train={"loss": 0.7})
    add_metrics(run.path, epoch=2, step=10, train={"loss": 0.5})
    assert [line["train"]["loss"] for line in run.metrics()] == [0.7, 0.5]
    file = run.path / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        _ = run.info, run.metrics()


def test_runs_of_format_1_open(tmp_path):
    """Written by the first version with this format, and committed: later ones must read it."""
    with zipfile.ZipFile(Path(__file__).with_name("format1.zip")) as archive:
        archive.extractall(tmp_path)
    mode, curve = folder.Run(tmp_path / "A"), folder.Run(tmp_path / "AB")
    assert (mode.info["format"], mode.status, curve.status) == (1, "done", "done")
    assert [line["epoch"] for line in curve.metrics()] == list(range(1, 31))
    losses = load_arrays(curve.path / "curve.npz")["curve_train_loss"]
    problem = problems.make_problem(mode_config(mode.info))
    for text, expected in ((tmp_path / "A", losses[0]), (f"{tmp_path}/AB~0.75", losses[3])):
        point = parallel.replicate(load_point(names.parse_name(str(text))), problem.mesh)
        found = problem.evaluator((point.params,), [[1.0]], point.state)
        assert found["train"]["loss"][0] == pytest.approx(expected, rel=1e-5)
