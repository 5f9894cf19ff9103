"""Surfaces around one checkpoint, along directions."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments import loss_surface
from experiments.landscapes import surface_inputs, surfaces
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.training import make_problem
from mcjax import plots
from tests.surface_runs import make, mode


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    mode(folder, "a", epochs=3, keep=(1, 2), seed=1)
    return folder


def around(runs, workdir, kind, **changes):
    options = {"points": (str(runs / "a"),), "curve": "", "iterates": (), "grid": "5x3"}
    return make(runs, workdir, **options | {"directions": kind} | changes)


@pytest.mark.parametrize("kind", ["random", "filter", "hessian"])
def test_surface_around_a_checkpoint(runs, tmp_path, kind, monkeypatch):
    drawn = []
    monkeypatch.setattr(surfaces, "draw", lambda arrays, *_: drawn.append(arrays) or [])
    folder = loss_surface.run(around(runs, tmp_path, kind, extent=0.05))
    arrays = load_arrays(folder.path / "surface.npz")
    assert arrays["point_name"][0] == "a"
    own = Run(runs / "a").info["final"]["train"]["loss"]
    np.testing.assert_allclose(arrays["train_loss"][1, 2], own, rtol=1e-5)
    reach = 0.05 * arrays["direction_norm"]
    np.testing.assert_allclose(arrays["x"], np.linspace(-1, 1, 5) * reach[0], rtol=1e-5)
    np.testing.assert_allclose(arrays["y"], np.linspace(-1, 1, 3) * reach[1], rtol=1e-5)
    if kind == "hessian":  # the loss curves upwards as the eigenvalues say
        np.testing.assert_allclose(arrays["direction_norm"], 1, rtol=1e-5)
        for line, step, value in (
            (arrays["train_loss"][1, ::2], 0.05, arrays["eigenvalues"][0]),
            (arrays["train_loss"][:, 2], 0.05, arrays["eigenvalues"][1]),
        ):
            second = (line[0] - 2 * line[1] + line[2]) / step**2
            assert 0.9 < second / value < 1.6  # ReLUs' corners are not in the Hessian
        assert arrays["eigenvalues"][0] > arrays["eigenvalues"][1]
        assert arrays["residuals"].max() < 1e-2
    with plots.style():
        figure, ax = plt.subplots()
        plots.surface(ax, drawn[0], "train_loss")
    assert ax.get_xlabel() == f"weight distance along {arrays['point_name'][1]}"
    assert not ax.get_legend_handles_labels()[1]  # no segment to a point that is no network
    plt.close(figure)


def load(config):
    found = surface_inputs.resolve(config)
    return surface_inputs.load(config, found, make_problem(found.mode))


@pytest.mark.slow
def test_directions_of_flags(runs, tmp_path):
    def ways(kind, **changes):
        points = load(around(runs, tmp_path, kind, **changes)).points
        leaves = [jax.tree.leaves(p) for p in points]
        return [np.asarray(b - a) for a, b in zip(leaves[0], leaves[1], strict=True)], leaves[0]

    filtered, weights = ways("filter")
    for d, w in zip(filtered, weights, strict=True):
        expected = np.linalg.norm(w, axis=0) if w.ndim > 1 else np.zeros(len(w))
        found = np.linalg.norm(d, axis=0) if w.ndim > 1 else d
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    everything, _ = ways("random", ignore_vectors=False)
    assert all(d.any() for d in everything)
    again, other = ways("filter")[0], ways("filter", direction_seed=1)[0]
    assert all(np.array_equal(a, b) for a, b in zip(filtered, again, strict=True))
    assert not np.allclose(filtered[-1], other[-1])


def test_principal_directions_of_iterates(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(surfaces, "draw", lambda *_: [])
    config = around(runs, tmp_path, "pca", points=(), iterates=(str(runs / "a"),))
    arrays = load_arrays(loss_surface.run(config).path / "surface.npz")
    assert "explained variance ratio" in capsys.readouterr().out
    np.testing.assert_allclose(arrays["explained_variance_ratio"].sum(), 1)  # of three iterates
    np.testing.assert_allclose(arrays["iterate_distance"], 0, atol=1e-4)
    np.testing.assert_allclose(arrays["iterate_variance_share"], 1, rtol=1e-4)
    np.testing.assert_allclose(arrays["iterate_xy"][-1], 0, atol=1e-4)
    np.testing.assert_allclose(
        np.cov(arrays["iterate_xy"].T), np.diag(arrays["explained_variance"]), atol=1e-4
    )
    assert arrays["explained_variance"].min() > 0.01
    assert arrays["point_name"][0] == "a@3"
    for axis, seen in zip("xy", arrays["iterate_xy"].T, strict=True):
        assert arrays[axis][0] < seen.min()
        assert arrays[axis][-1] > seen.max()
