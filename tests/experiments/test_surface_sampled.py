"""`experiments.loss_surface --examples`."""

import dataclasses
import os
import re
import signal

import numpy as np
import pytest

from experiments import loss_surface
from experiments.cli import errors
from experiments.cli.errors import UsageError
from experiments.landscapes import surface_rows, surfaces
from experiments.runs import load_result
from mcjax.results import Surface
from tests.comparison import assert_same_bits
from tests.surface_runs import modes, through_modes


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return modes(tmp_path_factory.mktemp("runs"))


def config_of(runs, workdir, **changes):
    return through_modes(runs, workdir, **{"examples": 100} | changes)


def load(folder):
    return load_result(Surface, folder / "surface.npz")


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_standard_errors(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    plain = surface_rows.save_arrays

    def save(file, arrays):
        plain(file, arrays)
        os.kill(os.getpid(), signal.SIGTERM)

    config = config_of(runs, tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(surface_rows, "save_arrays", save)
        with pytest.raises(errors.Interrupted):
            loss_surface.run(config)
    loss_surface.run(config)
    text = capsys.readouterr().out
    assert "sampled  examples of each split: 100 of 200 train, 60 of 60 validation" in text
    assert "sampled  train loss: standard error" in text
    assert "sampled  validation loss" not in text  # it is exact
    assert re.search(r"^point .*train loss [\d.]+ ± [\d.e-]+, validation loss [\d.]+$", text, re.M)
    loss_surface.run(config_of(runs, tmp_path / "whole"))
    part = load(tmp_path / "cut")
    assert_same_bits(part.to_arrays(), load(tmp_path / "whole").to_arrays())
    assert part.sampling.examples == {"train": (100, 200), "validation": (60, 60)}

    loss_surface.run(dataclasses.replace(config, examples=None))  # reevaluated
    every = load(tmp_path / "cut")
    assert every.sampling is None
    away = part.metrics["train"]["loss"] - every.metrics["train"]["loss"]
    error = part.sampling.errors["train"]["loss"]
    assert (np.abs(away) < 4 * error).all()
    assert np.abs(away).max() > 0
    own = part.points.errors["train"]["loss"]
    assert own.shape == (3,)
    assert (own > 0).all()


@pytest.mark.slow
def test_points_below_a_loss_are_measured_on_all_examples(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    found = []
    for name, changes in (("part", {"stop_above": 3.0}), ("every", {"examples": None})):
        loss_surface.run(config_of(runs, tmp_path / name, grid="7", margin=2.0, **changes))
        found.append(load(tmp_path / name))
    error = found[0].sampling.errors["train"]["loss"]
    whole = error == 0
    assert 0 < whole.sum() < whole.size
    assert f"sampled  {whole.sum()} of 49 points were measured on all" in capsys.readouterr().out
    loss, exact = (s.metrics["train"]["loss"] for s in found)
    np.testing.assert_array_equal(loss[whole], exact[whole])
    assert (loss[~whole] - 3 * error[~whole] > 3).all()
    assert whole[exact < 3].all()


@pytest.mark.slow
def test_directions_are_of_all_examples(runs, tmp_path, monkeypatch):
    """Eigenvectors of the Hessian do not depend on the sample; what is measured does."""
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    options = {"points": (str(runs / "a"),), "iterates": (), "directions": "hessian", "grid": "2"}
    found = []
    for name, examples in (("part", 100), ("every", None)):
        loss_surface.run(config_of(runs, tmp_path / name, examples=examples, **options))
        found.append(load(tmp_path / name))
    one, other = found
    np.testing.assert_array_equal(one.directions.eigenvalues, other.directions.eigenvalues)
    assert (one.metrics["train"]["loss"] != other.metrics["train"]["loss"]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"examples": 39}, "--examples=39: use 40 or more"),
        ({"examples": None, "stop_above": 2.0}, "--stop_above needs --examples"),
        ({"stop_above": -2.0}, "--stop_above=-2.0: use a positive loss"),
        ({"save_logits": ("train",)}, "--save_logits needs every example: leave out --examples"),
    ],
)
def test_wrong_flags(runs, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        loss_surface.run(config_of(runs, tmp_path, **changes))
