"""`train_mode` and `fit_curve` from flags to files, on a network that trains in a second."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fit_curve, landscapes, train_mode
from experiments.cli import errors
from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile, to_flags
from experiments.runs import add_metrics, load_curve, load_point, open_checkpoints, step_of
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import problem as problems
from mcjax import curves, plots
from mcjax.analysis import profiles
from mcjax.engine import training
from mcjax.results import PathMetrics, Profile
from tests.comparison import assert_same_bits

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=4, lr=0.1, schedule="constant", keep=(2,),
)  # fmt: skip
CURVE = CurveConfig(batch_size=40, epochs=3, lr=0.1, points=9)
NORMED = {"model": "tests.nets:normed", "width": 1.0}
SPLITS = ("train", "validation")
STEPS = 5  # an epoch


def change(config, **changes):
    return dataclasses.replace(config, **changes)


def flagfile(path, config):
    path.write_text(to_flags(config))
    return str(path)


def own_metrics(text, split):
    """A point's loss and accuracy, computed from nothing but its parameters and the images."""
    point, problem = load_point(parse_name(text)), problems.make_problem(MODE)
    data = getattr(problem.dataset, split)
    images = (data.images / 255 - problem.mean) / problem.std
    logits = problem.model.apply({"params": point.params}, jnp.float32(images), False)
    logits = np.asarray(logits, np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), data.labels]
    return losses.mean(), (logits.argmax(1) == data.labels).mean()


def tree_of(run, epoch=None):
    with open_checkpoints(run, read_only=True) as saved:
        return saved.restore(step_of(run, epoch))


def lines_of(run):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in run.metrics()]


def files_of(folder):
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def base(png_only, tmp_path_factory):
    """Modes G and B and the curve GB, made by one command."""
    base = tmp_path_factory.mktemp("runs")
    config = change(
        CURVE,
        workdir=str(base / "GB"),
        modes_dir=str(base),
        start=flagfile(base / "G.cfg", change(MODE, seed=1)),
        end=flagfile(base / "B.cfg", change(MODE, seed=2, optimizer="adam", lr=0.01)),
        eval_epochs=(1,),
        keep=(2,),
        seed=9,
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        fit_curve.run(config)
    (base / "printed").write_text(printed.getvalue())
    return base


def curve_config(base, **changes):
    return change(parse_flagfile(CurveConfig, base / "GB" / "flags.cfg"), **changes)


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


def own_probabilities(name):
    """A point's predictions on the validation split, from its parameters and the images."""
    point, problem = load_point(parse_name(name)), problems.make_problem(MODE)
    data = problem.dataset.validation
    images = (data.images / 255 - problem.mean) / problem.std
    logits = problem.model.apply({"params": point.params}, jnp.float32(images), False)
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(axis=1, keepdims=True), data.labels


def nll_and_accuracy(probabilities, labels):
    mean = np.mean(probabilities, axis=0)
    right = mean[np.arange(len(labels)), labels]
    return {
        "nll": pytest.approx(-np.log(right).mean(), rel=1e-5),
        "accuracy": (mean.argmax(axis=1) == labels).mean(),
    }


def test_ensembles_of_a_curve(base, tmp_path):
    curve, other = base / "GB", str(base / "G@2")
    fit_curve.run(curve_config(base, ensemble_with=(other,)))
    facts = Run(curve).info["ensembles"]
    assert facts["with"] == [other]
    rows = {row["members"]: row for row in facts["rows"]}
    points = [own_probabilities(f"{curve}~{t}")[0] for t in np.linspace(0, 1, 11).round(1)]
    alone, labels = own_probabilities(other)
    expected = {
        "start": points[:1], "end": points[-1:], "middle": [points[5]],
        "both ends": [points[0], points[-1]], "curve, 3 points": points[::5],
        "curve, 6 points": points[::2], "curve, 11 points": points, f"mode {other}": [alone],
        "3 modes": [points[0], points[-1], alone],
    }  # fmt: skip
    assert list(rows) == list(expected)
    for name, networks in expected.items():
        assert rows[name]["networks"] == len(networks)
        for metric, value in nll_and_accuracy(networks, labels).items():
            assert rows[name][metric] == value, (name, metric)
        assert 0 < rows[name]["ece"] < 1
    arrays = load_arrays(curve / "curve.npz")
    for name, index in (("start", 0), ("middle", 4), ("end", -1)):
        loss = arrays["curve_validation_loss"][index]
        assert rows[name]["nll"] == pytest.approx(loss, rel=1e-5)
        assert rows[name]["accuracy"] == pytest.approx(
            arrays["curve_validation_accuracy"][index], rel=1e-6
        )
    fit_curve.run(curve_config(base))  # what was asked for before stays
    assert Run(curve).info["ensembles"] == facts


def test_a_done_run_without_ensembles_stays_so(base, tmp_path):
    shutil.copytree(base / "GB", tmp_path / "GB")
    run = Run(tmp_path / "GB")
    info = {name: value for name, value in run.info.items() if name != "ensembles"}
    (run.path / "run.json").unlink()
    run.update(**info)
    shutil.rmtree(run.path / "checkpoints")
    fit_curve.run(curve_config(base, workdir=str(run.path), ensemble_with=()))
    assert run.status == "done"
    assert "ensembles" not in run.info
    assert len(run.info["summary"].splitlines()) == 3


def test_wrong_modes_for_an_ensemble(base, tmp_path):
    other = train_mode.run(change(MODE, width=0.3, epochs=1, keep=(), workdir=str(tmp_path / "o")))
    for names, message in (
        ((other.path,), "differs from --start in --width"),
        (("none",), "no run at"),
        ((base / "G", base / "G"), "comes twice"),
        ((f"{base / 'G'}~0.3",), "is not a mode"),
        ((base / "GB",), "is not a mode"),
    ):
        with pytest.raises(UsageError, match=message):
            fit_curve.run(curve_config(base, ensemble_with=tuple(map(str, names))))


def test_the_same_command_again_does_nothing(base, monkeypatch):
    def never(*args, **options):
        raise AssertionError("it trained, or evaluated, again")

    for target, name in (
        (training, "chunks"), (training, "make_trainer"), (landscapes.profiles, "_measure"),
        (landscapes.profiles, "save_arrays"),
    ):  # fmt: skip
        monkeypatch.setattr(target, name, never)
    untouched = [base / "GB" / d for d in ("checkpoints", "ends", "figures")] + [base / "G"]
    before = [files_of(d) for d in untouched]
    fit_curve.run(curve_config(base))
    train_mode.run(parse_flagfile(ModeConfig, base / "G" / "flags.cfg"))
    after = [files_of(d) for d in untouched]
    for old, new in zip(before, after, strict=True):
        assert {p: x for p, x in new.items() if p.name != "flags.cfg"} == {
            p: x for p, x in old.items() if p.name != "flags.cfg"
        }


def test_a_lost_figure_or_array_is_made_again(base):
    arrays = load_arrays(base / "GB" / "curve.npz")
    (base / "GB" / "figures" / "curve.png").unlink()
    (base / "GB" / "figures" / "curve@1.png").write_bytes(b"\x89PNG")
    (base / "GB" / "curve@1.npz").unlink()
    fit_curve.run(curve_config(base))
    for name in ("curve.png", "curve@1.png"):
        assert (base / "GB" / "figures" / name).stat().st_size > 5000
    again = load_arrays(base / "GB" / "curve@1.npz")
    np.testing.assert_array_equal(again["segment_train_loss"], arrays["segment_train_loss"])


def test_another_style_draws_a_done_run_again(base, tmp_path):
    png = base / "GB" / "figures" / "curve@1.png"
    plain = png.read_bytes()
    for color in ("red", "blue"):
        (tmp_path / "mine.mplstyle").write_text(f"text.color: {color}\n")
        before = png.read_bytes()
        fit_curve.run(curve_config(base, style=("ggplot", str(tmp_path / "mine.mplstyle"))))
        assert png.read_bytes() != before
    fit_curve.run(curve_config(base, style=()))
    assert png.read_bytes() == plain
    when = png.stat().st_mtime_ns
    fit_curve.run(curve_config(base, style=()))
    assert png.stat().st_mtime_ns == when


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such style; give a matplotlib style's name or an .mplstyle file"),
        ("axes.grids: True", "Bad key axes.grids"),
        ("font.size: huge", "Bad value"),
        ("no colon", "Missing colon"),
        (b"\xff\xfe", "decode"),
    ],
)
def test_a_wrong_style_is_said_before_any_work(base, tmp_path, content, message):
    file = tmp_path / "mine.mplstyle"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        fit_curve.run(curve_config(base, workdir=str(tmp_path / "new"), style=(str(file),)))
    assert str(caught.value).startswith(f"--style={file}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


@contextlib.contextmanager
def stopped_at(monkeypatch, step, run=1, signum=signal.SIGTERM):
    """Sends this process a signal while a step of the n-th run trained here is in flight."""
    chunks, runs = training.chunks, []

    def stepwise(*args, **options):
        runs.append(1)
        for chunk in chunks(*args, **options, seconds=1e-9):
            if (len(runs), chunk.step) == (run, step):
                os.kill(os.getpid(), signum)
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(training, "chunks", stepwise)
        with pytest.raises(errors.Interrupted, match="the same command goes on") as caught:
            yield
    assert caught.value.signum == signum


def newest(run):
    with open_checkpoints(run, read_only=True) as saved:
        return saved.steps()[-1]


def test_an_interrupted_mode_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    config = change(MODE, crop_padding=1, lr=0.05, workdir=str(tmp_path / "whole"), epochs=3)
    whole = train_mode.run(config)
    config = change(config, workdir=str(tmp_path / "stopped"))
    handler = signal.getsignal(signal.SIGINT)
    with stopped_at(monkeypatch, 10, signum=signal.SIGINT):  # the end of epoch 2
        train_mode.run(config)
    assert signal.getsignal(signal.SIGINT) is handler
    run = Run(config.workdir)
    assert (run.status, newest(run)) == ("running", 10)
    add_metrics(
        run.path, epoch=3, step=15, train={"loss": 0.0}
    )  # as if killed before its checkpoint
    train_mode.run(config)
    assert run.status == "done"
    for epoch in (2, None):
        assert_same_bits(tree_of(run, epoch), tree_of(whole, epoch))
    assert lines_of(run) == lines_of(whole)
    assert run.info["final"] == whole.info["final"]


def test_an_interrupted_command_goes_on_to_the_same_bits(base, tmp_path, monkeypatch):
    """Stopped in the middle of an epoch, first of a mode, then of the curve."""
    config = curve_config(base, workdir=str(tmp_path / "GB"), modes_dir=str(tmp_path))
    run = Run(tmp_path / "GB")
    with stopped_at(monkeypatch, 7):
        fit_curve.run(config)
    assert Run(tmp_path / "G").status == run.status == "running"
    assert newest(Run(tmp_path / "G")) == 7
    with stopped_at(monkeypatch, 12, run=3):
        fit_curve.run(config)
    assert Run(tmp_path / "B").status == "done"
    assert (run.status, newest(run)) == ("running", 12)
    fit_curve.run(config)
    for name in ("G", "B", "GB"):
        here, there = Run(tmp_path / name), Run(base / name)
        assert_same_bits(tree_of(here), tree_of(there))
        assert lines_of(here) == lines_of(there)
        assert here.status == "done"
    for file in ("curve.npz", "curve@1.npz"):
        assert_same_bits(load_arrays(run.path / file), load_arrays(base / "GB" / file))


def test_a_curve_does_not_go_on_between_other_modes(base, tmp_path, monkeypatch):
    """The end was trained anew, in the same place, after the curve was stopped."""
    shutil.copytree(base / "G", tmp_path / "G")
    config = change(
        CURVE, workdir=str(tmp_path / "GB"), start=str(tmp_path / "G"), end=str(base / "B")
    )
    with stopped_at(monkeypatch, 7):
        fit_curve.run(config)
    shutil.rmtree(tmp_path / "G")
    train_mode.run(change(MODE, workdir=str(tmp_path / "G"), seed=3))
    with pytest.raises(UsageError, match="--start has been trained anew"):
        fit_curve.run(config)


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


def test_a_mode_that_diverges_is_not_connected(base, tmp_path):
    mode = change(MODE, lr=1e6, seed=3)
    config = curve_config(
        base, workdir=str(tmp_path / "GX"), modes_dir=str(base), eval_epochs=(), keep=(),
        end=flagfile(tmp_path / "X.cfg", mode),
    )  # fmt: skip
    with pytest.raises(errors.RunFailed, match=r"not finite at step \d+ \(epoch 1, lr 1e\+06\)"):
        fit_curve.run(config)
    run = Run(base / "X")
    assert run.status == "failed"
    assert "last good checkpoint: none" in run.info["reason"]
    assert run.metrics() == []
    with pytest.raises(errors.RunFailed, match="failed before: the loss or its gradient"):
        train_mode.run(change(mode, workdir=str(run.path)))
    with pytest.raises(errors.RunFailed, match="--allow_failed"):
        fit_curve.run(config)
    with pytest.raises(UsageError, match="has no checkpoint: it is failed"):
        fit_curve.run(change(config, allow_failed=True))
    assert not (tmp_path / "GX" / "curve.npz").exists()


def test_a_mode_at_chance_is_connected_only_on_demand(base, tmp_path, capsys):
    mode = change(MODE, lr=0.0, seed=4)
    config = curve_config(
        base, workdir=str(tmp_path / "GX"), modes_dir=str(tmp_path), eval_epochs=(), keep=(),
        start=str(base / "G"), end=flagfile(tmp_path / "X.cfg", mode),
    )  # fmt: skip
    with pytest.raises(errors.RunFailed, match=r"training accuracy \d+\.\d % .* is at chance"):
        fit_curve.run(config)
    assert Run(tmp_path / "X").status == "failed"
    assert "FAILED" in capsys.readouterr().err
    with pytest.raises(errors.RunFailed, match="--allow_failed connects it all the same"):
        fit_curve.run(config)
    run = fit_curve.run(change(config, allow_failed=True))
    assert run.status == "done"
    arrays = load_arrays(run.path / "curve.npz")
    loss, _ = own_metrics(str(tmp_path / "X"), "train")
    assert arrays["curve_train_loss"][-1] == pytest.approx(loss, rel=1e-5)


def test_a_curve_that_diverges_is_failed(base, tmp_path):
    config = curve_config(base, workdir=str(tmp_path / "GB"), lr=1e6, eval_epochs=(), keep=())
    with pytest.raises(errors.RunFailed, match="not finite at step"):
        fit_curve.run(config)
    assert Run(tmp_path / "GB").status == "failed"
    with pytest.raises(errors.RunFailed, match="failed before"):
        fit_curve.run(config)


def profile_of(losses):
    """A curve and a segment with the same training losses."""
    t = np.linspace(0, 1, len(losses))
    path = profiles.summarize(PathMetrics({"train": {"loss": np.array(losses)}}, arc_length=t), t)
    return Profile(t, {"curve": path, "segment": path})


def test_an_objective_of_the_user_s_own(tmp_path):
    """Nothing but a loss is measured: no accuracy is asked for anywhere."""
    run = train_mode.run(
        change(MODE, objective="tests.nets:no_accuracy", epochs=1, keep=(), workdir=str(tmp_path))
    )
    assert set(run.info["final"]["validation"]) == {"loss"}
    assert set(run.metrics()[0]["train"]) == {"loss", "l2"}
    summary = landscapes.profiles.summarize(profile_of([1.0, 4.0, 2.0]))
    assert "accuracy" not in summary
    assert "highest training loss 4 (t=0.50), barrier yes (2 over the higher end)" in summary


def test_a_summary_says_how_many_points_are_broken():
    summary = landscapes.profiles.summarize(profile_of([1.0, np.nan, np.inf, 0.5]))
    assert summary.count("2 of 4 points are not finite") == 2
    assert summary.count("barrier yes (inf") == 2


def test_metrics_file_is_json_lines(base):
    text = (base / "GB" / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert [json.loads(line)["epoch"] for line in text.splitlines()] == [1, 2, 3]


def test_a_fork_goes_on_under_other_flags(base, tmp_path):
    first = Run(base / "G")
    config = change(parse_flagfile(ModeConfig, first.path / "flags.cfg"), lr=0.02, epochs=6)
    with pytest.raises(UsageError, match=r"--lr: 0.1 there, 0.02 now.*--fork"):
        train_mode.run(config)
    forked = train_mode.run(change(config, workdir=str(tmp_path / "F"), fork=str(first.path)))
    assert forked.info["forked_from"] == str(first.path)
    lines = lines_of(forked)
    assert lines[:4] == lines_of(first)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["lr"] == pytest.approx(0.02)
    assert_same_bits(tree_of(forked, 2), tree_of(first, 2))
    for changes, message in (
        ({"batch_size": 20}, "its steps_per_epoch is 5, not 10"),
        ({"fork": str(base / "GB")}, "its kind is curve, not mode"),
        ({"fork": str(base / "none")}, "its kind is missing"),
        ({"width": 0.5}, "do not fit"),
    ):
        wrong = {"workdir": str(tmp_path / message[:8]), "fork": str(first.path)} | changes
        with pytest.raises(UsageError, match=message):
            train_mode.run(change(config, **wrong))


def test_what_is_not_finite_can_be_gone_through(tmp_path):
    wild = change(MODE, lr=1e18, epochs=2, keep=(), workdir=str(tmp_path / "stops"))
    with pytest.raises(errors.RunFailed, match="not finite at step"):
        train_mode.run(wild)
    with pytest.raises(errors.RunFailed, match="the last epoch's network is not finite"):
        train_mode.run(change(wild, keep_going=True, workdir=str(tmp_path / "goes")))
    run = Run(tmp_path / "goes")
    assert [line["epoch"] for line in run.metrics()] == [1, 2]
    assert 0 <= run.info["first_bad_step"] < 10
    assert run.status == "failed"


def test_a_trace_can_be_recorded(tmp_path):
    run = train_mode.run(change(MODE, epochs=3, keep=(), profile=True, workdir=str(tmp_path)))
    (trace,) = run.path.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    assert trace.stat().st_size > 1000
