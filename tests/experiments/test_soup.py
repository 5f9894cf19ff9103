"""`soup`: averages are what their coefficients say, and references like any other."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest

from experiments import interpolate, soup, train_mode
from experiments.cli.configs import CurveConfig, InterpolateConfig, ModeConfig, SoupConfig
from experiments.cli.errors import Interrupted, RunFailed, UsageError
from experiments.cli.flags import identity, parse_flagfile
from experiments.landscapes import ensembling, interpolation_inputs, saved_paths, soups_report
from experiments.runs import Run, load, open_checkpoints, open_ends, restore
from experiments.training import make_problem, measuring
from mcjax.analysis import ensembles
from mcjax.engine import parallel
from tests.comparison import assert_same_bits

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", keep=(1, 2),
)  # fmt: skip
change = dataclasses.replace


@pytest.fixture(scope="module")
def runs(png_only, tmp_path_factory):
    """Modes a and b, their curve ab over a@1, and a's parameters with the sign reversed."""
    folder = tmp_path_factory.mktemp("soup")
    for seed, name in enumerate("ab"):
        train_mode.run(change(MODE, seed=seed, workdir=str(folder / name)))
    a, b, early = (restore(Run(folder / n), e)["params"] for n, e in (("a", 3), ("b", 3), ("a", 1)))
    shutil.copytree(folder / "a", folder / "minus")
    shutil.rmtree(folder / "minus/checkpoints")
    with open_checkpoints(Run(folder / "minus")) as saved:
        saved.save(15, {"params": jax.tree.map(lambda x: -x, a), "model_state": {}})
    curve = Run(folder / "ab")
    curve.open("curve", CurveConfig(epochs=1), steps_per_epoch=5, mode=identity(MODE))
    with open_ends(curve) as saved:
        saved.save(0, {"start": a, "end": b})
    with open_checkpoints(curve) as saved:
        saved.save(5, {"params": (early,), "model_state": {}})
    curve.update(status="done")
    return folder


@pytest.fixture(autouse=True)
def _here(runs, monkeypatch):
    monkeypatch.chdir(runs)


def make(workdir, points=("a@all",), **changes):
    return SoupConfig(points=points, workdir=str(workdir), **{"num_points": 3} | changes)


@pytest.fixture(scope="module")
def done(runs):
    before = os.getcwd()
    os.chdir(runs)
    try:
        return soup.run(make("done", recipe="ema", ema_decay=0.5))
    finally:
        os.chdir(before)


def params(text):
    return load(text).params


def average(coefficients, texts):
    trees = [params(text) for text in texts]
    return jax.tree.map(lambda *xs: sum(c * x for c, x in zip(coefficients, xs, strict=True)),
                        *trees)  # fmt: skip


def test_a_soup_is_a_mode_at_its_coefficients(runs, done):
    expected = average([1 / 7, 2 / 7, 4 / 7], ["a@1", "a@2", "a@3"])
    for own, other in zip(*map(jax.tree.leaves, (params("done"), expected)), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-7)
    result, info = load("done").result, done.info
    assert result.recipe.tolist() == ["uniform", "greedy", "swa", "ema"]
    np.testing.assert_allclose(result.coefficients[[0, 2]], [[1 / 3] * 3, [0, 0, 1]])
    for split in ("train", "validation", "test"):
        metrics = result.averages.metrics[split]
        assert info["final"][split]["loss"] == pytest.approx(metrics["loss"][3], rel=1e-5)
    assert (info["kind"], info["status"]) == ("mode", "done")
    assert {file.stem for file in (done.path / "figures").glob("*.png")} == {"soup", "barriers"}
    report = json.loads((done.path / "soup.json").read_text())
    assert report["averages"][3]["test_loss"] == result.averages.metrics["test"]["loss"][3]
    assert len(report["paths"]) == 3


def test_the_greedy_soup_is_the_best_by_hand(done):
    """Adding networks from the best down, each average evaluated by itself."""
    result, problem = load("done").result, make_problem(MODE)
    networks = [params(f"a@{e}") for e in (1, 2, 3)]

    def accuracy(members):
        mean = jax.tree.map(lambda *xs: sum(xs) / len(xs), *(networks[k] for k in members))
        point = parallel.replicate(mean, problem.mesh)
        return problem.evaluator.with_state(point, {}, "validation")["accuracy"]

    own = [accuracy([k]) for k in range(3)]
    best, *others = sorted(range(3), key=lambda k: -own[k])
    members, score = [best], own[best]
    for k in others:
        if (here := accuracy([*members, k])) >= score:
            members, score = [*members, k], here
    assert np.flatnonzero(result.coefficients[1]).tolist() == sorted(members)
    assert result.averages.metrics["validation"]["accuracy"][1] == pytest.approx(score)


def test_a_soup_is_a_reference(done, tmp_path, monkeypatch):
    found = interpolation_inputs.resolve(InterpolateConfig(points=("done", "b")))
    assert list(found.points) == ["done", "b"]
    assert_same_bits(params("done@3"), params("done"))
    with pytest.raises(UsageError, match="done holds an average, which was not trained there"):
        train_mode.run(change(MODE, workdir="done", keep=()))
    monkeypatch.setattr(interpolate, "make_problem", None)
    with pytest.raises(TypeError, match="not callable"):  # the names are right: it would read data
        interpolate.run(InterpolateConfig(points=("done", "b"), workdir=str(tmp_path / "new")))


def test_a_finished_soup_is_drawn_again(done, monkeypatch, capsys):
    config = parse_flagfile(SoupConfig, done.path / "flags.cfg")
    monkeypatch.setattr(soup, "make_problem", None)
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    soup.run(config)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "barriers of the training loss over the higher end, segments"
    rows = {line.split("  ")[0]: line for line in lines}
    assert {"a@1", "mean of the networks", "ema", "ensemble of 3 networks"} <= {*rows}
    assert "which therefore flatters it" in lines[-2]
    with pytest.raises(UsageError, match="--recipe: ema there, swa now"):
        soup.run(change(config, recipe="swa"))


def test_ensembles_of_the_networks_and_of_a_curve(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    run = soup.run(make(tmp_path / "run", ("b", "a"), curve=("ab",), recipe="greedy"))
    result, problem = load(str(run.path)).result, measuring(make_problem(MODE), ("train", "test"))
    assert result.recipe.tolist() == ["uniform", "greedy"]
    assert result.ensemble.tolist() == ["ensemble of 2 networks", "ensemble of ab, 11 points"]
    control = parallel.replicate([params(x) for x in ("a", "a@1", "b")], problem.mesh)
    t = np.linspace(0, 1, 11)
    rows = np.stack([np.maximum(1 - 2 * t, 0), 1 - abs(2 * t - 1), np.maximum(2 * t - 1, 0)], 1)
    along = ensembles.members(problem.evaluator, control, rows, {}, "test")
    groups = {"ends": [0, 10], "all": range(11)}
    labels = problem.dataset.test.labels
    for k, one in enumerate(ensembles.averages(along, groups).values()):
        expected = ensembles.metrics(one, labels)
        assert result.ensembles["test"]["accuracy"][k] == pytest.approx(expected.accuracy)
        assert result.ensembles["test"]["loss"][k] == pytest.approx(expected.nll, rel=1e-4)
    assert result.segments.paths["curve"].pairs.tolist() == [[0, 1]]


@pytest.mark.slow
def test_an_interrupted_soup_evaluates_nothing_twice(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    plain = ensembling.of_networks

    def interrupted(inputs):
        raise Interrupted(15)

    config = make(tmp_path / "run", ("a", "b", "a@1"), recipe="greedy")
    monkeypatch.setattr(ensembling, "of_networks", interrupted)
    with pytest.raises(Interrupted):
        soup.run(config)
    assert Run(config.workdir).status == "running"
    monkeypatch.setattr(ensembling, "of_networks", plain)
    monkeypatch.setattr(saved_paths, "save_arrays", _only("soup.npz", saved_paths.save_arrays))
    run = soup.run(config)
    assert run.status == "done"
    assert not (run.path / "paths").exists()


def _only(name, save):
    """Saves that file, and refuses those of paths, which are saved when they are evaluated."""

    def checked(path, arrays):
        assert path.name == name
        save(path, arrays)

    return checked


def test_an_average_at_chance_fails_after_its_report(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    config = make(tmp_path / "run", ("a", "minus"))
    with pytest.raises(RunFailed, match="try --recipe=greedy or --align"):
        soup.run(config)
    accuracy = load(config.workdir).result.averages.metrics["train"]["accuracy"]
    assert accuracy[1] > 0.5 > 0.2 > accuracy[0]
    assert (tmp_path / "run/soup.json").exists()
    with pytest.raises(RunFailed, match="failed before"):
        soup.run(config)


WRONG = [
    ({"workdir": ""}, "--workdir is missing"),
    ({"points": ()}, "--points is missing: two checkpoints"),
    ({"points": ("a",)}, "--points=a: give two checkpoints or more"),
    ({"points": ("a@3-",)}, "--points=a@3: give two checkpoints or more"),
    ({"points": ("a", "a@7")}, "a has no checkpoint of epoch 7; it has 1, 2, 3"),
    ({"points": ("a@4-",)}, "a@4-: a has no such checkpoint; it has 1, 2, 3"),
    ({"points": ("a", "none")}, "--points=none: none is not a run"),
    ({"points": ("a", "wide")}, "a and wide do not share a segment: they differ in --width"),
    ({"points": ("a", "other")}, "a and other do not share a segment: they differ in --train_size"),
    ({"points": ("a", "b"), "recipe": "swa"}, "--points=a,b: swa and ema average checkpoints of"),
    ({"points": ("a", "a@1"), "recipe": "ema"}, "of one run in their order"),
    ({"points": ("a", "b"), "swa_start": 1.0}, "swa and ema average"),
    ({"recipe": "swa", "swa_start": 9.0}, "--swa_start=9: no network from epoch 9 on"),
    ({"ema_decay": 1.0}, "--ema_decay=1: use a number between 0 and 1"),
    ({"num_points": 2}, "--num_points=2: use 3 or more"),
    ({"splits": ("train", "test")}, "--splits=train,test: give validation, too"),
    ({"splits": ("validation",)}, "--splits=validation: give train"),
    ({"align": "weights", "curve": ("ab",)}, "give one of the two"),
    ({"curve": ("a",)}, "--curve=a: a holds a mode; write RUN"),
    ({"metrics": "no.such:thing"}, "--metrics=no.such:thing"),
    ({"style": ("nosuch",)}, "--style=nosuch"),
    ({"workdir": "a"}, "a holds a run that is not a soup"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_input_is_answered_before_data_are_read(runs, changes, message, monkeypatch):
    for name, other in (("wide", {"width": 0.5}), ("other", {"train_size": 100})):
        if not (runs / name).exists():
            Run(runs / name).open("mode", change(MODE, **other), steps_per_epoch=5)
            with open_checkpoints(Run(runs / name)) as saved:
                saved.save(15, {"params": {}})
            Run(runs / name).update(status="done")
    monkeypatch.setattr(soup, "make_problem", None)
    with pytest.raises(UsageError) as error:
        soup.run(change(make("new"), **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (runs / "new").exists()
