"""The worked examples, small: the curve is lower than the segment, and drawn where it is said."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx

from experiments.examples import (
    dropout_linen,
    dropout_nnx,
    equinox_mlp,
    language_model,
    linen,
    nnx,
    shared,
)
from mcjax import api, curves
from mcjax.engine import classification, interop, parallel

ALL = [linen, nnx, equinox_mlp, language_model, dropout_linen, dropout_nnx]


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """As on a user's machine: one device, since eight would be slow, and optax's own promotion."""
    mesh = parallel.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(parallel, "make_mesh", lambda: mesh)
    with interop.standard_promotion():
        yield


def check(found, said):
    segment, curve = (path.barriers["train"]["loss"] for path in (found.segment, found.curve))
    for name, height in (("segment", segment), ("curve", curve)):
        assert f"{name}: barrier of {height.over_max:.3g} " in said
    ends = [path.metrics["train"]["loss"][[0, -1]] for path in (found.curve, found.segment)]
    np.testing.assert_allclose(*ends, rtol=1e-5)
    assert segment.over_max > 0.2
    assert curve.over_max < 0.5 * segment.over_max
    low, high = (path.metrics["validation"]["loss"].max() for path in (found.curve, found.segment))
    assert low < high


@pytest.mark.parametrize(
    ("example", "options"),
    [
        pytest.param(nnx, {"epochs": 4}, marks=pytest.mark.long),
        pytest.param(equinox_mlp, {"epochs": 4}, marks=pytest.mark.long),
        pytest.param(language_model, {"epochs": 1, "points": 3}, marks=pytest.mark.long),
    ],
)
def test_the_curve_is_lower_than_the_segment(example, options, capsys):
    found = example.main(**options)
    check(found, capsys.readouterr().out)
    if example is language_model:
        metrics = found.curve.metrics["validation"]
        np.testing.assert_allclose(metrics["perplexity"], np.exp(metrics["loss"]))


def init(example):
    if example is dropout_nnx:
        return flax_nnx.state(example.Net(flax_nnx.Rngs(0)), flax_nnx.Param)
    return example.Net().init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), False)["params"]


@pytest.mark.long
@pytest.mark.parametrize("example", [dropout_nnx, dropout_linen])
def test_dropout_is_on_in_training_only_and_f1_is_measured(example, capsys):
    metrics = example.main(epochs=2, points=3).curve.metrics
    train = metrics["train"]
    assert train["loss"].shape == metrics["validation"]["F1"].shape == (3,)
    assert 0.5 < train["F1"].min() <= train["F1"].max() < 1
    np.testing.assert_allclose(train["F1"], train["accuracy"], atol=0.1)
    assert set(train) == {"loss", "accuracy", "F1"}
    images, labels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 1)), np.zeros(2, int)
    batch = {"images": images.astype(np.float32), "labels": labels}
    params = init(example)
    losses = [example.loss(params, batch, jax.random.key(i)) for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_f1_is_that_of_scikit_learn():
    """Over batches of unequal size; one class has no example, and counts as 0 there, too."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(23, 4)).astype(np.float32), rng.integers(0, 3, 23)
    from sklearn.metrics import f1_score

    objective = classification.cross_entropy(lambda params, batch: batch["x"])
    data = {"x": logits, "labels": labels}
    weights = (np.zeros(1, np.float32), np.ones(1, np.float32))
    found = api.profile(
        objective, curves.segment(), weights, data, points=2, batch_size=10, metrics=shared.F1
    )
    expected = f1_score(labels, logits.argmax(1), average="macro", labels=range(4))
    np.testing.assert_allclose(found.segment.metrics["train"]["F1"], [expected] * 2, rtol=1e-6)


@pytest.mark.long
def test_the_plane_and_the_figures_too(tmp_path, capsys):
    profile, plane = linen.main(str(tmp_path / "drawn"), epochs=4, grid=(3, 2))
    check(profile, capsys.readouterr().out)
    assert plane.metrics["train"]["loss"].shape == (2, 3)
    names = {f"drawn{what}{kind}" for what in ("", "_surface") for kind in (".png", ".pdf", ".svg")}
    assert {file.name for file in tmp_path.iterdir()} == names


@pytest.mark.long
@pytest.mark.parametrize("example", ALL)
def test_examples_in_full(example, capsys):
    found = example.main()
    check(found[0] if example is linen else found, capsys.readouterr().out)


@pytest.mark.parametrize("example", ALL)
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
