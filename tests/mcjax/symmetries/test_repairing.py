"""REPAIR: the corrected network's units have the interpolated statistics of the ends'."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import curves, symmetries
from tests.mcjax.symmetries.functions import (
    LSTM,
    SCANNED,
    TIED,
    fill,
    inputs,
    linen,
    lstm,
    scanned,
    tied,
    tokens,
)

T = 0.3


def mlp(params, x):
    for layer in ("0", "1"):
        x = jax.nn.relu(x @ params["w" + layer] + params["b" + layer][None])
    return x @ params["out"]


MLP = {"w0": jnp.zeros((3, 8)), "b0": jnp.zeros(8), "w1": jnp.zeros((8, 6)), "b1": jnp.zeros(6)}


MLP["out"] = jnp.zeros((6, 2))


def statistics(params, x):
    """Means and standard deviations of the pre-activations of `mlp`, a row each."""
    found = []
    for layer in ("0", "1"):
        y = x @ params["w" + layer] + params["b" + layer][None]
        found += [np.stack([y.mean(0), y.std(0)])]
        x = jax.nn.relu(y)
    return np.concatenate(found, 1)


def test_means_and_deviations_are_interpolated_layer_after_layer():
    one, two, x = fill(MLP, 1), fill(MLP, 2), 2 * inputs(50, 3)
    spec, done = symmetries.find(mlp, one, x), []
    found = symmetries.repair(spec, mlp, one, two, [(x,)], t=T, progress=done.append)
    goal = (1 - T) * statistics(one, x) + T * statistics(two, x)
    np.testing.assert_allclose(statistics(found.params, x), goal, rtol=1e-4, atol=1e-5)
    plain = curves.combine((one, two), np.float32([1 - T, T]))
    assert np.abs(statistics(plain, x) - goal).max() > 0.1
    np.testing.assert_array_equal(found.params["out"], plain["out"])
    assert found.corrected == ("b0", "b1", "w0", "w1")
    assert found.scaled == found.left == ()
    assert done == [1, 2]


def test_an_end_is_itself():
    one, two, x = fill(MLP, 1), fill(MLP, 2), inputs(50, 3)
    spec = symmetries.find(mlp, one, x)
    found = symmetries.repair(spec, mlp, one, two, [(x,)], t=0)
    for name in one:
        np.testing.assert_allclose(found.params[name], one[name], rtol=1e-4, atol=1e-5)


def test_a_path_is_its_points():
    one, two, x = fill(MLP, 1), fill(MLP, 2), inputs(50, 3)
    spec, done = symmetries.find(mlp, one, x), []
    path = symmetries.repair_path(spec, mlp, one, two, [(x,)], [0.0, T], progress=done.append)
    for t, found in zip((0.0, T), path, strict=True):
        alone = symmetries.repair(spec, mlp, one, two, [(x,)], t=t)
        for name in one:
            np.testing.assert_array_equal(found.params[name], alone.params[name])
        assert found[1:] == alone[1:]
    assert done == [1, 2, 3]
    with pytest.raises(ValueError, match="no batches"):
        symmetries.repair_path(spec, mlp, one, two, [], [T])


@pytest.mark.slow
def test_statistics_of_batches_are_averaged_by_their_examples():
    one, two, x = fill(MLP, 1), fill(MLP, 2), inputs(50, 3)
    spec = symmetries.find(mlp, one, x)
    twice = symmetries.repair(spec, mlp, one, two, [(x,), (x,)])
    once = symmetries.repair(spec, mlp, one, two, [(x,)])
    uneven = symmetries.repair(spec, mlp, one, two, [(x[:20],), (x[20:],)])
    for a, b, c in zip(*map(jax.tree.leaves, (once, twice, uneven)), strict=True):
        if not isinstance(a, str):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(a, c, atol=0.3)


def test_a_unit_that_is_constant_is_left():
    one, two, x = fill(MLP, 1), fill(MLP, 2), inputs(50, 3).at[:, 0].set(1)
    for params in (one, two):
        params["w0"][1:, 0] = 0
    spec = symmetries.find(mlp, one, x)
    found = symmetries.repair(spec, mlp, one, two, [(x,)]).params
    middle = (one["w0"][0, 0] + two["w0"][0, 0]) / 2
    assert found["w0"][0, 0] == pytest.approx(float(middle), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.slow
def test_scanned_layers_without_biases_are_scaled_one_by_one():
    one, two, x = fill(SCANNED, 1), fill(SCANNED, 2), inputs(50, 3)
    spec = symmetries.find(scanned, one, x)
    found = symmetries.repair(spec, scanned, one, two, [(x,)], t=T)
    assert found.scaled == ("layers/a", "layers/b")
    assert found.corrected == ()

    def deviations(params):
        h, stds = x @ params["in"], []
        for a, b in zip(params["layers"]["a"], params["layers"]["b"], strict=True):
            inner = h @ a
            update = jnp.tanh(inner) @ b
            h, stds = h + update, [*stds, inner.std(0), update.std(0)]
        return np.concatenate(stds)

    goal = (1 - T) * deviations(one) + T * deviations(two)
    np.testing.assert_allclose(deviations(found.params), goal, rtol=1e-3, atol=1e-5)


def test_a_bias_that_is_subtracted():
    def network(params, x):
        return jax.nn.relu(x @ params["w0"] - params["b0"][None]) @ params["out"]

    shapes = {"w0": MLP["w0"], "b0": MLP["b0"], "out": jnp.zeros((8, 2))}
    one, two, x = fill(shapes, 1), fill(shapes, 2), 2 + inputs(50, 3)
    spec = symmetries.find(network, one, x)
    found = symmetries.repair(spec, network, one, two, [(x,)], t=T).params
    means = [(x @ p["w0"] - p["b0"][None]).mean(0) for p in (one, two, found)]
    np.testing.assert_allclose(means[2], (1 - T) * means[0] + T * means[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_norm_that_scales_only_is_corrected_behind_it():
    def normed(params, x):
        x = jnp.tanh(x @ params["in"])
        return x * (jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True)) * params["scale"][None])

    def network(params, x):
        return jax.nn.relu(normed(params, x)) @ params["out"]

    shapes = {"in": jnp.zeros((3, 5)), "scale": jnp.zeros(5), "out": jnp.zeros((5, 2))}
    one, two, x = fill(shapes, 1), fill(shapes, 2), inputs(50, 3)
    spec = symmetries.find(network, one, x)
    found = symmetries.repair(spec, network, one, two, [(x,)], t=T)
    stds = [normed(p, x).std(0) for p in (one, two, found.params)]
    np.testing.assert_allclose(stds[2], (1 - T) * stds[0] + T * stds[1], rtol=1e-4)


@pytest.mark.slow
def test_branches_of_a_skip_connection_are_corrected_apart():
    def network(params, x):
        h = x @ params["in"]
        h = h + jax.nn.relu(h @ params["up"]) @ params["down"]
        return jnp.tanh(h) @ params["out"]

    shapes = {"in": (3, 5), "up": (5, 6), "down": (6, 5), "out": (5, 2)}
    shapes = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    one, two, x = fill(shapes, 1), fill(shapes, 2), inputs(50, 3)
    spec = symmetries.find(network, one, x)
    found = symmetries.repair(spec, network, one, two, [(x,)], t=T)
    assert found.scaled == ("down", "in", "up")
    stds = [(x @ p["in"]).std(0) for p in (one, two, found.params)]
    np.testing.assert_allclose(stds[2], (1 - T) * stds[0] + T * stds[1], rtol=1e-4)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        for _ in range(2):
            x = nn.BatchNorm(not train, momentum=0)(nn.Dense(6)(x))
            x = nn.relu(x)
        return nn.Dense(2)(x)


def test_with_batch_norm_it_is_recomputed_statistics():
    """Of the data's own statistics at the ends, and batch norm's scales of one sign."""
    model, x = Normed(), inputs(50, 3)
    recomputed = lambda p: p | model.apply(p, x, True, mutable=["batch_stats"])[1]  # noqa: E731
    function, params, _ = linen(model, x, False)
    one, two = (recomputed(fill(params, seed)) for seed in (1, 2))
    spec = symmetries.find(function, one, x)
    found = symmetries.repair(spec, function, one, two, [(x,)], t=T).params
    middle = curves.combine((one, two), np.float32([1 - T, T]))
    expected = function(recomputed(middle), x)
    np.testing.assert_allclose(function(found, x), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(function(middle, x) - expected).max() > 0.01


@pytest.mark.slow
def test_what_cannot_be_rescaled_is_left_and_said():
    one, two, x = fill(TIED, 1), fill(TIED, 2), tokens(5, 4)
    spec = symmetries.find(tied, one, x)
    found = symmetries.repair(spec, tied, one, two, [(x,)])
    assert found.scaled == ("down", "up")  # not the table, which makes the outputs, too
    assert found.left == ("positions", "table")
    np.testing.assert_allclose(found.params["table"], (one["table"] + two["table"]) / 2, rtol=1e-6)
    spec = symmetries.find(lstm, fill(LSTM), inputs(4, 20, 3))
    with pytest.raises(ValueError, match="no layer of this function"):
        symmetries.repair(spec, lstm, fill(LSTM, 1), fill(LSTM, 2), [(inputs(4, 20, 3),)])


@pytest.mark.slow
def test_layers_that_cannot_be_seen_are_left_and_said():
    """In a scan within a scan, even of a group that other layers have, and in a branch."""

    def inner(h, w):
        return jnp.tanh(h @ w["b"]), None

    def outer(h, w):
        h = h + jax.nn.relu(h @ w["up"]) @ w["down"]
        return jax.lax.scan(inner, h, w["inner"])[0], None

    def network(params, x):
        h = jax.lax.scan(outer, x @ params["in"], params["layers"])[0]
        branch = lambda h: jax.nn.relu(h @ params["a"]) @ params["out"]  # noqa: E731
        return jax.lax.cond(x[0, 0] > 9, lambda h: h[:, :2], branch, h)

    layers = {"up": jnp.zeros((2, 4, 5)), "down": jnp.zeros((2, 5, 4))}
    layers["inner"] = {"b": jnp.zeros((2, 3, 4, 4))}
    shapes = {"in": jnp.zeros((3, 4)), "layers": layers, "a": jnp.zeros((4, 6))}
    shapes["out"] = jnp.zeros((6, 2))
    one, two, x = fill(shapes, 1), fill(shapes, 2), inputs(50, 3)
    spec = symmetries.find(network, one, x)
    found = symmetries.repair(spec, network, one, two, [(x,)])
    assert found.scaled == ("in", "layers/down", "layers/up")
    assert found.left == ("a", "layers/inner/b", "out")
    with pytest.raises(ValueError, match="shows no activation of group"):
        symmetries.match_activations(spec, network, one, two, [(x,)])


def test_wrong_input():
    params, x = fill(MLP), inputs(4, 3)
    spec = symmetries.find(mlp, params, x)
    with pytest.raises(ValueError, match="need data"):
        symmetries.repair(spec, mlp, params, params, [])
    with pytest.raises(ValueError, match="b0 is not finite"):
        symmetries.repair(spec, mlp, params, params | {"b0": jnp.full(8, jnp.inf)}, [(x,)])
    with pytest.raises(ValueError, match="b0 has shape"):
        symmetries.repair(spec, mlp, params, params | {"b0": jnp.ones(9)}, [(x,)])


HIDDEN = {"w": jnp.zeros((3, 6)), "scale": jnp.zeros(6), "bias": jnp.zeros(6)}


@pytest.mark.parametrize(
    "hidden",
    [
        lambda p, x: x @ (p["w"] * p["w"]) + p["bias"][None],
        lambda p, x: (x @ p["w"]) * (x @ p["w"]) + p["bias"][None],
        lambda p, x: (y := x @ p["w"] + p["bias"][None]) - y.mean(1, keepdims=True),
    ],
    ids=["a kernel squared", "a product squared", "centred over units"],
)
def test_leaves_whose_rescaling_does_not_rescale_a_unit_are_left(hidden):
    function = lambda p, x: jax.nn.relu(hidden(p, x)) @ p["out"]  # noqa: E731
    shapes = {"w": HIDDEN["w"], "bias": HIDDEN["bias"], "out": jnp.zeros((6, 2))}
    one, two, x = fill(shapes, 1), fill(shapes, 2), inputs(50, 3)
    spec = symmetries.find(function, one, x)
    with pytest.raises(ValueError, match="no layer of this function"):
        symmetries.repair(spec, function, one, two, [(x,)])


def test_weight_normalization_is_corrected_by_its_scale():
    def hidden(p, x):
        kernel = p["scale"][None] * p["w"] / jnp.linalg.norm(p["w"], axis=0, keepdims=True)
        return x @ kernel + p["bias"][None]

    function = lambda p, x: jax.nn.relu(hidden(p, x)) @ p["out"]  # noqa: E731
    shapes = HIDDEN | {"out": jnp.zeros((6, 2))}
    one, two, x = fill(shapes, 1), fill(shapes, 2), inputs(50, 3)
    found = symmetries.repair(symmetries.find(function, one, x), function, one, two, [(x,)])
    assert found.corrected == ("bias", "scale")
    for moment in (jnp.mean, jnp.std):
        ends = [moment(hidden(p, x), 0) for p in (one, two)]
        goal = (ends[0] + ends[1]) / 2
        np.testing.assert_allclose(moment(hidden(found.params, x), 0), goal, rtol=1e-4, atol=1e-5)
