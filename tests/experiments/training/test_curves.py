"""A curve from flags to files: its run folder, arrays, points and printed summary."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fit_curve
from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.flags import parse_flagfile
from experiments.runs import load_curve, load_point
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from mcjax import curves, plots
from tests.comparison import assert_same_bits

from .small import (
    CURVE,
    MODE,
    NORMED,
    SPLITS,
    STEPS,
    change,
    curve_config,
    flagfile,
    own_metrics,
    tree_of,
)

pytestmark = pytest.mark.usefixtures("png_only")


def test_run_folders_tell_their_story(base):
    curve, mode = Run(base / "GB"), Run(base / "G")
    assert {p.name for p in curve.path.iterdir()} == {
        ".lock", "flags.cfg", "run.json", "metrics.jsonl", "checkpoints", "ends",
        "curve.npz", "curve@1.npz", "figures",
    }  # fmt: skip
    names = {p.name for p in (curve.path / "figures").iterdir()}
    assert names == {f"curve{e}.{s}" for e in ("", "@1") for s in plots.profile_plots.FORMATS}
    assert {p.name for p in mode.path.iterdir()} == {
        ".lock", "flags.cfg", "run.json", "metrics.jsonl", "checkpoints",
    }  # fmt: skip
    for run, kind, epochs in ((curve, "curve", 3), (mode, "mode", 4)):
        assert (run.status, run.info["kind"]) == ("done", kind)
        assert run.info["steps_per_epoch"] == STEPS
        assert all(m["seconds"] > 0 for m in run.metrics())
        lines = run.metrics()
        assert [m["epoch"] for m in lines] == list(range(1, epochs + 1))
        assert [m["step"] for m in lines] == [STEPS * m["epoch"] for m in lines]
        assert all({"loss", "accuracy", "l2"} == set(m["train"]) for m in lines)
    assert all({"loss", "accuracy"} == set(m["validation"]) for m in mode.metrics())
    assert parse_flagfile(CurveConfig, curve.path / "flags.cfg").workdir == str(curve.path)
    assert parse_flagfile(ModeConfig, mode.path / "flags.cfg").seed == 1
    assert mode.metrics()[-1]["lr"] == pytest.approx(0.1)


def test_metrics_file_is_json_lines(base):
    text = (base / "GB" / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert [json.loads(line)["epoch"] for line in text.splitlines()] == [1, 2, 3]


def test_training_trained(base):
    for name in ("G", "B"):
        losses = [m["train"]["loss"] for m in Run(base / name).metrics()]
        assert losses[-1] < 0.8 * losses[0]
    ends_of = {name: tree_of(Run(base / name))["params"] for name in ("G", "B")}
    halfway = jax.tree.map(lambda a, b: (a + b) / 2, ends_of["G"], ends_of["B"])
    bend = tree_of(Run(base / "GB"))["params"][0]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), bend, halfway)
    assert all(x > 1e-4 for x in jax.tree.leaves(moved))


def test_arrays_of_a_curve(base):
    for file, epoch in (("curve.npz", None), ("curve@1.npz", 1)):
        arrays = load_arrays(base / "GB" / file)
        np.testing.assert_allclose(arrays["t"], np.linspace(0, 1, 9), rtol=1e-12)
        for path in ("curve", "segment"):
            for split in SPLITS:
                for metric in ("loss", "accuracy"):
                    name = f"{path}_{split}_{metric}"
                    values = arrays[name]
                    assert values.shape == (9,)
                    assert arrays[f"{name}_mean"].shape == arrays[f"{name}_arc_mean"].shape == ()
                    mean = np.trapezoid(values, arrays["t"])
                    np.testing.assert_allclose(arrays[f"{name}_mean"], mean)
                loss = arrays[f"{path}_{split}_loss"]
                top = loss.max()
                for how, reference in (
                    ("max", loss[[0, -1]].max()),
                    ("mean", loss[[0, -1]].mean()),
                ):
                    np.testing.assert_allclose(
                        arrays[f"{path}_{split}_loss_over_{how}"], top - reference, atol=1e-12
                    )
                assert arrays[f"{path}_{split}_loss_over_chord"] >= 0
            assert arrays[f"{path}_l2"].shape == arrays[f"{path}_arc_length"].shape == (9,)
            assert (np.diff(arrays[f"{path}_arc_length"]) > 0).all()
        assert arrays["curve_arc_length"][-1] > arrays["segment_arc_length"][-1]
        for end in ("start", "end"):
            assert np.isfinite(arrays[f"curve_train_loss_{end}_slope"])
        curve, points, _ = load_curve(Run(base / "GB"), epoch)
        norm = curves.squared_norm(curves.point(curve, points, 0.375))
        np.testing.assert_allclose(arrays["curve_l2"][3], norm, rtol=1e-5)
    first, last = (load_arrays(base / "GB" / f) for f in ("curve@1.npz", "curve.npz"))
    assert abs(first["curve_train_loss"][4] - last["curve_train_loss"][4]) > 1e-3


def test_ends_of_a_curve_are_its_modes(base):
    for file in ("curve.npz", "curve@1.npz"):
        arrays = load_arrays(base / "GB" / file)
        for index, name in ((0, "G"), (-1, "B")):
            final = Run(base / name).info["final"]
            for split in SPLITS:
                own = own_metrics(str(base / name), split)
                for metric, mine in zip(("loss", "accuracy"), own, strict=True):
                    assert final[split][metric] == pytest.approx(mine, rel=1e-5)
                    for path in ("curve", "segment"):
                        assert arrays[f"{path}_{split}_{metric}"][index] == pytest.approx(
                            final[split][metric], rel=1e-5
                        )
            assert arrays["curve_l2"][index] == pytest.approx(final["params"]["l2"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "file", "index"),
    [
        ("GB~0.125", "curve", 1),
        ("GB", "curve", 4),
        ("GB~0.875", "curve", 7),
        ("GB@1~0.25", "curve@1", 2),
        ("GB@1", "curve@1", 4),
    ],
)
def test_points_of_a_curve_by_name(base, name, file, index):
    arrays = load_arrays(base / "GB" / f"{file}.npz")
    for split in SPLITS:
        loss, accuracy = own_metrics(str(base / name), split)
        assert arrays[f"curve_{split}_loss"][index] == pytest.approx(loss, rel=1e-5)
        assert arrays[f"curve_{split}_accuracy"][index] == pytest.approx(accuracy, rel=1e-12)


def test_a_curve_alone_stands_for_its_bend(base):
    point = load_point(parse_name(str(base / "GB")))
    assert_same_bits(point.params, tree_of(Run(base / "GB"))["params"][0])


def test_epochs_of_a_mode_by_name(base):
    loss, accuracy = own_metrics(f"{base}/G@2", "validation")
    line = Run(base / "G").metrics()[1]
    assert line["validation"] == {
        "loss": pytest.approx(loss, rel=1e-5),
        "accuracy": pytest.approx(accuracy, rel=1e-6),
    }


def test_what_is_printed(base):
    *summary, figure = (base / "printed").read_text().splitlines()
    assert figure == f"figure: {base}/GB/figures/curve.png"
    *summary, heading, start, end, middle, both, few, some, all_ = summary
    assert [line.split()[0] for line in summary] == ["ends", "curve", "segment"]
    arrays = load_arrays(base / "GB" / "curve.npz")
    assert f"start training loss {arrays['curve_train_loss'][0]:.4g}" in summary[0]
    assert heading.split() == ["ensemble,", "validation", "accuracy", "NLL", "ECE"]
    rows = Run(base / "GB").info["ensembles"]["rows"]
    for row, line in zip(rows, (start, end, middle, both, few, some, all_), strict=True):
        numbers = (f"{100 * row['accuracy']:.2f}", "%", f"{row['nll']:.4f}", f"{row['ece']:.4f}")
        assert line.split() == [*row["members"].split(), *numbers]
    for line in summary[1:]:
        path = line.split()[0]
        worst = arrays[f"{path}_train_loss"].argmax()
        assert f"highest training loss {arrays[f'{path}_train_loss'][worst]:.4g}" in line
        assert f"(t={arrays['t'][worst]:.2f})" in line
        low = 100 * arrays[f"{path}_validation_accuracy"].min()
        assert f"lowest validation accuracy {low:.2f} %" in line
        barrier = arrays[f"{path}_train_loss_over_max"] > 0
        assert f"barrier {'yes' if barrier else 'no'}" in line
    *whole, _ = (base / "printed").read_text().splitlines()
    assert Run(base / "GB").info["summary"] == "\n".join(whole)


@pytest.mark.long
def test_a_curve_between_named_points(base, tmp_path):
    """Bezier, a t for each half of the batch; from a point of another curve to an epoch."""
    config = change(
        CURVE, workdir=str(tmp_path / "named"), start=f"{base}/GB@1~0.25", end=f"{base}/G@2",
        curve="bezier", t_strata=2, points=5,
    )  # fmt: skip
    run = fit_curve.run(config)
    arrays = load_arrays(run.path / "curve.npz")
    for split in SPLITS:
        for index, name in ((0, config.start), (-1, config.end)):
            loss, accuracy = own_metrics(name, split)
            assert arrays[f"curve_{split}_loss"][index] == pytest.approx(loss, rel=1e-5)
            assert arrays[f"curve_{split}_accuracy"][index] == pytest.approx(accuracy, rel=1e-9)
        loss, _ = own_metrics(f"{run.path}~0.75", split)
        assert arrays[f"curve_{split}_loss"][3] == pytest.approx(loss, rel=1e-5)


@pytest.mark.long
def test_free_ends_leave_their_modes(base, tmp_path):
    config = curve_config(
        base, workdir=str(tmp_path / "free"), free_ends=True, bends=2, points=5,
        eval_epochs=(), keep=(),
    )  # fmt: skip
    run = fit_curve.run(config)
    arrays, points = load_arrays(run.path / "curve.npz"), load_curve(run)[1]
    assert len(points) == 4
    for index, name in ((0, "G"), (-1, "B")):
        mode = tree_of(Run(base / name))["params"]
        assert curves.squared_norm(jax.tree.map(jnp.subtract, points[index], mode)) > 1e-6
        norm = float(curves.squared_norm(points[index]))
        assert arrays["curve_l2"][index] == pytest.approx(norm, rel=1e-5)
        assert arrays["segment_train_loss"][index] == pytest.approx(
            arrays["curve_train_loss"][index], rel=1e-5
        )
        loss, _ = own_metrics(f"{run.path}~{index % 2 * 1.0}", "train")
        assert arrays["curve_train_loss"][index] == pytest.approx(loss, rel=1e-5)


@pytest.mark.long
def test_free_ends_without_bends(base, tmp_path):
    """The curve is the trained segment itself."""
    config = curve_config(
        base, workdir=str(tmp_path / "free"), free_ends=True, bends=0, points=3, epochs=1,
        eval_epochs=(), keep=(), allow_failed=True,
    )  # fmt: skip
    arrays = load_arrays(fit_curve.run(config).path / "curve.npz")
    for name in (n.removeprefix("segment_") for n in arrays if n.startswith("segment_")):
        np.testing.assert_array_equal(arrays[f"curve_{name}"], arrays[f"segment_{name}"])
    assert np.isfinite(arrays["curve_train_loss_start_slope"])


@pytest.mark.long
def test_batch_norm(base, tmp_path):
    """The ends keep their own networks' metrics, though statistics are recomputed everywhere."""
    mode = change(MODE, **NORMED, epochs=2, keep=())
    config = change(
        CURVE, workdir=str(tmp_path / "curve"), modes_dir=str(tmp_path),
        start=flagfile(tmp_path / "G.cfg", change(mode, seed=1)),
        end=flagfile(tmp_path / "B.cfg", change(mode, seed=2)), epochs=1, points=4,
    )  # fmt: skip
    fit_curve.run(config)
    arrays = load_arrays(tmp_path / "curve" / "curve.npz")
    for index, name in ((0, "G"), (-1, "B")):
        info = Run(tmp_path / name).info
        for split in SPLITS:
            for metric in ("loss", "accuracy"):
                for path in ("curve", "segment"):
                    assert arrays[f"{path}_{split}_{metric}"][index] == pytest.approx(
                        info["final"][split][metric], rel=1e-5
                    )
        running = info["final_with_running_averages"]["validation"]
        assert running == pytest.approx(Run(tmp_path / name).metrics()[-1]["validation"], rel=1e-5)
        assert running["loss"] != pytest.approx(info["final"]["validation"]["loss"], rel=1e-3)
