"""`interpolate`: every pair's segment, beside aligned segments and curves, and what resumes."""

import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from experiments import interpolate, train_mode
from experiments.cli.configs import CurveConfig, InterpolateConfig, ModeConfig
from experiments.cli.errors import Interrupted, UsageError
from experiments.cli.flags import identity, parse_flagfile
from experiments.landscapes import interpolation_inputs, interpolation_report
from experiments.runs import Point, load, load_result, open_checkpoints, open_ends, restore
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.training import alignment, make_problem
from mcjax import symmetries
from mcjax.analysis import interpolation
from mcjax.engine import parallel
from mcjax.results import Interpolation
from tests.comparison import assert_same_bits

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", keep=(1,),
)  # fmt: skip
change = dataclasses.replace
T = np.linspace(-0.5, 1.5, 5)


@pytest.fixture(scope="module")
def runs(png_only, tmp_path_factory):
    """Modes a and b, ``like_a`` with a's units permuted, and the chain from b to a over c@1."""
    folder = tmp_path_factory.mktemp("interpolate")
    for seed, name in enumerate("ab"):
        train_mode.run(change(MODE, seed=seed, workdir=str(folder / name)))
    a, b, early = (restore(Run(folder / n), e)["params"] for n, e in (("a", 3), ("b", 3), ("a", 1)))
    _mode(folder / "nan", folder / "a", {k: {n: x * np.nan for n, x in v.items()}
                                         for k, v in a.items()})  # fmt: skip
    curve = Run(folder / "ba")
    curve.open("curve", CurveConfig(epochs=1), steps_per_epoch=5, mode=identity(MODE))
    with open_ends(curve) as saved:
        saved.save(0, {"start": b, "end": a})
    with open_checkpoints(curve) as saved:
        saved.save(5, {"params": (early,), "model_state": {}})
    curve.update(status="done")
    return folder


def _mode(path, like, params):
    shutil.copytree(like, path)
    run, tree = Run(path), restore(Run(like))
    shutil.rmtree(run.path / "checkpoints")
    with open_checkpoints(run) as saved:
        saved.save(15, tree | {"params": params})
    return path


@pytest.fixture(autouse=True)
def _here(runs, monkeypatch):
    monkeypatch.chdir(runs)


def make(workdir, points=("a", "b", "a@1"), **changes):
    flags = {"t_range": "-0.5,1.5", "num_points": 5, "curve": ("ba",)} | changes
    return InterpolateConfig(points=points, workdir=str(workdir), **flags)


@pytest.fixture(scope="module")
def done(runs):
    before = os.getcwd()
    os.chdir(runs)
    try:
        return interpolate.run(
            make("done", splits=("train", "test"), metrics="error", save_logits=("test",))
        )
    finally:
        os.chdir(before)


def params(text):
    return load(text).params


def losses(*points, rows, split="train"):
    """From an evaluator of its own for two or three control points."""
    problem = make_problem(MODE)
    points = parallel.replicate(points, problem.mesh)
    return problem.evaluator(points, rows, {})[split]["loss"]


def test_segments_and_curves_are_where_they_belong(done):
    found = load_result(Interpolation, done.path / "interpolation.npz")
    assert found.name.tolist() == ["a", "b", "a@1"]
    np.testing.assert_allclose(found.t, T, atol=1e-12)
    a, b, early = (params(text) for text in ("a", "b", "a@1"))
    segment = found.paths["segment"]
    for row, ends in zip(segment.metrics["train"]["loss"], ((a, b), (a, early), (b, early)),
                         strict=True):  # fmt: skip
        expected = losses(*ends, rows=np.stack([1 - T, T], axis=1))
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    curve = found.paths["curve"]
    assert curve.pairs.tolist() == [[0, 1]]
    line = curve.metrics["train"]["loss"][0]
    ends = segment.metrics["train"]["loss"][0]
    np.testing.assert_allclose(line[[1, 3]], ends[[1, 3]], rtol=1e-5)
    bend = found.networks.metrics["train"]["loss"][2]
    np.testing.assert_allclose(line[2], bend, rtol=1e-5)
    assert np.isnan(line[[0, 4]]).all()
    assert curve.length[0] == pytest.approx(segment.length[1:].sum(), rel=1e-4)
    assert set(segment.barriers) == {"train", "test"}
    assert load("done").result.t.tolist() == found.t.tolist()


def test_the_report_and_the_figures(done):
    report = json.loads((done.path / "interpolation.json").read_text())
    rows = {(row["path"], row["start"], row["end"]): row for row in report["paths"]}
    assert len(rows) == 4
    found = load_result(Interpolation, done.path / "interpolation.npz")
    barrier = rows["segment", "b", "a@1"]["barriers"]["test_accuracy"]["over_max"]
    assert barrier == found.matrix("test_accuracy")[1, 2]
    assert rows["curve", "a", "b"]["curve"] == "ba"
    names = sorted(file.stem for file in (done.path / "figures").glob("*.png"))
    assert names == ["barriers", "profiles_accuracy", "profiles_error", "profiles_loss"]
    logits = load_arrays(done.path / "logits/segment-0-1.npz")
    wrong = logits["test"].argmax(axis=2) != logits["test_labels"]
    error = found.paths["segment"].metrics["test"]["error"][0]
    np.testing.assert_allclose(error, wrong.mean(axis=1), rtol=1e-6)
    assert rows["segment", "a", "b"]["barriers"]["test_error"]["over_max"] > 0
    assert done.status == "done"


def test_a_finished_run_is_recognised(done, monkeypatch, capsys):
    config = parse_flagfile(InterpolateConfig, done.path / "flags.cfg")
    with monkeypatch.context() as patch:
        patch.setattr(interpolate, "make_problem", None)
        interpolate.run(config)
        shown = capsys.readouterr().out
        assert "barriers of the training loss over the higher end, segments" in shown
        assert "curve    ba, a to b: barrier of the training loss" in shown
        with pytest.raises(UsageError, match="--align: None there, weights now"):
            interpolate.run(change(config, align="weights"))


@pytest.mark.slow
def test_groups_alignment_and_what_an_interruption_leaves(runs, tmp_path, monkeypatch, capsys):
    """A copy of a with permuted units is one of two groups; a signal comes at the last pair."""
    problem = make_problem(MODE)
    spec = alignment.find(problem, alignment.logits(problem), load_point("a"))
    order = symmetries.random(spec, jax.random.key(4))
    twin = symmetries.apply(spec, order, {"params": params("a")})["params"]
    like_a = str(_mode(tmp_path / "like_a", runs / "a", twin))
    config = make(tmp_path / "run", ("a",), against=(like_a, "b"), align="weights", curve=())
    plain, asked = alignment.align, []

    def align(*args):
        asked.append(args[4])
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args)

    monkeypatch.setattr(alignment, "align", align)
    monkeypatch.setattr(alignment, "find", searches := _counted(alignment.find))
    monkeypatch.setattr(interpolation_report, "draw", lambda *_: [])
    with pytest.raises(Interrupted):
        interpolate.run(config)
    assert searches.called == 2  # once per network, not per pair
    assert len(list((tmp_path / "run" / "paths").glob("*.npz"))) == 1 + 3 + 2
    monkeypatch.setattr(interpolation, "on_segment", count := _counted(interpolation.on_segment))
    run = interpolate.run(config)
    assert asked == [*asked[:3], asked[2]]
    assert count.called == 3 + 1  # rows of all segments are made, one is evaluated
    found = load_result(Interpolation, run.path / "interpolation.npz")
    matrices = [found.matrix("train_loss", path) for path in ("segment", "aligned")]
    assert matrices[0][0, 1] > 0.05 > 1e-5 > abs(matrices[1][0, 1])
    assert found.paths["aligned"].length[0] == 0
    assert found.group.tolist() == [0, 1, 1]
    report = json.loads((run.path / "interpolation.json").read_text())
    assert report["aligned"]["a to like_a"]["moved"] > 0.5
    mean = next(row for row in report["groups"] if row["metric"] == "train_loss")
    assert (mean["path"], mean["count"]) == ("segment", 2)
    assert mean["over_max"]["mean"] == pytest.approx(matrices[0][0, 1:].mean())
    assert mean["over_max"]["low"] < mean["over_max"]["mean"]
    assert "between --points and --against (2 pairs)" in capsys.readouterr().out
    assert {"barriers", "groups_segment", "groups_aligned"} <= {
        *interpolation_report._figures(found)
    }


def load_point(text):
    loaded = load(text)
    return Point(loaded.params, loaded.state)


def _counted(function):
    def counted(*args):
        counted.called += 1
        return function(*args)

    counted.called = 0
    return counted


def test_other_points_evaluate_again_and_keep_the_earlier_files(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(interpolation_report, "draw", lambda *_: [])
    flags = make(tmp_path / "run", ("a", "b"), curve=(), num_points=3, t_range="0,1")
    run = interpolate.run(flags)
    before = load_arrays(run.path / "interpolation.npz")
    interpolate.run(change(flags, num_points=5))
    assert load_arrays(run.path / "interpolation.npz")["t"].shape == (5,)
    assert_same_bits(load_arrays(run.path / "earlier/1/interpolation.npz"), before)
    monkeypatch.setattr(alignment, "checksum", lambda params: 0)
    with pytest.raises(UsageError, match="was retrained since"):
        interpolate.run(change(flags, num_points=4))


def test_the_ends_of_one_curve_are_its_points_by_default(runs):
    found = interpolation_inputs.resolve(InterpolateConfig(curve=("ba",)))
    assert list(found.points) == ["ba~0", "ba~1"]
    inputs = interpolation_inputs.load(InterpolateConfig(), found, make_problem(MODE))
    assert inputs.curves["ba"] == ((0, 1), False, inputs.curves["ba"].family, (0, 2, 1))


@pytest.mark.slow
def test_the_epochs_of_two_runs_by_one_word_each(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(interpolation_report, "draw", lambda *_: [])
    flags = make(tmp_path / "run", ("a@all",), against=("b@2-",), curve=(), num_points=3)
    run = interpolate.run(change(flags, t_range="0,1", splits=("train",)))
    found = load_result(Interpolation, run.path / "interpolation.npz")
    assert found.name.tolist() == ["a@1", "a@3", "b@3"]
    assert found.epoch is None  # a single epoch of b
    flags = change(flags, workdir=str(tmp_path / "both"), against=("b@1-3",), splits=("train",))
    found = load_result(Interpolation, interpolate.run(flags).path / "interpolation.npz")
    assert found.epoch.tolist() == [1, 3, 1, 3]
    figures = interpolation_report._figures(found)
    assert {"barriers", "epochs_loss", "epochs_accuracy", "profiles_loss"} <= {*figures}
    many = found._replace(name=np.arange(17).astype(str))
    assert not {"barriers", "profiles_loss"} & {*interpolation_report._figures(many)}


def test_networks_of_equal_names_are_told_apart_by_their_folders(runs, tmp_path):
    shutil.copytree(runs / "a", tmp_path / "a")
    found = interpolation_inputs.resolve(InterpolateConfig(points=("a", str(tmp_path / "a"))))
    assert list(found.points) == ["a", str(tmp_path / "a")]


WRONG = [
    ({"workdir": ""}, "--workdir is missing"),
    ({"points": ()}, "--points is missing"),
    ({"points": ("a",)}, "--points=a: give two checkpoints or more"),
    ({"points": ("a", "a")}, "a is named twice"),
    ({"points": ("a",), "against": ("a",)}, "a is named twice in --points and --against"),
    ({"points": (), "against": ("a", "b")}, "--points is missing"),
    ({"points": ("a", "none")}, "--points=none: none is not a run"),
    ({"against": ("b@2",)}, "b has no checkpoint of epoch 2; it has 1, 3"),
    ({"points": ("a@2-2",)}, "a@2-2: a has no such checkpoint; it has 1, 3"),
    ({"points": ("none@all",)}, "there is no run at none"),
    ({"points": ("a@3-",)}, "--points=a@3: give two checkpoints or more"),
    ({"points": ("a", "b~0.5")}, "only a curve has points"),
    ({"points": ("a", "wide")}, "a and wide do not share a segment: they differ in --width"),
    ({"curve": ("a",)}, "--curve=a: a holds a mode; write RUN"),
    ({"t_range": "0"}, "--t_range=0: write two numbers, as -0.5,1.5"),
    ({"t_range": "0,x"}, "--t_range=0,x: write two numbers"),
    ({"t_range": "1,0"}, "--t_range=1,0: t from 1 to 0: give two numbers, the lower one first"),
    ({"t_range": "0,nan"}, "--t_range=0,nan"),
    ({"num_points": 1}, "--num_points=1: use 2 or more"),
    ({"num_points": 2, "t_range": "0,1"}, "none is between the networks"),
    ({"splits": ("test",)}, "--splits=test"),
    ({"metrics": "no.such:thing"}, "--metrics=no.such:thing"),
    ({"metrics": "eec"}, "--metrics=eec: there is no metric 'eec': did you mean ece? There are"),
    ({"metrics": "ece,error,ece"}, "--metrics=ece,error,ece: a metric is named twice"),
    ({"save_logits": ("test",)}, "--save_logits=test: these data are not evaluated"),
    ({"style": ("nosuch",)}, "--style=nosuch"),
    ({"workdir": "a"}, "a holds a mode, not an interpolation"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_input_is_answered_before_data_are_read(runs, changes, message, monkeypatch):
    if not (runs / "wide").exists():
        Run(runs / "wide").open("mode", change(MODE, width=0.5), steps_per_epoch=5)
        with open_checkpoints(Run(runs / "wide")) as saved:
            saved.save(15, {"params": {}})
        Run(runs / "wide").update(status="done")
    monkeypatch.setattr(interpolate, "make_problem", None)
    with pytest.raises(UsageError) as error:
        interpolate.run(change(make("new"), **{"curve": ()} | changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (runs / "new").exists()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (("a", "nan"), "nan cannot be interpolated: Dense_0/bias is not finite"),
        (("a", "a@1"), "--curve=ba: its end at t = 0 is none of --points; add ba~0"),
    ],
)
def test_what_needs_the_parameters_is_answered_before_the_run_begins(runs, points, message):
    with pytest.raises(UsageError, match=message):
        interpolate.run(make("new", points))
    assert not (runs / "new").exists()
