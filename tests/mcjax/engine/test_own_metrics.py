"""An objective's metrics need not be means over examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.engine import evaluation, objectives, parallel
from tests.mcjax import small

RNG = np.random.default_rng(6)
DATA = {"x": RNG.normal(size=(13, 3)).astype(np.float32)}
POINTS = (np.float32(0.5), np.float32(-1.5))


def rows_of(data, rows, examples, weight, key):
    return {"x": data["x"][rows], "weight": weight}


def evaluate(params, state, batch):
    """A sum of each column: three numbers, which are no metric by themselves."""
    weight = batch["weight"]
    columns = weight @ jnp.abs(params * batch["x"])
    return {"loss": weight @ batch["x"][:, 0], "columns": columns, "count": weight.sum()}


def geometric(means):
    assert means["columns"].shape[1:] == (3,)
    return {"loss": means["loss"], "geometric": np.prod(means["columns"], axis=-1) ** (1 / 3)}


def evaluator(metrics, points_per_call=1):
    objective = objectives.Objective(lambda *args: None, evaluate, metrics=metrics)
    mesh = small.mesh(2)
    splits = parallel.replicate({"train": DATA}, mesh)
    return evaluation.Evaluator(
        objective, rows_of, splits, mesh, batch_size=5, points_per_call=points_per_call
    )


def test_a_metric_is_made_of_means_over_all_batches():
    rows = [[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]
    found = evaluator(geometric, points_per_call=2)
    metrics = found(POINTS, rows, {})["train"]
    assert set(metrics) == {"loss", "geometric"}
    weights = np.abs(np.array(rows) @ POINTS)
    expected = weights * np.prod(np.abs(DATA["x"]).mean(0)) ** (1 / 3)
    np.testing.assert_allclose(metrics["geometric"], expected, rtol=1e-5)
    one = found.with_state(jnp.float32(0.5), {}, "train")
    np.testing.assert_allclose(one["geometric"], expected[0], rtol=1e-5)


def test_several_numbers_a_point_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"metric 'columns' has shape \[3\].*Objective.metrics"):
        evaluator(None).with_state(jax.numpy.float32(1), {}, "train")
