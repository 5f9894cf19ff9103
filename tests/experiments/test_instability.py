"""`instability`: children of forks, side by side, and the barriers between them."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from experiments import instability, train_mode
from experiments.cli.configs import InstabilityConfig
from experiments.cli.errors import Interrupted, UsageError
from experiments.cli.flags import parse_flagfile
from experiments.landscapes import instability_report
from experiments.runs import load, restore
from experiments.runs.folder import Run
from experiments.training import make_problem, run_group
from mcjax import data
from mcjax.engine import parallel
from mcjax.plots import profile_plots
from tests.comparison import assert_same_bits

CONFIG = InstabilityConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", forks=("2", "0", "s3"), children=3,
    num_points=5,
)  # fmt: skip
change = dataclasses.replace


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The whole sweep; it is stopped in the second fork's training and resumed."""
    config = change(CONFIG, workdir=str(tmp_path_factory.mktemp("instability") / "run"))
    plain, seen = run_group.RunGroup.add, []

    def add(self, chunk, validation):
        plain(self, chunk, validation)
        if self.runs[0].path.name == "fork_0_1" and chunk.step >= 5 and not seen:
            seen.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_plots, "FORMATS", ("png",))
        patch.setattr(run_group.RunGroup, "add", add)
        with pytest.raises(Interrupted):
            instability.run(config)
        assert Run(f"{config.workdir}/fork_2_1").status == "done"
        assert Run(f"{config.workdir}/fork_0_1").status == "running"
        return instability.run(config)


def test_children_are_the_runs_that_train_mode_makes(done, tmp_path):
    """Also after the interruption; validation is recorded for each."""
    for name in ("fork_0_2", "fork_2_3"):
        child = Run(done.path / name)
        config = parse_flagfile(train_mode.ModeConfig, child.path / "flags.cfg")
        assert config.seed == int(name[-1])
        alone = train_mode.run(change(config, workdir=str(tmp_path / name)))
        for one, two in zip(child.metrics(), alone.metrics(), strict=True):
            assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], rel=1e-4)
            assert one["validation"] == pytest.approx(two["validation"], rel=1e-4)
        assert child.info["final"]["train"] == pytest.approx(alone.info["final"]["train"], rel=1e-4)
        assert child.info["forked_from"] == f"{done.path / 'parent'}@{name[5]}"


def test_barriers_are_those_between_the_children(done):
    found = load(str(done.path)).result
    assert found.name.tolist() == ["0", "s3", "2"]
    np.testing.assert_allclose(found.epoch, [0, 0.6, 2])
    problem = make_problem(CONFIG)
    ends = [restore(Run(done.path / f"fork_s3_{k}"))["params"] for k in (1, 3)]
    rows = [[1 - t, t] for t in np.linspace(0, 1, 5)]
    values = problem.evaluator(parallel.replicate(ends, problem.mesh), rows, {})
    row = found.pairs.tolist().index([0, 2])
    for name in ("loss", "accuracy"):
        here = values["validation"][name]
        along = found.metrics["validation"][name][1, row]
        np.testing.assert_allclose(along, here, rtol=1e-5)
        errors = here if name == "loss" else 1 - here
        height = errors.max() - errors[[0, -1]].mean()
        assert found.barriers["validation"][name][1, row] == pytest.approx(height, abs=1e-6)
    late = found.spread("train_loss").mean
    assert late[2] < late[0]


def test_the_report_the_table_and_the_figure(done, monkeypatch, capsys):
    monkeypatch.setattr(instability, "make_problem", None)
    config = parse_flagfile(InstabilityConfig, done.path / "flags.cfg")
    instability.run(config)
    printed = capsys.readouterr().out
    assert "fork   epoch" in printed
    assert "figures/instability.png" in printed
    report = json.loads((done.path / "instability.json").read_text())
    found = load(str(done.path)).result
    spread = found.spread("train_accuracy")
    assert report["forks"][1]["barriers"]["train_accuracy"]["mean"] == spread.mean[1]
    assert report["forks"][1]["step"] == 3
    first = found.stable_from("validation_accuracy")
    name = None if first is None else found.name[first]
    assert report["stable_from"]["validation_accuracy"] == name
    with pytest.raises(UsageError, match="--children: 3 there, 2 now"):
        instability.run(change(config, children=2))
    with pytest.raises(UsageError, match=r"run holds a run .*--lr: 0.1 there, 0.2 now"):
        instability.run(change(config, lr=0.2))


@pytest.mark.slow
def test_other_points_evaluate_again_without_training(done, monkeypatch):
    monkeypatch.setattr(instability_report, "_draw", lambda *_: [])
    config = parse_flagfile(InstabilityConfig, done.path / "flags.cfg")
    before = load(str(done.path)).result
    params = restore(Run(done.path / "fork_2_1"))["params"]
    instability.run(change(config, num_points=3, splits=("train", "test")))
    after = load(str(done.path)).result
    assert set(after.barriers) == {"train", "test"}
    along = before.metrics["train"]["loss"][..., ::2]
    np.testing.assert_allclose(after.metrics["train"]["loss"], along, rtol=1e-5)
    assert (done.path / "earlier" / "1" / "instability.npz").exists()
    assert_same_bits(jax.device_get(params), restore(Run(done.path / "fork_2_1"))["params"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forks": ()}, "--forks=: give two"),
        ({"forks": ("1",)}, "--forks=1: give two"),
        ({"forks": ("1", "1")}, "--forks=1,1: give two different"),
        ({"forks": ("1", "x2")}, "'x2' is neither an epoch nor a step such as s40"),
        ({"forks": ("0", "3")}, "forks are before the last epoch, --epochs=3"),
        ({"children": 1}, "--children=1: use 2 or more"),
        ({"num_points": 2}, "--num_points=2: use 3 or more"),
        ({"splits": ("validation",)}, "--splits=validation"),
        ({"workdir": ""}, "--workdir is missing"),
        ({"model": "mpl"}, "unknown model 'mpl'"),
        ({"style": ("nosuch",)}, "--style=nosuch"),
        ({"lr": -1.0}, "--lr=-1"),
    ],
)
def test_wrong_flags_are_answered_before_data_are_read(tmp_path, changes, message, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    with pytest.raises(UsageError, match=message):
        instability.run(change(CONFIG, **{"workdir": str(tmp_path / "run")} | changes))


@pytest.mark.parametrize(
    ("forks", "message"),
    [
        (("0", "s15"), "s15 is not before the last step, 15"),
        (("1", "s5"), "1 and s5 are the same step, 5"),
        (("0", "s99"), "s99 is not before the last step, 15"),
    ],
)
def test_steps_are_checked_before_training(tmp_path, forks, message):
    with pytest.raises(UsageError, match=message):
        instability.run(change(CONFIG, forks=forks, workdir=str(tmp_path / "run")))
    assert not (tmp_path / "run" / "parent").exists()
