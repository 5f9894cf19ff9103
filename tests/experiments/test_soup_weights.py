"""What a soup does to weights and statistics before it averages, and after."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from experiments import soup, train_mode
from experiments.cli.configs import ModeConfig, SoupConfig
from experiments.landscapes import soups_report
from experiments.runs import Run, load, load_point, open_checkpoints, parse_name
from experiments.training import alignment, make_problem
from mcjax import symmetries
from mcjax.engine import parallel

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", keep=(1, 2),
)  # fmt: skip


@pytest.mark.long
def test_permuted_copies_are_aligned_before_they_are_averaged(tmp_path, monkeypatch):
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    train_mode.run(dataclasses.replace(MODE, workdir="a"))
    shutil.copytree("a", "twin")
    shutil.rmtree("twin/checkpoints")
    problem, point = make_problem(MODE), load_point(parse_name("a"))
    spec = alignment.groups(problem, point, "a")
    moved = symmetries.apply(spec, symmetries.random(spec, jax.random.key(4)),
                             {"params": point.params})  # fmt: skip
    with open_checkpoints(Run("twin")) as saved:
        saved.save(15, {"params": moved["params"], "model_state": {}})
    run = soup.run(SoupConfig(points=("a", "twin"), align="weights", num_points=3, workdir="soup"))
    for own, other in zip(*map(jax.tree.leaves, (load("soup").params, point.params)), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)
    assert run.info["soup"]["aligned"]["twin"]["moved"] > 0.5
    assert load("soup").result.segments.matrix("train_loss")[0, 1] < 1e-5


@pytest.mark.long
def test_batch_norm_has_the_statistics_of_the_average(tmp_path, monkeypatch):
    monkeypatch.setattr(soups_report, "draw", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    mode = dataclasses.replace(MODE, model="preresnet8", lr=0.05)
    train_mode.run(dataclasses.replace(mode, workdir="a"))
    soup.run(SoupConfig(points=("a@all",), num_points=3, workdir="soup"))
    problem, found = make_problem(mode), load("soup")
    params, state = parallel.replicate((found.params, found.state), problem.mesh)
    own = load("soup").result.averages.metrics["validation"]["loss"][0]
    there = problem.evaluator.with_state(params, state, "validation")["loss"]
    assert there == pytest.approx(own, rel=1e-4)
    leaves = zip(*(jax.tree.leaves(load(text).state) for text in ("soup", "a")), strict=True)
    assert all(np.abs(x - y).max() > 1e-4 for x, y in leaves)
