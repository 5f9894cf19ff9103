"""A run in Python, by the text that commands take."""

import logging
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import runs
from experiments.cli import configs, flags
from experiments.cli.errors import UsageError
from experiments.runs import open_checkpoints, open_ends, restore
from experiments.runs.arrays import load_arrays, save_arrays
from experiments.runs.folder import Run
from tests import finished_runs
from tests.comparison import assert_same_bits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Modes A and B and the curve AB between them, of 30 epochs and one bend."""
    folder = tmp_path_factory.mktemp("runs")
    with zipfile.ZipFile(Path(__file__).with_name("format1.zip")) as archive:
        archive.extractall(folder)
    return folder


def test_a_mode_loads_whole(folder):
    found = runs.load(f"{folder}/A@30")
    assert_same_bits(found.params, restore(Run(folder / "A"))["params"])
    assert found.state == {}
    assert [line["epoch"] for line in found.metrics] == list(range(1, 31))
    assert found.arrays == {}
    assert isinstance(found.config, configs.ModeConfig)
    assert (found.config.workdir, found.config.epochs) == (f"{folder}/A", 30)
    assert flags.identity(found.config) | found.info["flags"] == flags.identity(found.config)
    assert found.info["status"] == "done"


def test_a_point_of_a_curve_loads_by_its_name(folder):
    """A quarter along a chain of one bend is half-way between start and bend."""
    start, bend, point = (runs.load(f"{folder}/AB{t}") for t in ("~0", "", "~0.25"))
    half = jax.tree.map(lambda a, b: (a + b) / 2, start.params, bend.params)
    for a, b in zip(jax.tree.leaves(point.params), jax.tree.leaves(half), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    assert_same_bits(start.params, runs.load(f"{folder}/A").params)
    with np.load(folder / "AB" / "curve.npz") as arrays:
        assert set(point.arrays) == set(arrays)
        np.testing.assert_array_equal(point.arrays["t"], arrays["t"])
        heights = point.result.curve.barriers["train"]["loss"]
        assert heights.over_max == arrays["curve_train_loss_over_max"]
    assert isinstance(point.config, configs.CurveConfig)
    assert len(point.metrics) == 30


def test_arrays_are_those_of_the_epoch(tmp_path):
    run = finished_runs.curve(tmp_path / "c")
    (run.path / "curve@2.npz").write_bytes((run.path / "curve.npz").read_bytes())
    with open_checkpoints(run, keep=(10, 15)) as saved:
        for step in (10, 15):
            saved.save(step, {"params": [{"w": jnp.float32(step)}], "model_state": {}})
    with open_ends(run) as saved:
        saved.save(0, {w: {"w": jnp.float32(x)} for w, x in (("start", 0), ("end", 1))})
    run.update(
        steps_per_epoch=5, flags=run.info["flags"] | {"curve": "chain", "bends": 1,
        "free_ends": False, "eval_epochs": [2]},
    )  # fmt: skip
    for epoch, step in (("", 15), ("@3", 15), ("@2", 10)):
        found = runs.load(f"{run.path}{epoch}")
        assert "curve_train_loss" in found.arrays
        assert float(found.params["w"]) == step
    assert found.config.eval_epochs == (2,)
    (run.path / "curve@2.npz").unlink()
    found = runs.load(f"{run.path}@2")
    assert (found.arrays, found.result) == ({}, None)


def test_a_surface_has_arrays_and_no_parameters(tmp_path):
    finished_runs.surface(tmp_path / "s")
    found = runs.load(f"{tmp_path}/s")
    assert (found.params, found.state, found.metrics) == (None, None, [])
    assert found.arrays["train_loss"].shape == (3, 4)
    assert found.result.points.name.tolist() == ["A", "B</script>", "AB"]
    assert isinstance(found.config, configs.SurfaceConfig)


def test_a_file_that_lacks_an_array_is_named(tmp_path):
    run = finished_runs.surface(tmp_path / "s")
    arrays = load_arrays(run.path / "surface.npz")
    del arrays["iterate_epoch"]
    save_arrays(run.path / "surface.npz", arrays)
    for read in (
        lambda: runs.load(f"{run.path}"),
        lambda: runs.finished(str(run.path), ("surface",)),
    ):
        with pytest.raises(UsageError, match=r"surface.npz: .* iterate_epoch is missing; delete"):
            read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "there is no run at .*nothing"),
        ("A@4", "A has no checkpoint of epoch 4; it has 30"),
        ("A~0.5", "A is not a curve; only a curve has points"),
        ("AB~1.5", "T must be from 0 to 1"),
    ],
)
def test_what_cannot_be_loaded_is_said(folder, name, message):
    with pytest.raises(UsageError, match=message):
        runs.load(f"{folder}/{name}")


def test_loading_warns_of_nothing(folder):
    """Orbax warns, by absl's logger, that a folder that is opened to be read is read-only."""
    logger, seen = logging.getLogger("absl"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.append(record.getMessage())
    before = logger.level
    logger.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        runs.load(f"{folder}/AB~0.25")
        assert logger.level == logging.WARNING
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert seen == []
