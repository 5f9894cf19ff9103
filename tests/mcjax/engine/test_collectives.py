"""What an evaluation sends between devices, counted in the compiled programs."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.collectives import collectives
from mcjax.analysis import hessian
from mcjax.engine import evaluation, parallel, streams
from tests.mcjax import small


def evaluator(objective, data):
    return evaluation.Evaluator(
        objective, small.clean, {"train": data}, small.mesh(8), batch_size=30, points_per_call=2
    )


def arguments(found, params):
    """Those of the evaluator's programs for 16 points on a segment."""
    rows, splits = jnp.zeros((16, 2)), {n: streams.Chunk(x) for n, x in found.splits.items()}
    points = jax.eval_shape(found._combine, (params, params), rows)
    return points, rows, splits


def test_points_send_their_results_only():
    objective, params, state = small.network("mlp")
    found = evaluator(objective, small.data())
    points, rows, splits = arguments(found, params)
    block = collectives(found._block.lower(points, state, splits).compile())
    assert {name for name, _ in block} == {"all-gather"}
    numbers = 3 * 3 + 1  # of a point: loss, accuracy and count of three batches; a squared norm
    assert sum(size for _, size in block) == 16 * numbers * 4
    assert not collectives(found._combine.lower((params, params), rows).compile())


@pytest.mark.long
def test_batch_norm_s_statistics_are_not_sent():
    objective, params, state = small.network("vgg7_bn")
    assert jax.tree.leaves(state)
    found = evaluator(objective, small.data())
    points, _, splits = arguments(found, params)
    recompute = found._point_statistics[True]
    compiled = recompute.lower(None, splits["train"], points, state).compile()
    assert not collectives(compiled)


def test_a_hessian_product_sums_once_over_the_devices(monkeypatch):
    objective, params, state = small.network("mlp")
    found, programs, mapped = evaluator(objective, small.data()), [], parallel.data_parallel

    def recorded(*args, **options):
        programs.append(mapped(*args, **options))
        return programs[-1]

    monkeypatch.setattr(parallel, "data_parallel", recorded)
    hessian.make_product(found)
    chunk = streams.Chunk(found.splits["train"])
    compiled = programs[0].lower(None, chunk, (params, state, params)).compile()
    moved = collectives(compiled)
    assert {name for name, _ in moved} == {"all-reduce"}
    size = sum(x.nbytes for x in jax.tree.leaves(params))
    assert size <= sum(of_one for _, of_one in moved) <= size + 8  # and the number of examples
