"""Layer-wise barriers: closed forms, layers in the order of their use, and paths by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import curves
from mcjax.analysis import layers
from mcjax.engine import evaluation, objectives, parallel
from mcjax.results import LAYER_PATHS, Layers
from tests.mcjax import small

T = np.linspace(0, 1, 5)
TARGET = {"in": {"w": 0.5, "b": -1.0}, "out": {"w": 2.0}}


def tree(a, b, c):
    return {"in": {"w": np.float32(a), "b": np.float32(b)}, "out": {"w": np.float32(c)}}


A, B = tree([1, 2], [0.5], [-1]), tree([-2, 1], [1.5], [3])


def quartic(params, batch, key):
    """A sum over layers, so that a single layer's barrier does not depend on the other."""
    wells = jax.tree.map(lambda x, at: jnp.sum(((x - at) ** 2 - 1.5) ** 2), params, TARGET)
    return sum(jax.tree.leaves(wells)) + 0 * jnp.sum(batch["rows"])


def of_layer(params, name):
    return sum(float((((x - at) ** 2 - 1.5) ** 2).sum())
               for x, at in zip(jax.tree.leaves(params[name]), jax.tree.leaves(TARGET[name]),
                                strict=True))  # fmt: skip


@pytest.fixture(scope="module")
def evaluator():
    mesh = small.mesh(1)
    objective = objectives.from_loss(quartic, parallel.DATA_AXIS, "numbers")

    def fetch(data, rows, examples, weight, key):
        return {"rows": data[rows], "weight": weight, "numbers": examples}

    data = parallel.replicate(np.zeros(3, np.float32), mesh)
    return evaluation.Evaluator(objective, fetch, {"train": data}, mesh, points_per_call=2)


@pytest.fixture(scope="module")
def found(evaluator):
    return layers.measure(evaluator, (A, B), "AB", ["in", "out"], T, {})


def moved(name, t):
    return jax.tree.map(lambda a, b: (1 - t) * a + t * b, A[name], B[name])


def test_barriers_of_a_loss_that_is_a_sum_over_layers(found):
    at = {k: np.array([of_layer({k: moved(k, t)}, k) for t in T]) for k in A}
    whole = at["in"] + at["out"]
    ends = whole[[0, -1]]
    chord = (1 - T) * ends[0] + T * ends[1]
    expected = {
        "single": [at["in"] + at["out"][0], at["in"][0] + at["out"]],
        "from_input": [at["in"] + at["out"][0], whole],
        "from_output": [whole, at["in"][0] + at["out"]],
    }
    np.testing.assert_allclose(found.networks.metrics["train"]["loss"], ends, rtol=1e-5)
    for path, lines in expected.items():
        one = found.paths[path]
        np.testing.assert_allclose(one.metrics["train"]["loss"], lines, rtol=1e-5)
        heights = one.barriers["train"]["loss"]
        over = [max((line - chord).max(), 0) for line in lines]
        np.testing.assert_allclose(heights.over_chord, over, atol=1e-3)
        over = [max(line.max(), *ends) - ends.max() for line in lines]
        np.testing.assert_allclose(heights.over_max, over, atol=1e-3)
    assert found.paths["single"].barriers["train"]["loss"].over_chord[0] > 50


def test_a_layer_alone_is_combined_by_hand(evaluator, found):
    by_hand = evaluator((A, B | {"in": A["in"]}), np.stack([1 - T, T], axis=1), {})
    line = found.paths["single"].metrics["train"]["loss"][1]
    np.testing.assert_array_equal(line, by_hand["train"]["loss"])
    rows = layers.coefficients(A, ["in", "out"], (1, 1), T)
    at = curves.combine((A, B), jax.tree.map(lambda x: x[3], rows))
    jax.tree.map(np.testing.assert_array_equal, at["in"], A["in"])
    np.testing.assert_allclose(at["out"]["w"], 0.25 * A["out"]["w"] + 0.75 * B["out"]["w"])


def test_all_layers_together_are_the_whole_segment(evaluator, found):
    segment = evaluator((A, B), np.stack([1 - T, T], axis=1), {})["train"]["loss"]
    for path, row in (("from_input", -1), ("from_output", 0)):
        line = found.paths[path].metrics["train"]["loss"][row]
        np.testing.assert_array_equal(line, segment)


def test_a_network_of_one_layer_has_one_path():
    rows = layers.rows(A["in"], [layers.TOP], T)
    assert list(rows) == [None, (0, 0)]
    assert layers.of_leaves(A["in"]) == [layers.TOP] * 2
    for leaf in jax.tree.leaves(rows[0, 0]):
        np.testing.assert_array_equal(leaf, np.stack([1 - T, T], axis=1))
    assert layers.spans(1) == {path: [(0, 0)] for path in LAYER_PATHS}


class Net(nn.Module):
    """Names that are not in the order of use."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(4, name="z")(x))
        x = nn.BatchNorm(True, name="norm")(x)
        x = nn.remat(nn.Dense)(3, name="m")(x)
        return nn.Dense(2, name="a")(x)


def scanned(params, x):
    """Weights are made of two leaves, converted before any use, then used in a scan."""
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    kernel = params["second"]["v"] * params["second"]["g"]

    def step(h, row):
        return jax.nn.tanh(h @ kernel + row @ params["first"]["w"]), None

    h, _ = jax.lax.scan(step, jnp.zeros(3, jnp.bfloat16), x.astype(jnp.bfloat16))
    return jax.lax.cond(h.sum() > 0, lambda: h @ params["branch"]["w"], lambda: h)


def test_layers_come_in_the_order_of_use():
    x = jnp.ones((5, 3))
    variables = Net().init(jax.random.key(0), x)
    state = {"batch_stats": variables["batch_stats"]}
    network = jax.jit(lambda params, x: Net().apply({"params": params, **state}, x))
    assert layers.order(network, variables["params"], x) == ["z", "norm", "m", "a"]
    square = jnp.ones((3, 3))
    params = {"branch": {"w": square}, "unused": {"w": square}, "first": {"w": square},
              "second": {"v": square, "g": jnp.ones(())}}  # fmt: skip
    expected = ["first", "second", "branch", "unused"]
    assert layers.order(scanned, params, x) == expected
    quadratic = lambda p: sum(jnp.sum(p[k]["w"] ** 2) for k in ("out", "in"))  # noqa: E731
    assert layers.order(quadratic, A) == ["out", "in"]
    with pytest.raises(ValueError, match="not one of parameters and 2 inputs"):
        layers.order(lambda params, x: x, params, x, x)


def test_a_file_read_and_written_again_is_the_same(found):
    arrays = found.to_arrays() | {"note": np.array("a word")}
    again = Layers.from_arrays(arrays)
    assert again.extra.keys() == {"note"}
    assert list(again.to_arrays()) == list(arrays)
    for name, values in again.to_arrays().items():
        np.testing.assert_array_equal(values, arrays[name])
    heights = again.paths["from_output"].barriers["train"]["loss"]
    np.testing.assert_array_equal(heights.over_mean, arrays["from_output_train_loss_over_mean"])
    with pytest.raises(ValueError, match="a result of layers needs t, name, layer; layer is"):
        Layers.from_arrays({"t": T, "name": np.array(["A", "B"])})
