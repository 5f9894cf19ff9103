"""Curves and surfaces of networks that were imported from PyTorch."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import align, fit_curve
from experiments.cli.configs import AlignConfig, SurfaceConfig
from experiments.landscapes import surface_inputs
from experiments.runs import load_result
from experiments.runs.folder import Run
from mcjax.results import Profile
from tests import torch_runs
from tests.torch_runs import CURVE, check_curve, exported, imported


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return torch_runs.trained(tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def curve(trained):
    """A curve between the two, imported."""
    start, end = (imported(trained, f"{n}.safetensors", trained / f"from_{n}").path for n in "ab")
    config = dataclasses.replace(
        CURVE, start=str(start), end=f"{end}@4", workdir=str(trained / "curve")
    )
    return fit_curve.run(config)


@pytest.mark.long
@pytest.mark.parametrize("method", ["weights", "activations"])
def test_an_imported_network_aligns_and_is_exported(trained, curve, tmp_path, method):
    """Batch norm's averages are permuted along; it corrects every path, so there is no third."""
    start, end = curve.info["flags"]["start"], curve.info["flags"]["end"]
    run = align.run(
        AlignConfig(start=start, end=end, workdir=str(tmp_path / "run"), method=method, points=3)
    )
    exported(tmp_path, str(run.path), "aligned.safetensors", trained / "names")
    here, there = (folder / name for folder, name in ((tmp_path, "aligned.safetensors"),
                                                      (trained, "a.safetensors")))  # fmt: skip
    assert here.read_bytes() == there.read_bytes()
    facts = json.loads((run.path / "align.json").read_text())
    assert facts["correction"].startswith("batch norm's statistics")
    assert (facts["moved"], facts["units"]) == (1, 12)
    assert facts["barriers"]["repaired"] == facts["barriers"]["after"]
    assert facts["barriers"]["after"]["train"]["loss"]["over_max"] == pytest.approx(0, abs=1e-6)
    assert facts["barriers"]["before"]["train"]["loss"]["over_max"] > 0.05
    assert list(load_result(Profile, run.path / "align.npz").paths) == ["before", "after"]
    assert run.info["imported"]["file"] == "b.safetensors"


@pytest.mark.long
def test_curves_take_it(curve, trained, capsys):
    """With its own metrics at the ends; of its seed nothing is known or said."""
    with np.load(curve.path / "curve.npz") as arrays:
        for split, metrics in Run(trained / "a").info["final"].items():
            for name in metrics if split != "params" else ():
                ends_of_curve = arrays[f"curve_{split}_{name}"][[0, -1]]
                np.testing.assert_allclose(ends_of_curve, metrics[name], rtol=1e-5)
    capsys.readouterr()
    check_curve(
        dataclasses.replace(
            CURVE, start=str(trained / "from_a"), end=str(trained / "from_b"), workdir="/nowhere"
        )
    )
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_surfaces_take_it(curve, trained):
    """With the epoch that it was said to be of."""
    points = (str(trained / "from_a"), str(trained / "from_b@4"), str(curve.path))
    found = surface_inputs.resolve(SurfaceConfig(points=points, iterates=(points[0],)))
    assert found.iterates == ((f"{points[0]}@4", 4),)


@pytest.mark.long
def test_point_of_a_curve_has_its_own_statistics(curve, trained, tmp_path):
    """What its importer sees with the averages of the file is what the evaluator recomputes."""
    exported(trained, f"{curve.path}~0.25", "middle.safetensors")
    info = imported(trained, "middle.safetensors", tmp_path / "run").info
    with np.load(curve.path / "curve.npz") as arrays:
        assert arrays["t"][1] == 0.25
        for split in ("train", "validation"):
            averages = info["final_with_running_averages"][split]
            assert averages["loss"] == pytest.approx(arrays[f"curve_{split}_loss"][1], rel=1e-5)
            assert averages == pytest.approx(info["final"][split], rel=1e-5)
