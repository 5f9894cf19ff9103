"""The commands on data that do not fit a device."""

import dataclasses

import numpy as np
import pytest

from experiments import fit_curve, loss_surface, train_mode
from experiments.cli.configs import CurveConfig, ModeConfig, SurfaceConfig
from experiments.runs.arrays import load_arrays
from experiments.training import problem as problems
from mcjax.engine import streams

MODE = ModeConfig(
    dataset="digits", train_size=560, validation_size=90, model="tests.nets:normed",
    batch_size=80, epochs=1, lr=0.1, schedule="constant",
)  # fmt: skip


def made(folder, data_dir):
    """The arrays of a curve between two modes and of a surface through its middle."""
    folder.mkdir()
    for seed, name in enumerate("ab"):
        train_mode.run(
            dataclasses.replace(MODE, workdir=str(folder / name), seed=seed, data_dir=data_dir)
        )
    ends = {"start": str(folder / "a"), "end": str(folder / "b"), "data_dir": data_dir}
    fit_curve.run(
        CurveConfig(workdir=str(folder / "ab"), **ends, epochs=1, batch_size=80, points=3, lr=0.05,
                    allow_failed=True)
    )  # fmt: skip
    points = tuple(str(folder / name) for name in ("a", "b", "ab"))
    surface = SurfaceConfig(workdir=str(folder / "s"), points=points, grid="2x2", data_dir=data_dir)
    loss_surface.run(surface)
    return load_arrays(folder / "ab" / "curve.npz"), load_arrays(folder / "s" / "surface.npz")


@pytest.mark.usefixtures("png_only")
def test_a_mode_a_curve_and_a_surface_of_streamed_data_are_the_same(tmp_path, monkeypatch, capsys):
    resident = made(tmp_path / "resident", None)
    monkeypatch.setattr(streams, "device_limit", lambda: 0.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 1)
    capsys.readouterr()
    streamed = made(tmp_path / "streamed", str(tmp_path))  # a problem of its own
    assert "the train split takes 3.55e-05 GiB, over half" in capsys.readouterr().err
    problem = problems.make_problem(dataclasses.replace(MODE, data_dir=str(tmp_path)))
    assert streams.is_streamed(problem.train)
    for arrays, expected in zip(streamed, resident, strict=True):
        assert arrays.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(arrays[name], expected[name], name)
