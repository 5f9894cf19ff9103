"""Segments between networks: closed forms, any range of t, and blocks that are cut anywhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import api, curves
from mcjax.analysis import interpolation
from mcjax.engine import evaluation, parallel
from mcjax.results import Values
from tests.mcjax import small

X = np.array([[0.5, -1.0], [1.5, 0.0], [0.7, 0.4]], np.float32)
HELD_OUT = X[:2] + 0.25
NETWORKS = [np.array(w, np.float32) for w in ([1.0, 2.0], [0.5, -1.5], [-2.0, 0.5], [3.0, 1.0])]
CALLS = [0]


def double_well(params, batch):
    """Low at the four networks' distances from a ring; never a quadratic, so there are barriers."""
    CALLS[0] += 1
    return jnp.mean((jnp.sum((params[None] - batch) ** 2, axis=-1) - 4.0) ** 2)


def at(w, data=X):
    return ((((w - data) ** 2).sum(-1) - 4.0) ** 2).mean()


@pytest.fixture(scope="module")
def found():
    """Four networks on one device, and how often the loss was traced."""
    with pytest.MonkeyPatch.context() as patch:
        mesh = small.mesh(1)
        patch.setattr(parallel, "make_mesh", lambda *devices: mesh)
        told = []
        CALLS[0] = 0
        result = api.interpolate(
            double_well, NETWORKS, X, HELD_OUT, names="abcd", points=9, t_range=(-0.5, 1.5),
            progress=told.append,
        )  # fmt: skip
    return result, told, CALLS[0]


def test_every_pair_has_its_segment_and_extrapolation(found):
    result, told, _ = found
    np.testing.assert_allclose(result.t, np.linspace(-0.5, 1.5, 9))
    segment = result.paths["segment"]
    assert segment.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    for split, data in (("train", X), ("validation", HELD_OUT)):
        own = [at(w, data) for w in NETWORKS]
        np.testing.assert_allclose(result.networks.metrics[split]["loss"], own, rtol=1e-5)
        for row, (i, j) in zip(segment.metrics[split]["loss"], segment.pairs, strict=True):
            line = [at((1 - t) * NETWORKS[i] + t * NETWORKS[j], data) for t in result.t]
            np.testing.assert_allclose(row, line, rtol=1e-4)
    distances = [np.linalg.norm(NETWORKS[i] - NETWORKS[j]) for i, j in segment.pairs]
    np.testing.assert_allclose(segment.length, distances, rtol=1e-5)
    assert told[-1] == 4 + 6 * 9


def test_all_pairs_go_through_one_compiled_evaluator(found):
    assert found[2] == 2 + 1  # a batch of each split, and the check of the loss


def test_barriers_are_those_between_the_networks_only(found):
    result = found[0]
    matrix = result.matrix("train_loss")
    mean = result.matrix("train_loss", height="over_mean")
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), np.zeros(4))
    for i, j in result.paths["segment"].pairs:
        inner = [at((1 - t) * NETWORKS[i] + t * NETWORKS[j]) for t in (0.25, 0.5, 0.75)]
        ends = [at(NETWORKS[i]), at(NETWORKS[j])]
        assert matrix[i, j] == pytest.approx(max(*inner, *ends) - max(ends), abs=1e-4)
        assert mean[i, j] == pytest.approx(max(*inner, *ends) - np.mean(ends), rel=1e-5)
    assert matrix.max() > 1  # a barrier
    assert result.paths["segment"].metrics["train"]["loss"].max() > matrix.max() + 10  # beyond


def test_an_accuracy_falls_where_a_loss_rises():
    t = np.array([-1.0, 0.0, 0.5, 1.0])
    values = np.array([0.0, 0.9, 0.3, 0.8])
    metrics = {"train": {"accuracy": values, "error": 1 - values, "margin": values}}
    own = Values({"train": {k: x[[1, 3]] for k, x in metrics["train"].items()}})
    found = interpolation.collect([Values(metrics)], [(0, 1)], own, t, [1.0])
    assert found.barriers["train"].keys() == {"accuracy", "error"}
    for height in found.barriers["train"].values():
        np.testing.assert_allclose(np.ravel(height), [0.5, 0.55, 0.55])


class Counting(evaluation.Evaluator):
    """Blocks of three points, whose metric is the coefficients' number."""

    def __init__(self):
        """Without data."""

    def blocks(self, points, coefficients, state):
        for first in range(0, len(coefficients), 3):
            here = coefficients[first : first + 3] @ [1.0, 10.0]
            yield first, {"train": {"loss": here}, "params": {"l2": here + 0.5}}


def test_paths_of_any_length_get_their_own_points():
    five = np.array([[k, 2.0] for k in range(5)])
    rows = {"a": np.eye(2), "b": five, "c": np.zeros((0, 2)), "d": -np.eye(2)[:1]}
    told = []
    found = interpolation.evaluate(Counting(), (0, 0), rows, None, told.append)
    losses = {key: values.metrics["train"]["loss"].tolist() for key, values in found}
    assert losses == {"a": [1, 10], "b": [20, 21, 22, 23, 24], "c": [], "d": [-1]}
    assert told == [3, 6, 8]
    assert list(interpolation.evaluate(Counting(), (0, 0), {}, None)) == []


def test_equal_points_are_evaluated_once():
    t = np.array([0.0, 0.5, 1.0])
    one, again = (interpolation.on_segment((0, 1), x, 2) for x in (t, t[::-1]))
    rows = {"networks": np.eye(2)[::-1], "one": one, "again": again, "off": -np.eye(2)[:1]}
    told = []
    found = interpolation.evaluate(Counting(), (0, 0), rows, None, told.append)
    losses = {key: values.metrics["train"]["loss"].tolist() for key, values in found}
    assert losses == {"networks": [10, 1], "one": [1, 5.5, 10], "again": [10, 5.5, 1], "off": [-1]}
    assert told == [8, 9]  # a block of three points, for three paths, and another


@pytest.mark.parametrize("reverse", [False, True])
def test_a_curve_is_defined_between_its_ends(reverse):
    t = interpolation.positions((-0.5, 1.5), 5)
    rows = interpolation.on_curve(curves.bezier(1), t, reverse)
    ends = [[1, 0, 0], [0.25, 0.5, 0.25], [0, 0, 1]]
    np.testing.assert_allclose(rows, ends[::-1] if reverse else ends)
    values = Values({"train": {"loss": np.arange(3.0)}}, np.ones(3))
    whole = interpolation.spread(values, t)
    np.testing.assert_array_equal(whole.metrics["train"]["loss"], [np.nan, 0, 1, 2, np.nan])
    np.testing.assert_array_equal(whole.l2, [np.nan, 1, 1, 1, np.nan])
    chain = (np.zeros(2, np.float32), np.array([3.0, 4.0], np.float32), np.zeros(2, np.float32))
    assert interpolation.length(curves.polygonal_chain(1), chain) == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": NETWORKS[:1]}, "1 networks: interpolation is between two or more"),
        ({"names": ["a", "a"]}, "give 2 different names"),
        ({"points": 1}, "points=1: use 2 or more"),
        ({"points": 2}, "2 points from t = 0 to 1: none is between"),
        ({"t_range": (1.0, 2.0)}, "from t = 1 to 2: none is between"),
        ({"t_range": (1.0, 0.0)}, "t from 1 to 0: give two numbers, the lower one first"),
        ({"t_range": (0.0, np.inf)}, "t from 0 to inf"),
        ({"networks": [NETWORKS[0], np.float32([1, np.nan])]}, "network 1 cannot be interpolated"),
        ({"networks": [NETWORKS[0], np.ones(3, np.float32)]}, "shape"),
    ],
)
def test_wrong_calls_are_answered_before_any_work(options, message):
    networks = options.pop("networks", NETWORKS[:2])
    with pytest.raises(ValueError, match=message):
        api.interpolate(double_well, networks, X, **options)


def test_kinds_of_pairs():
    pairs = np.array(interpolation.every_pair(3))
    found = interpolation.kinds(pairs, np.array([0, 0, 1]))
    assert {k: x.tolist() for k, x in found.items()} == {"between": [1, 2], "first": [0]}
