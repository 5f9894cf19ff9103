import dataclasses
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments import sharpness
from experiments.cli import errors, flags
from experiments.cli.configs import CurveConfig, ModeConfig, SharpnessConfig
from experiments.cli.errors import UsageError
from experiments.landscapes import sharpness as measured
from experiments.runs import load_curve, open_checkpoints, open_ends
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.training import problem as problems
from mcjax import curves, plots
from mcjax.analysis import hessian
from mcjax.results import PointSharpness, Sharpness
from tests.comparison import assert_same_bits

long = (
    pytest.mark.long
)  # eigenvalues of a network; tests/mcjax/analysis/test_hessian.py has short samples

MODE = ModeConfig(
    dataset="digits", model="mlp", width=0.06, downsample=4, train_size=120, validation_size=60
)  # fmt: skip


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """Of a chain with a bend off the segment."""
    problem = problems.make_problem(MODE)
    points = (problems.init(problem, MODE, jax.random.key(i))[0] for i in range(3))
    return save_curve(tmp_path_factory.mktemp("runs"), *points)


def save_curve(folder, start, bend, end):
    """A folder as `fit_curve` leaves it, and one of its mode."""
    mode, run = Run(folder / "a"), Run(folder / "ab")
    mode.open("mode", MODE, steps_per_epoch=1)
    run.open("curve", CurveConfig(), steps_per_epoch=1, mode=flags.identity(MODE))
    with open_checkpoints(mode) as saved:
        saved.save(1, {"params": start, "model_state": {}})
    with open_checkpoints(run) as saved:
        saved.save(1, {"params": (bend,), "model_state": {}})
    with open_ends(run) as saved:
        saved.save(0, {"start": start, "end": end})
    for one in (mode, run):
        one.update(status="done")
    return run.path


def make(curve, workdir, **changes):
    return SharpnessConfig(
        workdir=str(workdir), **{"curve": str(curve), "points": 4, "eigenvalues": 2} | changes
    )


@pytest.fixture(scope="module")
def done(curve, tmp_path_factory):
    return sharpness.run(make(curve, tmp_path_factory.mktemp("sharpness") / "whole"))


def whole_hessian(params):
    """The whole Hessian of the mean cross-entropy of the training images, and that loss."""
    problem = problems.make_problem(MODE)
    data = problem.dataset.train
    images = jnp.float32((data.images / 255 - problem.mean) / problem.std)
    vector, unravel = ravel_pytree(params)

    def loss(vector):
        logits = problem.model.apply({"params": unravel(vector)}, images, False)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(images)), data.labels])

    return jax.jit(jax.hessian(loss))(vector), jax.jit(loss)(vector)


@long
def test_eigenvalues_are_those_of_the_whole_hessian(done, curve):
    arrays = load_arrays(done.path / "sharpness.npz")
    np.testing.assert_allclose(arrays["t"], [0, 1 / 3, 2 / 3, 1])
    assert arrays["eigenvalues"].shape == arrays["residuals"].shape == (4, 2)
    family, points, _ = load_curve(Run(curve))
    matrix, loss = whole_hessian(curves.point(family, points, 1 / 3))
    expected = np.linalg.eigvalsh(np.asarray(matrix, np.float64))[::-1][:2]
    assert expected[0] > 1.02 * expected[1] > 0
    np.testing.assert_allclose(arrays["eigenvalues"][1], expected, rtol=1e-3)
    np.testing.assert_allclose(arrays["train_loss"][1], loss, rtol=1e-5)
    assert done.status == "done"
    assert not (done.path / "points").exists()
    for suffix in ("png", "pdf"):
        assert (done.path / "figures" / f"sharpness.{suffix}").exists()


def test_every_point_has_its_place(curve, tmp_path, monkeypatch):
    """With the squared norm of the point in the place of the eigenvalues."""
    family, points, _ = load_curve(Run(curve))
    norm = lambda c: curves.squared_norm(curves.combine(points, c))  # noqa: E731

    def measure(evaluator, points, coefficients, state, count, *, progress, skip):
        for index, row in enumerate(coefficients):
            values = np.array([norm(row), 0.5 * norm(row)])[:count]
            yield index, PointSharpness(values, values, row[0])

    monkeypatch.setattr(hessian, "sharpness", measure)
    monkeypatch.setattr(plots, "save", lambda figure, stem: stem)
    run = sharpness.run(make(curve, tmp_path / "s"))
    arrays = load_arrays(run.path / "sharpness.npz")
    np.testing.assert_allclose(arrays["t"], [0, 1 / 3, 2 / 3, 1])
    expected = [float(norm(family.coefficients(t))) for t in arrays["t"]]
    np.testing.assert_allclose(arrays["eigenvalues"][:, 0], expected, rtol=1e-5)
    assert arrays["eigenvalues"].shape == arrays["residuals"].shape == (4, 2)
    assert run.status == "done"


@long
def test_done_is_found_done(done, curve, monkeypatch, capsys):
    monkeypatch.setattr(hessian, "sharpness", None)
    config = flags.parse_flagfile(SharpnessConfig, done.path / "flags.cfg")
    assert config == make(curve, done.path)
    sharpness.run(config)
    assert "largest eigenvalue: start " in capsys.readouterr().out
    with pytest.raises(UsageError, match="--points: 4 there, 5 now"):
        sharpness.run(make(curve, done.path, points=5))


@long
def test_interrupted_run_goes_on_to_the_same_arrays(done, curve, tmp_path, monkeypatch):
    plain, asked = hessian.eigenpairs, []

    def eigenpairs(*args, **options):
        asked.append(1)
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)  # in the midst of the second point
        return plain(*args, **options)

    monkeypatch.setattr(hessian, "eigenpairs", eigenpairs)
    config = make(curve, tmp_path)
    with pytest.raises(errors.Interrupted):
        sharpness.run(config)
    assert [file.name for file in (tmp_path / "points").glob("*.npz")] == ["0000.npz"]
    assert Run(tmp_path).status == "running"
    norms = Run(tmp_path).info["control_l2"]
    Run(tmp_path).update(control_l2=[0.0, *norms[1:]])  # as if the curve had been another one
    with pytest.raises(UsageError, match="was retrained after"):
        sharpness.run(config)
    Run(tmp_path).update(control_l2=norms)
    sharpness.run(config)
    assert len(asked) == 5
    expected, found = (load_arrays(p / "sharpness.npz") for p in (done.path, tmp_path))
    assert_same_bits(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curve": ""}, "--curve is missing"),
        ({"workdir": ""}, "--workdir is missing"),
        ({"curve": "a"}, "a holds a mode; write RUN"),
        ({"curve": "ab~0.5"}, "write RUN"),
        ({"curve": "nowhere"}, "no run at"),
        ({"curve": "ab@9"}, "no checkpoint of epoch 9"),
        ({"points": 1}, "--points=1"),
        ({"eigenvalues": 0}, "--eigenvalues=0"),
        ({"eigenvalues": 10**6}, "--eigenvalues=1000000: the network has [0-9]+ parameters"),
    ],
)
def test_wrong_input_leaves_no_run(curve, tmp_path, changes, message):
    if changes.get("curve"):
        changes = {"curve": str(curve.parent / changes["curve"])}
    config = dataclasses.replace(make(curve, tmp_path / "s"), **changes)
    with pytest.raises(UsageError, match=message) as error:
        sharpness.run(config)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s").exists()


def test_summary_of_points_without_eigenvalues():
    values = np.array([[np.nan, np.nan], [3.0, 1.0], [5.0, 2.0]])
    found = Sharpness(np.array([0, 0.5, 1]), values, values / 100, np.zeros(3))
    text = measured.summarize(found)
    assert "3 (t=0.50) to 5 (t=1.00)" in text
    assert "residuals at most 0.05; not found at 1 of 3 points" in text
    nothing = found._replace(eigenvalues=np.full_like(values, np.nan))
    assert measured.summarize(nothing) == "largest eigenvalue: not found at any point"
