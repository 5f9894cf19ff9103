"""Modes and curves on data of one's own: found from anywhere, refused if they have changed."""

import shutil

import numpy as np
import pytest

from experiments import fit_curve, loss_surface, train_mode
from experiments.cli.configs import SurfaceConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import parse_flagfile
from experiments.runs import Run, Status
from experiments.training import fits, make_problem, modes
from mcjax import data

from .small import CURVE, MODE, change, flagfile

OWN = change(MODE, dataset="npz:mine.npz", validation_size=None, epochs=1, keep=())
BETWEEN = change(CURVE, workdir="ab", start="a", end="b.cfg")
AROUND = SurfaceConfig(workdir="s", points=("a",), directions="filter", grid="2")


def write(folder, shift=0):
    digits = data.load("digits", use_test=True)
    train, test = digits.train, digits.test
    np.savez(
        folder / "mine.npz", train_images=train.images, train_labels=train.labels + shift,
        test_images=test.images, test_labels=test.labels,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A mode ``a`` of the file beside it, and the flagfile of another, ``b.cfg``."""
    place = tmp_path_factory.mktemp("own")
    write(place)
    (place / "deep").mkdir()
    flagfile(place / "b.cfg", change(OWN, seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        train_mode.run(change(OWN, workdir="a"))
    return place


@pytest.fixture
def copied(trained, tmp_path, monkeypatch):
    """The current folder: a copy of the run and of the data, whose originals are gone."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (trained / "mine.npz").rename(trained / "hidden.npz")
    yield tmp_path / "copy"
    (trained / "hidden.npz").rename(trained / "mine.npz")


@pytest.mark.slow
def test_path_and_checksum_are_recorded_from_any_folder(trained, monkeypatch):
    name = data.pinned(f"npz:{trained / 'mine.npz'}")
    assert Run(trained / "a").info["flags"]["dataset"] == name
    assert parse_flagfile(type(OWN), trained / "a" / "flags.cfg").dataset == name
    monkeypatch.chdir(trained / "deep")
    fit = fits.check_flags(change(BETWEEN, start="../a", end="../b.cfg", data_dir=".."))
    assert fit.start.mode.dataset == fit.end.mode.dataset == name
    modes.check_flags(change(OWN, workdir="../a", dataset="npz:../mine.npz"))


@pytest.mark.usefixtures("copied")
def test_moved_data_are_the_same_data():
    modes.check_flags(change(OWN, workdir="a"))
    with pytest.raises(UsageError, match=r"no file .*mine\.npz; if it was moved, pass its folder"):
        loss_surface.run(AROUND)
    fit = fits.check_flags(change(BETWEEN, data_dir="."))
    assert fit.start.mode.dataset != fit.end.mode.dataset
    make_problem(fit.start.mode)


@pytest.mark.long
def test_curves_and_surfaces_of_moved_data(copied):
    here = str(copied)
    fit_curve.run(change(BETWEEN, data_dir=here, epochs=1, points=3))
    loss_surface.run(
        change(AROUND, points=("a", "ab/modes/b", "ab"), curve="ab", directions=None, data_dir=here)
    )
    assert Run("ab").status == Run("s").status == Status.DONE


def test_changed_data_are_refused_before_anything_is_written(copied):
    write(copied, shift=1)
    with pytest.raises(
        UsageError, match=r"other flags \(--dataset: npz:.*#crc32=\w{8} there, npz:"
    ):
        train_mode.run(change(OWN, workdir="a"))
    with pytest.raises(UsageError, match=r"mine\.npz has changed since the run recorded it"):
        loss_surface.run(change(AROUND, data_dir=str(copied)))  # no other test reads it
    with pytest.raises(UsageError, match=r"differ in --dataset: npz:.* and npz:"):
        fit_curve.run(BETWEEN)
    assert not any((copied / name).exists() for name in ("s", "ab"))


def test_values_that_do_not_fit_end_before_training(copied):
    write(copied, shift=-1)
    with pytest.raises(UsageError, match=r"mine\.npz: labels\[\d+\] is -1"):
        train_mode.run(change(OWN, workdir="d"))
    assert not (copied / "d").exists()
