"""--allow_different: networks that were trained on different data are joined."""

import dataclasses
import shutil

import numpy as np
import pytest

from experiments import align, fit_curve, interpolate, layers, loss_surface, train_mode
from experiments.cli.configs import (
    AlignConfig,
    CurveConfig,
    InterpolateConfig,
    LayersConfig,
    SurfaceConfig,
)
from experiments.cli.errors import UsageError
from experiments.cli.flags import to_flags
from experiments.landscapes import interpolation_report, profiles
from experiments.runs import Run, load, open_checkpoints, restore
from experiments.training import fitting
from mcjax import data
from tests.experiments.test_also_evaluate import MODE

change = dataclasses.replace


def copied(folder, name, classes=10, **flags):
    """The mode ``a`` of a folder as if it had other flags, with its first classes alone."""
    shutil.copytree(folder / "a", folder / name)
    run, tree = Run(folder / name), restore(Run(folder / "a"))
    run.update(flags=run.info["flags"] | flags)
    last = {key: x[..., :classes] for key, x in tree["params"]["Dense_2"].items()}
    shutil.rmtree(run.path / "checkpoints")
    with open_checkpoints(run) as saved:
        saved.save(6, tree | {"params": tree["params"] | {"Dense_2": last}})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """a; small on fewer images; on_own and on_few, with two classes, on other data."""
    folder = tmp_path_factory.mktemp("different")
    train_mode.run(change(MODE, workdir=str(folder / "a")))
    copied(folder, "small", train_size=80)
    images, labels = data.load("digits").test
    for name, classes in (("own", 10), ("few", 2)):
        rows = labels < classes
        np.savez(folder / name, images=images[rows], labels=labels[rows])
        dataset = f"npz:{folder / name}.npz"
        copied(folder, f"on_{name}", classes, dataset=data.pinned(dataset), validation_size=5)
    return folder


@pytest.fixture(autouse=True)
def _here(runs, monkeypatch):
    monkeypatch.chdir(runs)
    monkeypatch.setattr(profiles, "draw", lambda *_: None)
    monkeypatch.setattr(interpolation_report, "draw", lambda *_: [])


def curve(end, **changes):
    flags = {"start": "a", "end": end, "batch_size": 40, "epochs": 1, "points": 3}
    return CurveConfig(**flags | {"workdir": f"curve_{end}"} | changes)


@pytest.mark.slow
def test_a_curve_trains_on_the_data_of_its_start(runs, capsys, monkeypatch):
    given = []
    monkeypatch.setattr(fitting, "train", lambda *args: given.extend(args) or 1 / 0)
    (runs / "fresh.cfg").write_text(to_flags(change(MODE, seed=2, train_size=80)))
    with pytest.raises(ZeroDivisionError):
        fit_curve.run(curve("fresh.cfg", allow_different=("train_size",)))
    fit, problem = given
    assert len(problem.dataset.train.labels) == 120
    note = "the ends differ in --train_size: 120 and 80. The curve trains on the data of --start=a"
    assert f"{note} (digits, train_size 120)" in capsys.readouterr().err
    run = fit.folder
    assert run.info["different"] == ["--train_size: 120 and 80"]
    assert run.info["mode"]["train_size"] == 120
    assert run.info["steps_per_epoch"] == 3
    fresh = Run(run.path / "modes" / "fresh")
    assert (fresh.status, fresh.info["steps_per_epoch"]) == ("done", 2)  # on its own data
    assert fresh.info["flags"]["train_size"] == 80


def test_a_network_that_does_not_match_is_refused_before_training(runs, monkeypatch):
    monkeypatch.setattr(fitting, "begin", lambda *_: 1 / 0)
    allowed = ("dataset", "validation_size")
    mode = change(MODE, dataset=f"npz:{runs}/few.npz", train_size=40, validation_size=5)
    (runs / "few.cfg").write_text(to_flags(mode))
    mismatch = r"--start and --end do not match: .* shape \(10,\) in the first and \(2,\)"
    for end, more in (("on_few", ()), ("few.cfg", ("train_size",))):
        with pytest.raises(UsageError, match=mismatch):
            fit_curve.run(curve(end, allow_different=(*allowed, *more)))
    with pytest.raises(ZeroDivisionError):
        fit_curve.run(curve("on_own", allow_different=allowed))


def test_segments_are_measured_with_the_data_of_the_first(runs, capsys):
    config = InterpolateConfig(points=("a", "on_own", "small"), num_points=2, t_range="0.2,0.8")
    allowed = ("train_size", "dataset", "validation_size")
    run = interpolate.run(change(config, allow_different=allowed, workdir="segments"))
    assert "All are measured with the data of a (digits, train_size 120)" in capsys.readouterr().err
    assert [line.partition(" ")[2] for line in run.info["different"]][-1] == (
        "and small: --train_size: 120 and 80"
    )
    losses = load("segments").result.networks.metrics["train"]["loss"]
    assert losses[0] == pytest.approx(Run(runs / "a").info["final"]["train"]["loss"], rel=1e-5)
    interpolate.run(change(config, workdir="segments"))  # it is finished
    capsys.readouterr()


REFUSED = [
    (fit_curve, curve("small"), "differ in --train_size: 120 and 80; --allow_different=train_size"),
    (
        fit_curve,
        curve("on_own", allow_different=("dataset",)),
        "--validation_size: 60 and 5; --allow_different=dataset,validation_size joins",
    ),
    (fit_curve, curve("small", allow_different=("width",)), "only differ in dataset, train_size"),
    (
        interpolate,
        InterpolateConfig(points=("a", "small")),
        "a and small do not share a segment: they differ in --train_size: 120 and 80; --allow_diff",
    ),
    (layers, LayersConfig(start="a", end="small"), "share layers: .*--allow_different=train_size"),
    (
        loss_surface,
        SurfaceConfig(points=("a", "small", "on_own")),
        "share a plane: .*--allow_different=train_size",
    ),
    (
        loss_surface,
        SurfaceConfig(points=("a", "small", "a"), allow_different=("train_size",)),
        "--points=a,small,a: a is there twice; a plane needs three points",
    ),
]


@pytest.mark.parametrize(("command", "config", "message"), REFUSED)
def test_the_flag_is_named_before_data_are_read(command, config, message, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_, **__: 1 / 0)
    with pytest.raises(UsageError, match=message):
        command.run(change(config, workdir="new"))


def test_no_remedy_is_named_where_there_is_none(runs):
    copied(runs, "wide", width=0.5, train_size=80)
    with pytest.raises(UsageError, match=r"differ in --train_size: 120 and 80$"):
        fit_curve.run(curve("wide"))
    with pytest.raises(UsageError, match=r"they differ in --width: 0\.25 and 0\.5$"):
        fit_curve.run(curve("wide", allow_different=("train_size",)))
    with pytest.raises(UsageError, match=r"differ in --train_size: 120 and 80$"):
        align.run(AlignConfig(start="a", end="small", workdir="new"))
