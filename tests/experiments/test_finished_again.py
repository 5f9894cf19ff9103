"""A finished run is opened again: evaluated with other flags, without its modes, pruned."""

import dataclasses
import shutil

import numpy as np
import pytest

from experiments import fit_curve, loss_surface, prune, sharpness, train_mode, view
from experiments.cli import progress
from experiments.cli.configs import (
    CurveConfig,
    ModeConfig,
    PruneConfig,
    SharpnessConfig,
    SurfaceConfig,
    ViewConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.landscapes import profiles, surface_rows
from experiments.runs import load_point, open_checkpoints, results
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import problem as problems
from mcjax.analysis import ensembles, hessian
from mcjax.engine import training
from mcjax.results import PointSharpness

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=2, lr=0.1, schedule="constant",
)  # fmt: skip
change = dataclasses.replace


@pytest.fixture(scope="module")
def finished(png_only, tmp_path_factory):
    """Modes G and B, and the curve GB between them."""
    base = tmp_path_factory.mktemp("finished")
    for seed, name in ((1, "G"), (2, "B")):
        train_mode.run(change(MODE, seed=seed, workdir=str(base / name)))
    config = CurveConfig(
        workdir=str(base / "GB"), start=str(base / "G"), end=str(base / "B"), batch_size=40,
        epochs=3, lr=0.1, points=9, keep=(1,), eval_epochs=(2,), seed=9,
    )  # fmt: skip
    fit_curve.run(config)
    return base


@pytest.fixture
def curve(finished, tmp_path, monkeypatch):
    """A copy of the curve alone, and its flags; it must not be trained."""
    shutil.copytree(finished / "GB", tmp_path / "GB")
    monkeypatch.setattr(training, "make_trainer", None)
    config = parse_flagfile(CurveConfig, finished / "GB" / "flags.cfg")
    gone = {name: str(tmp_path / "gone" / name) for name in ("start", "end")}
    Run(tmp_path / "GB").update(flags=Run(finished / "GB").info["flags"] | gone)
    return change(config, workdir=str(tmp_path / "GB"), **gone)


def test_a_curve_whose_modes_have_gone_is_drawn_and_printed_again(curve, capsys):
    figure = Run(curve.workdir).path / "figures" / "curve.png"
    before = figure.read_bytes()
    run = fit_curve.run(change(curve, style=("ggplot",)))
    assert figure.read_bytes() != before
    out, err = capsys.readouterr()
    assert run.info["summary"] in out
    assert err == ""
    with pytest.raises(UsageError, match="there is no run at"):
        fit_curve.run(change(curve, workdir=f"{curve.workdir}/another"))


@pytest.mark.slow
def test_a_finished_curve_is_evaluated_again_with_other_points(curve, capsys):
    folder = Run(curve.workdir).path
    old = {name: (folder / name).read_bytes() for name in ("curve.npz", "curve@2.npz")}
    arrays, figure = load_arrays(folder / "curve.npz"), (folder / "figures/curve.png").read_bytes()
    run = fit_curve.run(change(curve, points=3))
    assert "(--points: 9 before, 3 now); the previous files are in" in capsys.readouterr().err
    assert run.status == "done"
    assert run.info["flags"]["points"] == 3
    for name in old:
        assert (folder / "earlier" / "1" / name).read_bytes() == old[name]
        assert len(load_arrays(folder / name)["t"]) == 3
    again = load_arrays(folder / "curve.npz")
    for name in ("curve_train_loss", "segment_validation_accuracy", "curve_l2"):
        np.testing.assert_allclose(again[name], arrays[name][::4], rtol=1e-5)
    assert (folder / "figures" / "curve.png").read_bytes() != figure
    assert (folder / "earlier" / "1" / "curve.png").read_bytes() == figure
    assert parse_flagfile(CurveConfig, folder / "flags.cfg").points == 3
    fit_curve.run(change(curve, points=3))
    assert not (folder / "earlier" / "2").exists()


@pytest.mark.long
def test_a_finished_curve_is_evaluated_with_other_metrics_and_on_other_data(curve, capsys):
    metrics = "tests.nets:confidence,ece,top2_accuracy,class_accuracy,tests.nets:margin"
    config = change(
        curve, splits=("train", "test"), metrics=metrics, points=3, save_logits=("test", "odd"),
        also_evaluate=("odd=test+label=1/3/5",), eval_epochs=(),
    )  # fmt: skip
    run = fit_curve.run(config)
    said = capsys.readouterr()
    assert "note: logits of 6 points, 463 examples and 10 classes take up to 0.1 MiB" in said.err
    arrays = load_arrays(run.path / "curve.npz")
    assert not [name for name in arrays if "validation" in name]
    point, problem = load_point(parse_name(f"{run.path}~0.5")), problems.make_problem(MODE)
    data = problem.dataset.test
    images = np.float32((data.images / 255 - problem.mean) / problem.std)
    logits = np.asarray(problem.model.apply({"params": point.params}, images, False), np.float64)
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    right = probabilities[np.arange(len(data.labels)), data.labels]
    for name, value in (
        ("loss", -np.log(right).mean()),
        ("accuracy", (logits.argmax(axis=1) == data.labels).mean()),
        ("confidence", probabilities.max(axis=1).mean()),
        ("ece", ensembles.metrics(np.log(probabilities), data.labels).ece),
        ("top2_accuracy", np.mean(np.sort(probabilities)[:, -2] <= right)),
        ("class_7_accuracy", np.mean(logits[data.labels == 7].argmax(axis=1) == 7)),
        ("margin", (np.log(right) - np.log(probabilities).mean(axis=1)).mean()),
    ):
        assert arrays[f"curve_test_{name}"][1] == pytest.approx(value, rel=1e-5)
    saved = {name: load_arrays(run.path / f"logits/{name}.npz") for name in ("curve", "segment")}
    np.testing.assert_allclose(saved["curve"]["test"][1], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(saved["segment"]["test_labels"], data.labels)
    for path, found in saved.items():
        hits = found["test"].argmax(axis=2) == data.labels
        np.testing.assert_allclose(arrays[f"{path}_test_accuracy"], hits.mean(axis=1))
    words = f"test calibration error: start {arrays['curve_test_ece'][0]:.4g}, end"
    assert words in said.out
    assert words in run.info["summary"]
    page = view.run(ViewConfig(run=str(run.path))).read_text()
    assert all(text in page for text in ('"test calibration error"', '"test class 7 accuracy (%)"'))
    assert arrays["segment_test_loss_over_max"].shape == ()
    odd = np.isin(data.labels, [1, 3, 5])
    np.testing.assert_allclose(saved["curve"]["odd"], saved["curve"]["test"][:, odd], rtol=1e-5)
    assert arrays["curve_odd_loss"][1] == pytest.approx(-np.log(right[odd]).mean(), rel=1e-5)
    assert "curve    lowest odd accuracy (%)" in run.info["summary"]
    for changes, words in (
        ({"splits": ("test",)}, "--splits=test: give train, and any of validation and test"),
        ({"metrics": "tests.nets:normed"}, "--metrics=tests.nets:normed"),
        ({"metrics": "tests.nets:unbounded"}, "'unbounded' is not finite for . of 8 examples"),
        ({"metrics": "ece,top11_accuracy"}, "'top11_accuracy' fails: there are only 10 classes"),
        (
            {"save_logits": ("validation",)},
            "--save_logits=validation: these data are not evaluated",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            fit_curve.run(change(config, **changes))
    assert not (run.path / "earlier" / "2").exists()


@pytest.mark.slow
def test_more_epochs_of_a_finished_curve_are_evaluated(curve):
    folder = Run(curve.workdir).path
    before = (folder / "curve.npz").stat().st_mtime_ns
    run = fit_curve.run(change(curve, eval_epochs=(1,)))
    assert (folder / "curve@1.npz").exists()
    assert (folder / "curve.npz").stat().st_mtime_ns == before
    assert run.info["flags"]["eval_epochs"] == [1, 2]
    assert not (folder / "earlier").exists()
    (folder / "curve@1.npz").unlink()
    prune.run(PruneConfig(runs=(curve.workdir,), drop=(1,)))
    with pytest.raises(UsageError, match="no checkpoint of epoch 1; it has 2, 3"):
        fit_curve.run(change(curve, eval_epochs=(1,)))


def test_an_interrupted_evaluation_of_a_done_curve_is_resumed(curve, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    config, run = change(curve, points=3, eval_epochs=()), Run(curve.workdir)
    with monkeypatch.context() as patch:
        patch.setattr(profiles, "_measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit_curve.run(config)
    assert run.status == "fitted"
    with pytest.raises(UsageError, match="is not finished: run its command again"):
        results.finished(curve.workdir, ("curve",))
    with monkeypatch.context() as patch:
        patch.setattr(profiles, "load_result", None)  # arrays are handed on, not read again
        fit_curve.run(config)
    assert run.status == "done"
    assert len(load_arrays(run.path / "curve.npz")["t"]) == 3
    assert not (run.path / "curve@2.npz").exists()
    assert run.info["flags"]["eval_epochs"] == []


@pytest.mark.long
def test_a_finished_surface_is_evaluated_again_on_another_grid(finished, tmp_path, monkeypatch):
    points = tuple(str(finished / name) for name in ("G", "B", "GB"))
    config = SurfaceConfig(points=points, grid="2", workdir=str(tmp_path / "plane"))
    run = loss_surface.run(config)
    old = load_arrays(run.path / "surface.npz")
    loss_surface.run(change(config, grid="3x2", margin=0.4))
    new, kept = (load_arrays(run.path / n / "surface.npz") for n in ("", "earlier/1"))
    assert (len(new["x"]), len(new["y"])) == (3, 2)
    np.testing.assert_array_equal(kept["train_loss"], old["train_loss"])
    assert new["x"][0] < old["x"][0]
    np.testing.assert_allclose(new["point_train_loss"], old["point_train_loss"], rtol=1e-6)
    with pytest.raises(UsageError, match="other flags"):
        loss_surface.run(change(config, points=points[::-1]))
    with monkeypatch.context() as patch:
        patch.setattr(surface_rows, "evaluate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loss_surface.run(config)
    assert run.status == "running"
    assert loss_surface.run(config).status == "done"


@pytest.mark.long
def test_sharpness_is_evaluated_again_at_other_points(finished, tmp_path, monkeypatch):
    def fake(evaluator, points, coefficients, state, k, progress, skip):
        for index in range(len(coefficients)):
            if index not in skip:
                yield index, PointSharpness(np.full(k, 2.0), np.zeros(k), 1.0)

    monkeypatch.setattr(hessian, "sharpness", fake)
    config = SharpnessConfig(curve=str(finished / "GB"), points=3, workdir=str(tmp_path / "s"))
    run = sharpness.run(config)
    with monkeypatch.context() as patch:
        patch.setattr(hessian, "sharpness", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sharpness.run(change(config, points=4, eigenvalues=1))
    assert run.status == "running"
    sharpness.run(change(config, points=4, eigenvalues=1))
    assert run.status == "done"
    assert load_arrays(run.path / "sharpness.npz")["eigenvalues"].shape == (4, 1)
    assert load_arrays(run.path / "earlier/1/sharpness.npz")["eigenvalues"].shape == (3, 2)


def epochs_of(run):
    with open_checkpoints(run, read_only=True) as saved:
        return [step / run.info["steps_per_epoch"] for step in saved.steps()]


def test_checkpoints_of_interruptions_are_removed_at_the_end(finished):
    assert epochs_of(Run(finished / "G")) == [2]
    assert epochs_of(Run(finished / "GB")) == [1, 2, 3]


def test_prune_removes_what_interruptions_left_and_what_it_is_asked_for(finished, tmp_path, capsys):
    run = Run(tmp_path / "GB")
    shutil.copytree(finished / "GB", run.path)
    shutil.copytree(run.path / "checkpoints" / "15", run.path / "checkpoints" / "12")
    assert epochs_of(run) == [1, 2, 2.4, 3]
    freed = prune.run(PruneConfig(runs=(str(run.path),)))
    assert epochs_of(run) == [1, 2, 3]
    assert freed > 10_000
    assert "removed 1 of 4 checkpoints" in capsys.readouterr().out
    for drop, message in ((3, "the last checkpoint of .* stays"), (4, "no checkpoint of epoch 4")):
        with pytest.raises(UsageError, match=message):
            prune.run(PruneConfig(runs=(str(run.path),), drop=(1, drop)))
    prune.run(PruneConfig(runs=(str(run.path),), drop=(1,)))
    assert epochs_of(run) == [2, 3]
    with pytest.raises(UsageError, match="there is no run"):
        prune.run(PruneConfig(runs=(str(run.path), str(tmp_path))))
    run.update(status="running")
    with pytest.raises(UsageError, match="is not finished"):
        prune.run(PruneConfig(runs=(str(run.path),)))


def test_a_done_mode_prints_its_result(finished, capsys):
    config = parse_flagfile(ModeConfig, finished / "G" / "flags.cfg")
    train_mode.run(config)
    final = Run(finished / "G").info["final"]
    printed = capsys.readouterr().out
    assert f"train accuracy {100 * final['train']['accuracy']:.2f} %" in printed
    assert f"validation loss {final['validation']['loss']:.4g}" in printed


def test_off_a_terminal_long_work_shows_progress_by_itself(monkeypatch, capsys):
    bar = progress.Progress("pairs/A_B: curve", 61, "point")
    bar.update(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    bar.update(2)
    assert capsys.readouterr().err == "pairs/A_B: curve: point 2/61\n"
