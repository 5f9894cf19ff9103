"""--also_evaluate: further data are measured at every point, of finished runs, too."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import fit_curve, interpolate, layers, loss_surface, train_mode
from experiments.cli.configs import (
    CurveConfig,
    InterpolateConfig,
    LayersConfig,
    ModeConfig,
    SurfaceConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.landscapes import (
    interpolation,
    interpolation_report,
    layers_report,
    profiles,
    surfaces,
)
from experiments.runs import Run, changed_flags, load, load_result
from experiments.training import fitting, make_problem, measuring, pin_further
from mcjax import data
from mcjax.data import corruptions
from mcjax.results import Interpolation, Layers, Surface

MODE = ModeConfig(
    dataset="digits", train_size=120, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=2, lr=0.1, schedule="constant",
)  # fmt: skip
ALSO = ("noisy=test+noise=0.3+seed=2", "test+label=3/8")
NAMES = ("noisy", "test+label=3-8")
change = dataclasses.replace


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("also")
    for seed, name in enumerate("ab"):
        train_mode.run(change(MODE, seed=seed, workdir=str(folder / name)))
    return folder


@pytest.fixture(autouse=True)
def _here(runs, monkeypatch):
    monkeypatch.chdir(runs)
    for module in (interpolation_report, layers_report, surfaces):
        monkeypatch.setattr(module, "draw", lambda *_, **__: [])
    monkeypatch.setattr(profiles, "draw", lambda *_: None)


def direct(params):
    """Loss and accuracy on the two, in float64."""
    problem, test = make_problem(MODE), data.load("digits").test
    chosen = np.isin(test.labels, [3, 8])
    noisy = corruptions.noise(test.images, 0.3, np.arange(360), 2)
    found = {}
    for name, images, labels in zip(
        NAMES, (noisy, test.images[chosen]), (test.labels, test.labels[chosen]), strict=True
    ):
        inputs = np.float32((images / 255 - problem.mean) / problem.std)
        logits = np.asarray(problem.model.apply({"params": params}, inputs, False), np.float64)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]
        found[name] = losses.mean(), (logits.argmax(1) == labels).mean()
    return found


def test_a_finished_interpolation_is_measured_on_further_data(runs, capsys, monkeypatch):
    config = InterpolateConfig(points=("a", "b"), num_points=3, workdir="segment")
    interpolate.run(config)
    file = runs / "segment" / "interpolation.npz"
    before = load_result(Interpolation, file)
    config = change(config, also_evaluate=ALSO)
    run = interpolate.run(config)
    shown = capsys.readouterr()
    assert "--also_evaluate: not given before, ['noisy=test" in shown.err
    assert "noisy loss" in shown.out
    found = load_result(Interpolation, file)
    for index, name in enumerate("ab"):
        for split, (loss, accuracy) in direct(load(name).params).items():
            own = found.networks.metrics[split]
            assert own["loss"][index] == pytest.approx(loss, rel=1e-5)
            assert own["accuracy"][index] == pytest.approx(accuracy)
    segment = found.paths["segment"]
    assert segment.metrics["noisy"]["loss"].shape == (1, 3)
    assert set(segment.barriers) == {"train", "validation", *NAMES}
    np.testing.assert_array_equal(
        segment.metrics["train"]["loss"], before.paths["segment"].metrics["train"]["loss"]
    )
    report = json.loads((run.path / "interpolation.json").read_text())
    assert "test+label=3-8_loss" in report["paths"][0]["barriers"]
    assert "profiles_loss" in interpolation_report._figures(found)
    monkeypatch.setattr(interpolate, "make_problem", None)  # it is finished
    interpolate.run(config)
    interpolate.run(parse_flagfile(InterpolateConfig, run.path / "flags.cfg"))
    assert load("segment").config.also_evaluate == ALSO


@pytest.fixture(scope="module")
def curve(runs):
    """The flags of a finished curve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(runs)
        patch.setattr(profiles, "draw", lambda *_: None)
        config = CurveConfig(
            start="a", end="b", batch_size=40, epochs=1, points=3, also_evaluate=ALSO,
            allow_failed=True, workdir="ab",
        )  # fmt: skip
        fit_curve.run(config)
    return config


@pytest.mark.long
def test_a_curve_is_measured_on_them_and_again_without_a_fit(curve, capsys, monkeypatch):
    for split, (loss, _) in direct(load("ab").params).items():
        values = load("ab").result.curve.metrics[split]["loss"]
        assert values[1] == pytest.approx(loss, rel=1e-5)
    assert "curve    lowest noisy accuracy (%)" in load("ab").info["summary"]
    monkeypatch.setattr(fitting, "_prepare", None)
    run = fit_curve.run(change(curve, also_evaluate=()))
    assert set(load("ab").result.curve.metrics) == {"train", "validation"}
    assert (run.path / "earlier" / "1" / "curve.npz").exists()


@pytest.mark.long
def test_a_surface_and_layers_have_them(curve):
    plane = SurfaceConfig(
        points=("a", "b", "ab"), grid="2", curve="ab", also_evaluate=ALSO[:1], workdir="plane"
    )
    surface = load_result(Surface, loss_surface.run(plane).path / "surface.npz")
    assert surface.metrics["noisy"]["loss"].shape == (2, 2)
    loss = direct(load("ab").params)["noisy"][0]
    assert surface.points.metrics["noisy"]["loss"][2] == pytest.approx(loss, rel=1e-4)
    flags = LayersConfig(start="a", end="b", num_points=2, also_evaluate=ALSO[:1], workdir="layers")
    found = load_result(Layers, layers.run(flags).path / "layers.npz")
    assert set(found.paths["single"].barriers) == {"train", "validation", "noisy"}


WRONG = [
    (("test+nois=1",), "--also_evaluate=test+nois=1: no option nois: did you mean noise?"),
    (("test",), "--also_evaluate=test: test is a split: add it to --splits, or write NAME=test"),
    (("train=mnist",), "train is a split"),
    (("a_b=test+blur=1",), "'a_b' cannot name a split: use letters, digits and .+=-"),
    (("params=test+blur=1",), "'params' cannot name a split"),
    (("test+blur=1", "test+blur=1"), "test+blur=1 is there twice; write OTHER_NAME=..."),
    (("mnst",), "--also_evaluate=mnst: dataset 'mnst' is unknown: did you mean mnist?"),
    (("npz:none.npz",), "there is no file"),
    (("test+indices=none.txt",), "none.txt cannot be read: No such file"),
    (("test+noise=-1",), "noise=-1: use a standard deviation above 0"),
    (("folder:a",), "has no images"),
]


@pytest.mark.parametrize(("also", "message"), WRONG)
def test_wrong_texts_are_answered_before_data_are_read(runs, also, message, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: 1 / 0)
    for module, config in (
        (interpolate, InterpolateConfig(points=("a", "b"))),
        (fit_curve, CurveConfig(start="a", end="b")),
    ):
        with pytest.raises(UsageError) as error:
            module.run(change(config, also_evaluate=also, workdir="new"))
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    assert not (runs / "new").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((12, 8, 8, 3), np.uint8)}, "shape (8, 8, 3), but those of digits"),
        ({"images": np.zeros((12, 8, 8))}, "dtype float32, but those of digits uint8"),
        ({"labels": np.arange(12)}, "label 11: digits has the classes 0 to 9"),
    ],
)
def test_what_does_not_match_the_network_is_answered_before_training(
    runs, arrays, message, monkeypatch
):
    usual = {"images": np.zeros((12, 8, 8), np.uint8), "labels": np.arange(12) % 10}
    np.savez("own.npz", **usual | arrays)
    monkeypatch.setattr(fitting, "begin", lambda *_: 1 / 0)
    config = CurveConfig(start="a", end="b", batch_size=40, also_evaluate=("npz:own.npz",))
    with pytest.raises(UsageError) as error:
        fit_curve.run(change(config, workdir="new"))
    assert message in str(error.value)
    assert not (runs / "new").exists()


def test_files_are_recorded_with_their_content(runs):
    arrays = {"images": np.zeros((12, 8, 8), np.uint8), "labels": np.arange(12) % 10}
    np.savez("own.npz", **arrays)
    config = InterpolateConfig(points=("a", "b"), also_evaluate=("npz:own.npz",), workdir="files")
    run, problem = Run(runs / "files"), make_problem(MODE)
    run.open("interpolation", pin_further(config))
    (text,) = run.info["flags"]["also_evaluate"]
    assert text.startswith(f"npz:{runs}/own.npz#crc32=")
    recorded = parse_flagfile(InterpolateConfig, run.path / "flags.cfg")
    assert pin_further(recorded).also_evaluate == (text,)
    placed = measuring(problem, ("train",), also=(text,)).evaluator.splits
    assert {*placed} == {"train", "own"}
    np.savez("own.npz", **arrays | {"labels": np.arange(12)[::-1] % 10})
    with pytest.raises(UsageError, match=r"own\.npz has changed since the run recorded it"):
        measuring(problem, ("train",), also=(text,))
    changed = changed_flags(run, pin_further(config), interpolation.EVALUATION)
    assert changed[0].startswith(f"--also_evaluate: ['{text}'] before, ['npz:")
