"""Modes and curves that do not train."""

import numpy as np
import pytest

from experiments import fit_curve, landscapes, train_mode
from experiments.cli import errors
from experiments.cli.errors import UsageError
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run

from .small import MODE, change, curve_config, flagfile, own_metrics, profile_of

pytestmark = pytest.mark.usefixtures("png_only")


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
    with pytest.raises(UsageError, match="has no checkpoint: its status is failed"):
        fit_curve.run(change(config, allow_failed=True))
    assert not (tmp_path / "GX" / "curve.npz").exists()


@pytest.mark.long
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
    with pytest.raises(errors.RunFailed, match="--allow_failed connects it anyway"):
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


@pytest.mark.slow
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


def test_a_summary_says_how_many_points_are_broken():
    summary = landscapes.profiles.summarize(profile_of([1.0, np.nan, np.inf, 0.5]))
    assert summary.count("2 of 4 points are not finite") == 2
    assert summary.count("barrier yes (inf") == 2
