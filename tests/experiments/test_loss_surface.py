import dataclasses
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import export, fit_curve, loss_surface, view
from experiments.cli import errors, flags
from experiments.cli.configs import CurveConfig, ExportConfig, SurfaceConfig, ViewConfig
from experiments.cli.errors import UsageError
from experiments.landscapes import surface_rows, surfaces
from experiments.runs import load_result, open_checkpoints, restore, step_of
from experiments.runs.arrays import load_arrays, save_arrays
from experiments.runs.folder import Run
from mcjax.analysis import surfaces as surface_analysis
from mcjax.plots import profile_plots
from mcjax.results import Surface
from tests.comparison import assert_same_bits
from tests.surface_runs import make, mode


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two modes, a curve between them, one of another network, of zeros and of NaNs."""
    folder = tmp_path_factory.mktemp("runs")

    mode(folder, "a", epochs=3, keep=(1, 2), seed=1)
    mode(folder, "b", epochs=2, seed=2)
    shutil.copytree(folder / "b", folder / "wide")
    info = Run(folder / "wide").info
    info["flags"]["width"] = 0.5
    Run(folder / "wide").update(**info)
    for name, value in (("zero", 0.0), ("nan", np.nan)):
        shutil.copytree(folder / "b", folder / name)
        tree, step = restore(Run(folder / name)), step_of(Run(folder / name), None)
        tree["params"] = jax.tree.map(lambda x, v=value: jnp.full_like(x, v), tree["params"])
        shutil.rmtree(folder / name / "checkpoints")
        with open_checkpoints(Run(folder / name)) as saved:
            saved.save(step, tree)
    curve = CurveConfig(
        workdir=str(folder / "ab"), start=str(folder / "a"), end=str(folder / "b"), epochs=2,
        batch_size=40, points=9, lr=0.1, allow_failed=True,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_plots, "FORMATS", ("png",))
        fit_curve.run(curve)
    return folder


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    return loss_surface.run(make(runs, tmp_path_factory.mktemp("surfaces") / "whole"))


def test_arrays_and_figures(done, runs):
    arrays = load_arrays(done.path / "surface.npz")
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"):
        assert arrays[name].shape == (3, 4)
        assert arrays[f"point_{name}"].shape == (3,)
        assert arrays[f"iterate_{name}"].shape == (3,)
    assert arrays["x"].shape == (4,)
    assert arrays["y"].shape == (3,)
    assert list(arrays["point_name"]) == ["a", "b", "ab"]
    assert list(arrays["iterate_epoch"]) == [1, 2, 3]
    assert arrays["iterate_affine"].shape == arrays["iterate_span"].shape == (3, 3)
    np.testing.assert_allclose(arrays["iterate_affine"].sum(1), 1, rtol=1e-6)
    assert arrays["iterate_span_distance"][0] <= arrays["iterate_distance"][0]
    assert arrays["iterate_distance"][0] > 0.1
    assert 0 < arrays["iterate_variance_share"] < 1
    assert arrays["curve_xy"].shape == (*arrays["curve_t"].shape, 2)
    assert arrays["curve_distance"].max() < 1e-4  # the bend is among the three points
    np.testing.assert_allclose(arrays["curve_xy"][[0, -1]], arrays["point_xy"][:2], atol=1e-4)
    for split in ("train", "validation"):
        for suffix in ("png", "pdf"):
            assert (done.path / "figures" / f"surface_{split}_loss.{suffix}").exists()
    assert done.status == "done"
    assert not (done.path / "rows").exists()


def test_losses_are_drawn_first_and_accuracies_not_at_all(done):
    found = load_result(Surface, done.path / "surface.npz")
    more = dict.fromkeys(("ece", "class_3_accuracy", "top5_accuracy", "my_loss"), found.l2)
    metrics = {split: own | more for split, own in found.metrics.items()}
    names = surfaces._drawn(found._replace(metrics=metrics))
    expected = ["loss", "my_loss", "ece", "top5_accuracy"]
    assert [n.removeprefix("train_") for n in names if n.startswith("train")] == expected
    assert len(names) == 8


@pytest.mark.parametrize("form", ["garipov", "h5", "vtp"])
def test_exported(done, runs, tmp_path, form):
    for run in (done.path, runs / "ab")[: 2 if form == "garipov" else 1]:
        config = ExportConfig(run=str(run), format=form, output=str(tmp_path / run.name))
        assert export.run(config).stat().st_size > 1000


def test_viewed(done, tmp_path):
    page = view.run(ViewConfig(run=str(done.path), output=str(tmp_path / "page.html"))).read_text()
    assert all(word in page for word in ('"segment"', '"iterates"', "Plane through a, b and ab"))
    assert "was not found: the curve" not in page


def test_points_and_iterates_reproduce_their_checkpoints(done, runs):
    arrays = load_arrays(done.path / "surface.npz")
    curve = load_arrays(runs / "ab" / "curve.npz")
    for split in ("train", "validation"):
        own = [json.loads((runs / n / "run.json").read_text())["final"] for n in "ab"]
        own = [final[split]["loss"] for final in own] + [curve[f"curve_{split}_loss"][4]]
        found = arrays[f"point_{split}_loss"]
        np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-7)
        last = arrays[f"iterate_{split}_loss"][-1]
        np.testing.assert_allclose(last, own[0], rtol=1e-5, atol=1e-7)
    assert arrays["iterate_distance"][-1] < 1e-4
    np.testing.assert_allclose(arrays["iterate_xy"][-1], 0, atol=1e-4)


@pytest.mark.slow
def test_done_is_found_done_and_drawn_with_another_clip(done, runs, monkeypatch, capsys):
    monkeypatch.setattr(surface_analysis, "evaluate", None)
    config = flags.parse_flagfile(SurfaceConfig, done.path / "flags.cfg")
    assert config == make(runs, done.path)
    png = done.path / "figures" / "surface_train_loss.png"
    before = png.read_bytes()
    loss_surface.run(dataclasses.replace(config, clip=1.7))
    assert png.read_bytes() != before
    assert "w1: " in capsys.readouterr().out
    with pytest.raises(UsageError, match="--direction_seed: 0 there, 5 now"):
        loss_surface.run(dataclasses.replace(config, direction_seed=5))


def test_interrupted_run_goes_on_to_the_same_arrays(done, runs, tmp_path, monkeypatch):
    evaluated, saved = [], []
    plain = surface_analysis.evaluate_row

    def row(*args):
        evaluated.append(args[4])
        if len(evaluated) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args)

    monkeypatch.setattr(surface_analysis, "evaluate_row", row)
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    config = make(runs, tmp_path, save_logits=("validation",))
    with pytest.raises(errors.Interrupted) as stopped:
        loss_surface.run(config)
    assert stopped.value.signum == signal.SIGTERM
    saved = sorted(f.name for f in (tmp_path / "rows").glob("*.npz"))
    assert saved == ["0000.npz", "0001.npz"]
    damaged = load_arrays(tmp_path / "rows" / "0000.npz")
    save_arrays(tmp_path / "rows" / "0000.npz", damaged | {"x": damaged["x"] + 1})  # another grid's
    loss_surface.run(config)
    assert len(evaluated) == 4
    expected, found = (load_arrays(p / "surface.npz") for p in (done.path, tmp_path))
    assert_same_bits(found, expected)
    logits = [load_arrays(tmp_path / f"logits/row-{row:04d}.npz") for row in range(3)]
    right = [one["validation"].argmax(axis=2) == one["validation_labels"] for one in logits]
    np.testing.assert_allclose(found["validation_accuracy"], np.mean(right, axis=2))


def test_slow_row_is_left_after_a_signal(monkeypatch):
    monkeypatch.setattr(surface_rows, "ROW_SECONDS", -1.0)
    progress = surface_rows._RowProgress("r", 5, 3, 0)
    progress.point(2)
    progress.received = [signal.SIGINT]
    progress.point(5)  # the row is done: it is saved first
    with pytest.raises(errors.Interrupted):
        progress.point(6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": "ab"}, "three checkpoints, got 2"),
        ({"points": ("a", "a", "b")}, "is there twice; a plane needs three points"),
        ({"points": ("a", "ab~0.25", "ab~0.125")}, "lie on a line"),
        ({"points": ("a", "b", "wide")}, "differ in --width: 0.25 and 0.5"),
        ({"points": ("a", "b", "nowhere")}, "nowhere is not a run"),
        ({"points": ("a", "b@7", "ab")}, "no checkpoint of epoch 7; it has"),
        ({"iterates": ("a@1", "b@1")}, "b has no checkpoint of epoch 1"),
        ({"iterates": ("wide",)}, "differ in --width"),
        ({"curve": "a"}, "a holds a mode; write RUN"),
        ({"grid": "1"}, "2 or more points per side"),
        ({"grid": "5x1"}, "2 or more points per side"),
        ({"grid": "5,5"}, "write 21 or 31x21"),
        ({"margin": -1.0}, "--margin=-1.0"),
        ({"clip": 0.0}, "--clip=0.0"),
        ({"directions": "filter"}, "--directions=filter needs one checkpoint, the centre, got 3"),
        ({"directions": "pca", "iterates": ()}, "needs --iterates=RUN"),
        ({"directions": "pca", "points": (), "iterates": ("b",)}, "three iterates or more, got 1"),
        (
            {"directions": "pca", "points": "a", "iterates": ("a@1", "a@1", "a@2")},
            "--directions=pca: the points lie on a line",
        ),
        ({"directions": "pca", "points": (), "extent": 2.0}, "--extent=2.0: .* --margin"),
        ({"extent": 2.0}, "--extent=2.0"),
        ({"directions": "random", "points": "a", "extent": 0.0}, "--extent=0.0: use more than 0"),
        ({"directions": "random", "points": "a", "direction_seed": -1}, "--direction_seed=-1"),
        ({"directions": "filter", "points": ("zero",)}, "--directions=filter: direction 1 is zero"),
        ({"directions": "hessian", "points": ("nan",)}, "--directions=hessian: .* not finite"),
    ],
)
def test_wrong_input_leaves_no_run(runs, tmp_path, changes, message):
    for name in ("points", "iterates"):
        if name in changes:
            changes = changes | {name: tuple(str(runs / run) for run in changes[name])}
    if "curve" in changes:
        changes = changes | {"curve": str(runs / changes["curve"])}
    with pytest.raises(UsageError, match=message) as error:
        loss_surface.run(make(runs, tmp_path, **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run.json").exists()


def test_run_from_before_a_flag_was_added_is_found_done(done, runs, tmp_path, monkeypatch):
    shutil.copytree(done.path, tmp_path / "old")
    info = Run(tmp_path / "old").info
    for name in ("directions", "direction_seed", "ignore_vectors", "extent"):
        del info["flags"][name]
    info.pop("status")
    before = Run(tmp_path / "old")
    (before.path / "run.json").unlink()
    before.update(status="done", **info)
    monkeypatch.setattr(surface_analysis, "evaluate", None)
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    assert loss_surface.run(make(runs, before.path)).status == "done"
    with pytest.raises(UsageError, match="--direction_seed: 0 there, 1 now"):
        loss_surface.run(make(runs, before.path, direction_seed=1))


def test_surface_is_no_point(runs, done, tmp_path):
    points = (str(runs / "a"), str(runs / "b"), str(done.path))
    with pytest.raises(UsageError, match="holds a surface"):
        loss_surface.run(make(runs, tmp_path, points=points))


def test_flags_of_names(tmp_path):
    config = flags.parse(SurfaceConfig, ["--points=r/a@3, r/b~0.5,c", "--grid=9"])
    assert config.points == ("r/a@3", "r/b~0.5", "c")
    assert config.iterates == ()
    (tmp_path / "flags.cfg").write_text(flags.to_flags(config))
    assert flags.parse_flagfile(SurfaceConfig, tmp_path / "flags.cfg") == config
