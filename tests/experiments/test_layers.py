"""`layers`: each layer's paths between two modes, aligned copies, and what resumes."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest

from experiments import layers as command
from experiments import train_mode
from experiments.cli.configs import LayersConfig, ModeConfig
from experiments.cli.errors import Interrupted, UsageError
from experiments.cli.flags import parse_flagfile
from experiments.landscapes import layers_report, saved_paths
from experiments.runs import load
from experiments.runs.folder import Run
from experiments.training import make_problem
from mcjax.engine import parallel
from mcjax.results import Layers

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", keep=(1,),
)  # fmt: skip
change = dataclasses.replace
T = np.linspace(0, 1, 3)


@pytest.fixture(scope="module")
def runs(png_only, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    for seed, name in enumerate("ab"):
        train_mode.run(change(MODE, seed=seed, workdir=str(folder / name)))
    return folder


@pytest.fixture(autouse=True)
def _here(runs, monkeypatch):
    monkeypatch.chdir(runs)


@pytest.fixture(scope="module")
def done(runs):
    before = os.getcwd()
    os.chdir(runs)
    try:
        return command.run(
            LayersConfig(
                start="a", end="b", workdir="done", num_points=3, save_logits=("validation",)
            )
        )
    finally:
        os.chdir(before)


def test_a_layer_alone_moves_from_start_to_end(done):
    found = load("done").result
    assert isinstance(found, Layers)
    assert found.layer.tolist() == ["Dense_0", "Dense_1", "Dense_2"]
    assert found.name.tolist() == ["a", "b"]
    a, b = (load(name).params for name in "ab")
    problem = make_problem(MODE)
    points = parallel.replicate((a, a | {"Dense_1": b["Dense_1"]}, b), problem.mesh)
    rows = [[1 - t, t, 0] for t in T] + [[1 - t, 0, t] for t in T]
    expected = problem.evaluator(points, rows, {})["validation"]["loss"]
    single = found.paths["single"].metrics["validation"]["loss"][1]
    np.testing.assert_allclose(single, expected[:3], rtol=1e-5)
    whole = found.paths["from_input"].metrics["validation"]["loss"][2]
    np.testing.assert_allclose(whole, expected[3:], rtol=1e-5)
    own = found.networks.metrics["validation"]["loss"]
    np.testing.assert_allclose(own, expected[[3, 5]], rtol=1e-5)
    logits = np.load(done.path / "logits/layers-1-1.npz")
    right = logits["validation"].argmax(axis=2) == logits["validation_labels"]
    accuracy = found.paths["single"].metrics["validation"]["accuracy"][1]
    np.testing.assert_allclose(accuracy, right.mean(axis=1))


def test_the_report_the_figures_and_a_finished_run(done, monkeypatch, capsys):
    report = json.loads((done.path / "layers.json").read_text())
    rows = {(row["layer"], row["path"]): row["barriers"] for row in report["layers"]}
    assert len(rows) == 9
    heights = load("done").result.paths["from_output"].barriers["train"]["loss"]
    assert rows["Dense_2", "from_output"]["train_loss"]["over_chord"] == heights.over_chord[2]
    names = sorted(file.stem for file in (done.path / "figures").glob("*.png"))
    assert names == ["barriers_accuracy", "barriers_loss"]
    monkeypatch.setattr(command, "make_problem", None)
    monkeypatch.setattr(layers_report, "draw", lambda *_: [])
    command.run(parse_flagfile(LayersConfig, done.path / "flags.cfg"))
    shown = capsys.readouterr().out
    assert "barriers of the training loss over the chord between the networks" in shown
    assert f"{heights.over_chord[2]:.4g}\n" in shown
    assert Run(done.path).status == "done"


@pytest.mark.slow
def test_an_aligned_end_and_what_an_interruption_leaves(done, tmp_path, monkeypatch):
    monkeypatch.setattr(layers_report, "draw", lambda *_: [])
    flags = LayersConfig(
        start="a", end="b", workdir=str(tmp_path / "run"), num_points=3, align="weights"
    )
    save, saved = saved_paths.save_arrays, []

    def then_signal(path, arrays):
        save(path, arrays)
        if path.parent.name == saved_paths.FOLDER:
            saved.append(path.stem)
        if len(saved) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(saved_paths, "save_arrays", then_signal)
    with pytest.raises(Interrupted):
        command.run(flags)
    before = list(saved)
    run = command.run(flags)
    assert len(saved) == len({*saved}) == 1 + 6
    assert before == saved[: len(before)]
    aligned, plain = load(str(run.path)), load("done")
    assert aligned.info["aligned"]["moved"] > 0.1
    for row in (0, 1):
        metrics = (one.result.networks.metrics["train"]["loss"][row] for one in (aligned, plain))
        np.testing.assert_allclose(*metrics, rtol=1e-5)
    lines = [one.result.paths["single"].metrics["train"]["loss"][1] for one in (aligned, plain)]
    assert not np.allclose(*lines, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workdir": ""}, "--workdir is missing"),
        ({"end": ""}, "--end is missing"),
        ({"end": "a"}, "--start and --end are both a"),
        ({"end": "c"}, "--end=c: c is not a run"),
        ({"start": "a@2"}, "no checkpoint of epoch 2"),
        ({"num_points": 1}, "--num_points=1: use 2 or more"),
        ({"splits": ("test",)}, "--splits=test"),
        ({"style": ("nosuch",)}, "--style=nosuch"),
        ({"workdir": "a"}, "a holds a mode"),
    ],
)
def test_wrong_input_is_answered_before_data_are_read(changes, message, monkeypatch):
    monkeypatch.setattr(command, "make_problem", None)
    with pytest.raises(UsageError) as error:
        command.run(change(LayersConfig(start="a", end="b", workdir="new"), **changes))
    assert message in str(error.value)
