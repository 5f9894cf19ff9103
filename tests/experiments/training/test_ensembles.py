"""Ensembles of the points of a curve, and of modes given by the user."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fit_curve, train_mode
from experiments.cli.errors import UsageError
from experiments.runs import load_point
from experiments.runs.arrays import load_arrays
from experiments.runs.folder import Run
from experiments.runs.names import parse_name
from experiments.training import problem as problems

from .small import MODE, change, curve_config

pytestmark = pytest.mark.usefixtures("png_only")


def own_probabilities(name):
    """A point's predictions on the validation split, from its parameters and the images."""
    point, problem = load_point(parse_name(name)), problems.make_problem(MODE)
    data = problem.dataset.validation
    images = (data.images / 255 - problem.mean) / problem.std
    logits = problem.model.apply({"params": point.params}, jnp.float32(images), False)
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(axis=1, keepdims=True), data.labels


def nll_and_accuracy(probabilities, labels):
    mean = np.mean(probabilities, axis=0)
    right = mean[np.arange(len(labels)), labels]
    return {
        "nll": pytest.approx(-np.log(right).mean(), rel=1e-5),
        "accuracy": (mean.argmax(axis=1) == labels).mean(),
    }


@pytest.fixture
def curve(base):
    """The folder of the curve GB; what a test changes in its ``run.json`` is undone."""
    file = base / "GB" / "run.json"
    before = file.read_bytes()
    yield file.parent
    file.write_bytes(before)


@pytest.mark.long
def test_ensembles_of_a_curve(base, curve):
    other = str(base / "G@2")
    fit_curve.run(curve_config(base, ensemble_with=(other,)))
    facts = Run(curve).info["ensembles"]
    assert facts["with"] == [other]
    rows = {row["members"]: row for row in facts["rows"]}
    points = [own_probabilities(f"{curve}~{t}")[0] for t in np.linspace(0, 1, 11).round(1)]
    alone, labels = own_probabilities(other)
    expected = {
        "start": points[:1], "end": points[-1:], "middle": [points[5]],
        "both ends": [points[0], points[-1]], "curve, 3 points": points[::5],
        "curve, 6 points": points[::2], "curve, 11 points": points, f"mode {other}": [alone],
        "3 modes": [points[0], points[-1], alone],
    }  # fmt: skip
    assert list(rows) == list(expected)
    for name, networks in expected.items():
        assert rows[name]["networks"] == len(networks)
        for metric, value in nll_and_accuracy(networks, labels).items():
            assert rows[name][metric] == value, (name, metric)
        assert 0 < rows[name]["ece"] < 1
    arrays = load_arrays(curve / "curve.npz")
    for name, index in (("start", 0), ("middle", 4), ("end", -1)):
        loss = arrays["curve_validation_loss"][index]
        assert rows[name]["nll"] == pytest.approx(loss, rel=1e-5)
        assert rows[name]["accuracy"] == pytest.approx(
            arrays["curve_validation_accuracy"][index], rel=1e-6
        )
    fit_curve.run(curve_config(base))  # what was asked for before stays
    assert Run(curve).info["ensembles"] == facts


def test_a_done_run_without_ensembles_stays_so(base, tmp_path):
    shutil.copytree(base / "GB", tmp_path / "GB")
    run = Run(tmp_path / "GB")
    info = {name: value for name, value in run.info.items() if name != "ensembles"}
    (run.path / "run.json").unlink()
    run.update(**info)
    shutil.rmtree(run.path / "checkpoints")
    fit_curve.run(curve_config(base, workdir=str(run.path), ensemble_with=()))
    assert run.status == "done"
    assert "ensembles" not in run.info
    assert len(run.info["summary"].splitlines()) == 3


@pytest.mark.long
def test_wrong_modes_for_an_ensemble(base, tmp_path):
    other = train_mode.run(change(MODE, width=0.3, epochs=1, keep=(), workdir=str(tmp_path / "o")))
    for names, message in (
        ((other.path,), "differs from --start in --width"),
        (("none",), "no run at"),
        ((base / "G", base / "G"), "is named twice"),
        ((f"{base / 'G'}~0.3",), "is not a mode"),
        ((base / "GB",), "is not a mode"),
    ):
        with pytest.raises(UsageError, match=message):
            fit_curve.run(curve_config(base, ensemble_with=tuple(map(str, names))))
