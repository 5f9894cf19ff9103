"""Interrupted runs resume bit for bit; forks continue with other flags."""

import contextlib
import os
import shutil
import signal

import pytest

from experiments import fit_curve, train_mode
from experiments.cli import errors
from experiments.cli.configs import ModeConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.runs import add_metrics, open_checkpoints
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from mcjax.engine import training
from tests.comparison import assert_same_bits

from .small import (
    CURVE,
    MODE,
    change,
    curve_config,
    lines_of,
    tree_of,
)

pytestmark = pytest.mark.usefixtures("png_only")


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
        with pytest.raises(errors.Interrupted, match="run the same command to resume") as caught:
            yield
    assert caught.value.signum == signum


def newest(run):
    with open_checkpoints(run, read_only=True) as saved:
        return saved.steps()[-1]


@pytest.mark.long
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


@pytest.mark.slow
def test_a_curve_does_not_go_on_between_other_modes(base, tmp_path, monkeypatch):
    """The end was retrained, in the same place, after the curve was stopped."""
    shutil.copytree(base / "G", tmp_path / "G")
    config = change(
        CURVE, workdir=str(tmp_path / "GB"), start=str(tmp_path / "G"), end=str(base / "B")
    )
    with stopped_at(monkeypatch, 7):
        fit_curve.run(config)
    shutil.rmtree(tmp_path / "G")
    train_mode.run(change(MODE, workdir=str(tmp_path / "G"), seed=3))
    with pytest.raises(UsageError, match="--start has been retrained"):
        fit_curve.run(config)


@pytest.mark.long
def test_a_fork_resumes_with_other_flags(base, tmp_path):
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
