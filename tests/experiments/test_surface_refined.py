"""`experiments.loss_surface --refine`."""

import dataclasses
import os
import signal

import numpy as np
import pytest

from experiments import loss_surface
from experiments.cli import errors
from experiments.cli.errors import UsageError
from experiments.landscapes import surfaces
from experiments.runs import load_result
from mcjax.analysis import surfaces as surface_analysis
from mcjax.results import Surface
from tests.comparison import assert_same_bits
from tests.surface_runs import modes, through_modes


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return modes(tmp_path_factory.mktemp("runs"))


def config_of(runs, workdir, **changes):
    return through_modes(
        runs, workdir, **{"iterates": (), "grid": "13x11", "refine": 0.1} | changes
    )


def load(folder):
    return load_result(Surface, folder / "surface.npz")


def test_an_interrupted_run_goes_on_to_the_same_arrays(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    plain, calls = surface_analysis.evaluate_points, []

    def evaluate(*args, **options):
        calls.append(len(args[3]))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **options)

    monkeypatch.setattr(surface_analysis, "evaluate_points", evaluate)
    config = config_of(runs, tmp_path / "cut")
    with pytest.raises(errors.Interrupted):
        loss_surface.run(config)
    assert len(list((tmp_path / "cut" / "rounds").iterdir())) == 2
    loss_surface.run(config)
    resumed = sum(calls)
    loss_surface.run(config_of(runs, tmp_path / "whole"))
    assert sum(calls) == 2 * resumed  # no round was evaluated twice
    cut, whole = load(tmp_path / "cut"), load(tmp_path / "whole")
    assert_same_bits(cut.to_arrays(), whole.to_arrays())
    found = cut.refinement
    assert (found.tolerance, found.evaluated.sum()) == (0.1, resumed)
    assert not (tmp_path / "cut" / "rounds").exists()
    text = capsys.readouterr().out
    assert f"refined  {resumed} of 143 points evaluated; interpolation missed 24 random" in text

    full = dataclasses.replace(config, refine=None)
    loss_surface.run(full)  # reevaluated
    every = load(tmp_path / "cut")
    assert every.refinement is None
    here = found.evaluated
    one, other = (s.metrics["validation"]["loss"] for s in (cut, every))
    np.testing.assert_array_equal(one[here], other[here])
    assert (one[~here] != other[~here]).any()
    assert load(next((tmp_path / "cut" / "earlier").iterdir())).refinement is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refine": 0.0}, "--refine=0.0: use a share of the range, such as 0.02"),
        ({"refine": 1.5}, "--refine=1.5: use a share"),
        ({"refine": 0.1, "save_logits": ("train",)}, "--save_logits needs every point"),
    ],
)
def test_wrong_flags(runs, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        loss_surface.run(config_of(runs, tmp_path, **changes))
