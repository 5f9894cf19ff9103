"""The commands on data that do not fit a device."""

import dataclasses
import os

import jax
import numpy as np
import pytest

from experiments import fit_curve, loss_surface, train_mode
from experiments.cli.configs import CurveConfig, ModeConfig, SurfaceConfig
from experiments.runs import restore
from experiments.runs.arrays import load_arrays
from experiments.training import problem as problems
from mcjax.engine import streams
from tests.comparison import assert_same_bits

MODE = ModeConfig(
    dataset="digits", train_size=560, validation_size=90, model="tests.nets:normed",
    batch_size=80, epochs=1, lr=0.1, schedule="constant",
)  # fmt: skip


def assert_same(actual, expected):
    """The same bits as users compile; in haste, XLA rounds by how often a loop runs."""
    if not os.environ["XLA_FLAGS"]:
        assert_same_bits(actual, expected)
        return
    numbers = [[x for x in jax.tree.leaves(tree) if np.asarray(x).dtype.kind == "f"]
               for tree in (actual, expected)]  # fmt: skip
    assert len(numbers[0]) > 4
    for one, other in zip(*numbers, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def modes(folder, data_dir, seeds):
    """Trains modes 0, 1, ... in a folder."""
    for seed in range(seeds):
        config = dataclasses.replace(MODE, workdir=str(folder / f"{seed}"), seed=seed)
        run = train_mode.run(dataclasses.replace(config, data_dir=data_dir))
    return run


def curve_and_surface(folder, data_dir):
    """The arrays of a curve between two modes and of a surface through its middle."""
    modes(folder, data_dir, 2)
    ends = {"start": str(folder / "0"), "end": str(folder / "1"), "data_dir": data_dir}
    curve = CurveConfig(
        workdir=str(folder / "c"), **ends, epochs=1, batch_size=80, points=3, lr=0.05,
        allow_failed=True,
    )  # fmt: skip
    fit_curve.run(curve)
    points = tuple(str(folder / name) for name in "01c")
    config = {"workdir": str(folder / "s"), "grid": "2x2", "data_dir": data_dir}
    loss_surface.run(SurfaceConfig(points=points, **config))
    return load_arrays(folder / "c" / "curve.npz"), load_arrays(folder / "s" / "surface.npz")


@pytest.fixture
def small_device(monkeypatch):
    """``small_device()``: from then on no data fit a device."""

    def start():
        monkeypatch.setattr(streams, "device_limit", lambda: 0.0)
        monkeypatch.setattr(streams, "CHUNK_BYTES", 1)

    return start


@pytest.mark.long
def test_a_mode_of_streamed_data_is_the_same(tmp_path, small_device, capsys):
    resident = modes(tmp_path / "resident", None, 1)
    small_device()
    capsys.readouterr()
    streamed = modes(tmp_path / "streamed", str(tmp_path), 1)  # a problem of its own
    assert (
        "with the train split of 3.55e-05 GiB, the data would take over half"
        in capsys.readouterr().err
    )
    problem = problems.make_problem(dataclasses.replace(MODE, data_dir=str(tmp_path)))
    assert streams.is_streamed(problem.train)
    assert_same(restore(streamed), restore(resident))
    assert_same(streamed.info["final"], resident.info["final"])


@pytest.mark.long
@pytest.mark.usefixtures("png_only")
def test_a_curve_and_a_surface_of_streamed_data_are_the_same(tmp_path, small_device):
    resident = curve_and_surface(tmp_path / "resident", None)
    small_device()
    streamed = curve_and_surface(tmp_path / "streamed", str(tmp_path))
    for arrays, expected in zip(streamed, resident, strict=True):
        assert_same(arrays, expected)
