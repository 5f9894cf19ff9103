"""Forks from a kept epoch or step: the parent's training continues, with the data in any order."""

import numpy as np
import pytest

from experiments import interpolate, train_mode
from experiments.cli.configs import InterpolateConfig
from experiments.cli.errors import UsageError
from experiments.runs import load, open_checkpoints
from experiments.runs.folder import Run
from experiments.runs.saved import restore, step_of
from tests.comparison import assert_same_bits

from .small import MODE, STEPS, change, lines_of, tree_of

CONFIG = change(MODE, schedule="linear", keep=(0, 2), keep_steps=(3, 7), seed=4)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return train_mode.run(change(CONFIG, workdir=str(tmp_path_factory.mktemp("forks") / "P")))


def fork(parent, point, workdir, **changes):
    flags = {"workdir": str(workdir), "fork": f"{parent.path}{point}", "keep": ()} | changes
    return train_mode.run(change(CONFIG, keep_steps=(), **flags))


@pytest.mark.slow
def test_kept_steps_have_references(parent):
    with open_checkpoints(parent, read_only=True) as saved:
        assert saved.steps() == [0, 3, 7, 2 * STEPS, 4 * STEPS]
    assert int(restore(parent, step=7)["step"]) == 7
    at_seven = load(f"{parent.path}@s7")
    assert_same_bits(at_seven.params, restore(parent, step=7)["params"])
    assert at_seven.result is None
    assert step_of(parent, 0) == 0
    with pytest.raises(UsageError, match="no checkpoint of step 8; it has 0, 3, 7, 10, 20"):
        load(f"{parent.path}@s8")


@pytest.mark.parametrize("point", ["@0", "@s3", "@2"])
def test_a_fork_with_the_same_seed_is_the_parent(parent, tmp_path, point):
    """Parameters, optimizer state, order of the data and schedule are all the parent's."""
    child = fork(parent, point, tmp_path / "C")
    assert child.info["forked_from"] == f"{parent.path}{point}"
    assert_same_bits(tree_of(child), tree_of(parent))
    assert lines_of(child) == lines_of(parent)


def test_another_seed_is_another_order_of_the_data_from_the_fork_on(parent, tmp_path):
    child = fork(parent, "@2", tmp_path / "C", seed=5)
    before, after = lines_of(child)[:2], lines_of(child)[2:]
    assert before == lines_of(parent)[:2]
    assert [line["lr"] for line in after] == [line["lr"] for line in lines_of(parent)[2:]]
    assert after[0]["train"]["loss"] != lines_of(parent)[2]["train"]["loss"]
    again = fork(parent, "@2", tmp_path / "C", seed=5)  # finished
    assert lines_of(again) == lines_of(child)


@pytest.mark.long
def test_the_network_alone_may_be_trained_on_other_data(parent, tmp_path):
    flags = {"fork_weights": True, "batch_size": 50, "optimizer": "adam", "lr": 0.0, "epochs": 1}
    child = fork(parent, "@s7", tmp_path / "C", **flags)
    assert_same_bits(tree_of(child)["params"], restore(parent, step=7)["params"])
    assert child.info["forked_from"] == f"{parent.path}@s7"
    assert [line["step"] for line in child.metrics()] == [4]


@pytest.mark.parametrize(
    ("point", "changes", "message"),
    [
        ("@1", {}, "no checkpoint of epoch 1; it has 0, 2, 4"),
        ("@s8", {}, "no checkpoint of step 8; it has 0, 3, 7, 10, 20"),
        ("@4", {}, "nothing to train, --epochs=4 is not after it"),
        ("@2~0.5", {}, "write RUN, RUN@EPOCH or RUN@sSTEP"),
        ("@2", {"batch_size": 20}, "its steps_per_epoch is 5, not 10; .*--fork_weights"),
        ("@2", {"width": 0.5}, "has --width=0.25, not 0.5: its checkpoints hold other"),
        ("", {"optimizer": "adam"}, "has --optimizer=sgd, not adam: .*; --fork_weights takes"),
        ("@2", {"fork_weights": True, "width": 0.5}, "do not fit this model: .*Dense_0"),
        ("@1", {"fork_weights": True}, "no checkpoint of epoch 1"),
        ("none", {"fork_weights": True}, "there is no run"),
        ("", {"fork": None, "fork_weights": True}, "--fork_weights needs --fork"),
        ("", {"fork": None, "keep_steps": (3, 21)}, "--keep_steps=21: the run has steps 0 to 20"),
        ("", {"fork": None, "keep_steps": (-1,)}, "--keep_steps=-1: use 0 or more"),
    ],
)
def test_wrong_forks(parent, tmp_path, point, changes, message):
    with pytest.raises(UsageError, match=message):
        train_mode.run(change(CONFIG, keep=(), **{"keep_steps": (), "workdir": str(tmp_path / "W"),
                              "fork": f"{parent.path}{point}"} | changes))  # fmt: skip
    assert Run(tmp_path / "W").info == {}


def test_steps_are_points_of_an_interpolation(parent, tmp_path, monkeypatch):
    points = tuple(f"{parent.path}@{at}" for at in ("0", "s7"))
    monkeypatch.setattr("experiments.landscapes.interpolation_report.draw", lambda *_: [])
    run = interpolate.run(InterpolateConfig(points=points, num_points=3, workdir=str(tmp_path)))
    found = load(str(run.path)).result
    assert found.name.tolist() == ["P@0", "P@s7"]
    assert np.diff(found.networks.metrics["train"]["loss"])[0] < 0
