"""Modes with an objective of the user's own, and recorded traces."""

import jax
import jax.numpy as jnp
import pytest

from experiments import landscapes, train_mode
from experiments.cli import UsageError
from experiments.runs import Run
from experiments.training import problem as problems
from tests.comparison import assert_same_bits

from .small import MODE, change, profile_of

pytestmark = pytest.mark.usefixtures("png_only")


def test_an_objective_of_the_user_s_own(tmp_path):
    """Nothing but a loss is measured: no accuracy is asked for anywhere."""
    run = train_mode.run(
        change(MODE, objective="tests.nets:no_accuracy", epochs=1, keep=(), workdir=str(tmp_path))
    )
    assert set(run.info["final"]["validation"]) == {"loss"}
    assert set(run.metrics()[0]["train"]) == {"loss", "l2"}
    summary = landscapes.profiles.summarize(profile_of([1.0, 4.0, 2.0]))
    assert "accuracy" not in summary
    assert "highest training loss 4 (t=0.50), barrier yes (2 over the higher end)" in summary


def test_quick_compilation_does_not_change_the_first_weights():
    problem, key = problems.make_problem(MODE), jax.random.key(3)
    init, full = problem.model.init, {"xla_backend_optimization_level": 3}  # the default
    plain = jax.jit(lambda key: init(key, jnp.zeros((1, 8, 8, 1)), False), compiler_options=full)
    params, state = problems.init(problem, MODE, key)
    assert not state
    assert_same_bits(params, plain(key)["params"])


@pytest.mark.slow
def test_a_trace_can_be_recorded(tmp_path):
    run = train_mode.run(change(MODE, epochs=3, keep=(), profile=True, workdir=str(tmp_path)))
    (trace,) = run.path.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    assert trace.stat().st_size > 1000


@pytest.mark.parametrize("made", ["imported", "aligned"])
def test_a_network_that_was_not_trained_is_not_the_result_of_a_training(tmp_path, made):
    config = change(MODE, workdir=str(tmp_path / "run"))
    Run(tmp_path / "run").open("mode", config, steps_per_epoch=1, **{made: {}})
    with pytest.raises(UsageError, match=f"an {made} network.* --fork={tmp_path}/run to train on"):
        train_mode.run(config)
