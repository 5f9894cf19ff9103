"""The worked examples, small: the curve is lower than the segment, and drawn where it is said."""

import inspect
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.examples import equinox_mlp, language_model, linen, nnx, shared
from mcjax import parallel


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """As on a user's machine; eight devices of two cores would only be slow."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(parallel, "make_mesh", lambda: mesh)


def check(arrays, said):
    for path in ("segment", "curve"):
        assert f"{path}: barrier of {arrays[f'{path}_train_loss_over_max']:.3g} " in said
    np.testing.assert_allclose(
        arrays["curve_train_loss"][[0, -1]], arrays["segment_train_loss"][[0, -1]], rtol=1e-5
    )
    assert arrays["segment_train_loss_over_max"] > 0.2
    assert arrays["curve_train_loss_over_max"] < 0.5 * arrays["segment_train_loss_over_max"]
    assert arrays["curve_validation_loss"].max() < arrays["segment_validation_loss"].max()


@pytest.mark.parametrize(
    ("example", "options"),
    [
        (nnx, {"epochs": 4}),
        pytest.param(equinox_mlp, {"epochs": 4}, marks=pytest.mark.long),
        pytest.param(language_model, {"epochs": 1, "points": 3}, marks=pytest.mark.long),
    ],
)
def test_the_curve_is_lower_than_the_segment(example, options, capsys):
    check(example.main(**options), capsys.readouterr().out)


@pytest.mark.long
def test_the_plane_and_the_figures_too(tmp_path, capsys):
    arrays = linen.main(str(tmp_path / "drawn"), epochs=4, grid=(3, 2))
    check(arrays, capsys.readouterr().out)
    assert arrays["train_loss"].shape == (2, 3)
    names = {f"drawn{what}{kind}" for what in ("", "_surface") for kind in (".png", ".pdf", ".svg")}
    assert {file.name for file in tmp_path.iterdir()} == names


@pytest.mark.long
@pytest.mark.long
@pytest.mark.parametrize("example", [linen, nnx, equinox_mlp, language_model])
def test_examples_in_full(example, capsys):
    check(example.main(), capsys.readouterr().out)


@pytest.mark.parametrize("example", [linen, nnx, equinox_mlp, language_model])
def test_examples_are_short(example):
    assert len(inspect.getsource(example).splitlines()) < 60


def test_the_text_ships_with_the_language_model():
    text = (Path(language_model.__file__).parent / "austen.txt").read_text("ascii")
    assert 50_000 < len(text) < 100_000


def test_the_command_line_passes_the_figure(monkeypatch):
    got = {}
    monkeypatch.setattr("sys.argv", ["example", "--figure=here"])
    shared.command(lambda **options: got.update(options), "doc")
    assert got == {"figure": "here"}
