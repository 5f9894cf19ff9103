import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

from mcjax import api, curves, planes, plots
from mcjax.analysis import directions, profiles, projections
from mcjax.engine import evaluation, objectives, parallel
from tests.mcjax import small

RNG = np.random.default_rng(4)
VECTORS = RNG.normal(size=(4, 5)) * 2 + 0.5
TARGETS = {"x": [RNG.normal(size=(41, 5)).astype(np.float32) + 1]}
HELD_OUT = {"x": [TARGETS["x"][0][:13] + 0.7]}
KEY = jax.random.key(3)


def tree(vector):
    return {"a": np.asarray(vector[:2], np.float32), "b": (np.asarray(vector[2:], np.float32),)}


def vector(params):
    return np.concatenate([params["a"], params["b"][0]])


START, END, THIRD, FOURTH = map(tree, VECTORS)
CURVE = curves.bezier(2)
CONTROL = (START, THIRD, FOURTH, END)


def quadratic(params, batch):
    flat = jnp.concatenate([params["a"], params["b"][0]])
    return jnp.mean(jnp.sum((flat[None] - batch["x"][0]) ** 2, axis=-1))


def noisy(params, batch, key):
    return quadratic(params, batch) * jax.random.uniform(key)


def at(w, data=TARGETS):
    return ((w - data["x"][0]) ** 2).sum(-1).mean()


def fit(loss=quadratic, start=START, end=END, data=TARGETS, **options):
    defaults = {"optimizer": optax.sgd(0.05), "epochs": 2, "batch_size": 10, "key": KEY}
    return api.fit_curve(loss, start, end, data, **defaults | options)


@functools.cache
def fitted():
    """Steps of a decreasing length, whose mean is where they go."""
    schedule = lambda step: 0.5 / (1 + 0.1 * step)  # noqa: E731
    return fit(optimizer=optax.sgd(schedule), epochs=250)


def test_the_bend_of_a_quadratic_in_closed_form():
    """``E c_b^2 = 1/3``, ``E c_a c_b = 1/12``, ``E c_b = 1/2``, so the gradient's zero is this."""
    points, losses = fitted()
    mean = TARGETS["x"][0].mean(0)
    expected = 1.5 * mean - (VECTORS[0] + VECTORS[1]) / 4
    np.testing.assert_allclose(vector(points[1]), expected, atol=0.1)
    assert np.abs(expected - (VECTORS[0] + VECTORS[1]) / 2).max() > 1  # where it began
    assert losses.shape == (250,)
    on_curve = [
        at(np.asarray(api.ONE_BEND.coefficients(t)) @ [VECTORS[0], expected, VECTORS[1]])
        for t in (np.arange(200) + 0.5) / 200
    ]
    np.testing.assert_allclose(losses[-125:].mean(), np.mean(on_curve), rtol=0.05)


def test_the_ends_come_back_as_they_were():
    points, _ = fitted()
    for given, found in ((START, points[0]), (END, points[2])):
        jax.tree.map(np.testing.assert_array_equal, given, found)


def test_devices_change_nothing(monkeypatch):
    """Ten examples a step, each with a key of its own, which eight devices share unequally."""
    found = []
    for mesh in [small.mesh(n) for n in (1, 8)]:
        monkeypatch.setattr(parallel, "make_mesh", lambda mesh=mesh: mesh)
        found.append(fit(noisy, epochs=1, optimizer=optax.sgd(0.1)))
    (one, one_losses), (eight, eight_losses) = found
    np.testing.assert_allclose(eight_losses, one_losses, rtol=1e-5)
    np.testing.assert_allclose(vector(eight[1]), vector(one[1]), rtol=1e-5)


def test_profile_in_closed_form_and_as_the_pieces_give_it():
    profile = api.profile(quadratic, CURVE, CONTROL, TARGETS, HELD_OUT, points=7, batch_size=16)
    arrays = profile.to_arrays()
    t = np.linspace(0, 1, 7)
    np.testing.assert_array_equal(arrays["t"], t)
    control = np.stack([vector(w) for w in CONTROL])
    points = np.stack([np.asarray(CURVE.coefficients(s)) @ control for s in t])
    segment = (1 - t[:, None]) * control[0] + t[:, None] * control[-1]
    for path, along in (("curve", points), ("segment", segment)):
        for split, data in (("train", TARGETS), ("validation", HELD_OUT)):
            expected = np.array([at(w, data) for w in along])
            np.testing.assert_allclose(arrays[f"{path}_{split}_loss"], expected, rtol=1e-5)
            height = expected.max() - max(expected[0], expected[-1])
            found = arrays[f"{path}_{split}_loss_over_max"]
            np.testing.assert_allclose(found, height, rtol=1e-4, atol=1e-5)

    def evaluate(params, state, batch):
        flat = jnp.concatenate([params["a"], params["b"][0]])
        losses = jnp.sum((flat[None] - batch["x"][0]) ** 2, axis=-1)
        return {"loss": jnp.sum(losses * batch["weight"]), "count": jnp.sum(batch["weight"])}

    evaluator = evaluation.Evaluator(
        objectives.Objective(None, evaluate),
        lambda data, rows, examples, weight, key: {"x": [data["x"][0][rows]], "weight": weight},
        parallel.replicate({"train": TARGETS, "validation": HELD_OUT}, small.mesh(2)),
        small.mesh(2),
    )
    pieces = profiles.profile(evaluator, CURVE, CONTROL, t, {}).to_arrays()
    assert pieces.keys() == arrays.keys()
    for name, values in pieces.items():
        np.testing.assert_allclose(arrays[name], values, rtol=1e-5, atol=1e-5)
    plt.close(plots.curve_figure(profile, "drawn unchanged"))


def test_a_segment_is_profiled_alone():
    told = []
    found = api.profile(
        quadratic, curves.segment(), (START, THIRD), TARGETS, points=3, progress=told.append,
        metrics="perplexity",
    )  # fmt: skip
    middle = (VECTORS[0] + VECTORS[2]) / 2
    expected = [at(VECTORS[0]), at(middle), at(VECTORS[2])]
    np.testing.assert_allclose(found.segment.metrics["train"]["loss"], expected, rtol=1e-5)
    perplexity = found.segment.metrics["train"]["perplexity"]
    np.testing.assert_allclose(np.log(perplexity), expected, rtol=1e-5)
    assert (list(found.paths), list(found.segment.metrics)) == (["segment"], ["train"])
    assert told == [3]
    figure = plots.curve_figure(found, "drawn unchanged")
    assert [line.get_label() for line in figure.axes[0].lines] == ["segment"]


def test_further_data_are_measured_by_their_names():
    far = {"x": [3 - TARGETS["x"][0][:7]]}
    call = lambda further: api.profile(  # noqa: E731
        quadratic, curves.segment(), (START, THIRD), TARGETS, HELD_OUT, further=further, points=2
    )
    found = call({"far": far, "x+noise=0.1": HELD_OUT}).segment
    ends = [[at(w, data) for w in (VECTORS[0], VECTORS[2])] for data in (far, HELD_OUT)]
    np.testing.assert_allclose(found.metrics["far"]["loss"], ends[0], rtol=1e-5)
    np.testing.assert_allclose(found.metrics["x+noise=0.1"]["loss"], ends[1], rtol=1e-5)
    assert found.barriers["far"]["loss"].over_max == 0
    for further, message in (
        ({"train": far}, "further data cannot be named train"),
        ({"validation": far}, "further data cannot be named validation"),
        ({"far_off": far}, "'far_off' cannot name a split"),
        ({"far": far["x"]}, "data and far have different tree structures"),
    ):
        with pytest.raises(ValueError, match=message):
            call(further)


def test_surface_in_closed_form_and_drawn():
    told = []
    surface = api.surface(
        quadratic, (START, END, THIRD), TARGETS, HELD_OUT, curve=(CURVE, CONTROL), grid=(4, 3),
        names=("a", "b", "c"), progress=told.append, iterates={3: THIRD, 8: FOURTH},
    )  # fmt: skip
    arrays = surface.to_arrays()
    assert arrays["train_loss"].shape == arrays["validation_loss"].shape == (3, 4)
    assert told[-1] == 12
    u = VECTORS[1] - VECTORS[0]
    u /= np.linalg.norm(u)
    v = VECTORS[2] - VECTORS[0]
    v -= (v @ u) * u
    v /= np.linalg.norm(v)
    for (i, j), found in np.ndenumerate(arrays["train_loss"]):
        w = VECTORS[0] + arrays["x"][j] * u + arrays["y"][i] * v
        np.testing.assert_allclose(found, at(w), rtol=1e-4)
        np.testing.assert_allclose(arrays["validation_loss"][i, j], at(w, HELD_OUT), rtol=1e-4)
    own = [at(w) for w in VECTORS[:3]]
    np.testing.assert_allclose(arrays["point_train_loss"], own, rtol=1e-5)
    points = [START, END, THIRD]
    seen = projections.on_plane(planes.plane(points), points, CURVE, CONTROL, arrays["curve_t"])
    for name in ("xy", "distance", "control_xy"):
        np.testing.assert_allclose(arrays[f"curve_{name}"], getattr(seen, name), atol=1e-4)
    assert set(np.arange(4) / 3) <= set(arrays["curve_t"])
    assert arrays["y"][-1] > arrays["curve_xy"][:, 1].max()
    np.testing.assert_array_equal(arrays["iterate_epoch"], [3, 8])
    expected = [arrays["point_xy"][2], arrays["curve_control_xy"][2]]
    np.testing.assert_allclose(arrays["iterate_xy"], expected, atol=1e-5)
    off = VECTORS[3] - VECTORS[0]
    off = np.linalg.norm(off - (off @ u) * u - (off @ v) * v)
    np.testing.assert_allclose(arrays["iterate_distance"], [0, off], atol=1e-4)
    each = [at(VECTORS[2]), at(VECTORS[3])]
    np.testing.assert_allclose(arrays["iterate_train_loss"], each, rtol=1e-5)
    plt.close(plots.surface_figure(surface, ["train_loss", "validation_loss"]))


def test_a_refined_surface_has_the_same_values_where_it_is_evaluated():
    told = []
    points, whole = (START, END, THIRD), {"grid": (17, 13)}
    full = api.surface(quadratic, points, TARGETS, **whole)
    part = api.surface(quadratic, points, TARGETS, **whole, refine=0.05, progress=told.append)
    found = part.refinement
    assert found.evaluated.shape == (13, 17)
    assert told[-1] == found.evaluated.sum() < 120
    one, other = (s.metrics["train"]["loss"] for s in (part, full))
    np.testing.assert_array_equal(one[found.evaluated], other[found.evaluated])
    np.testing.assert_allclose(one, other, rtol=0.2)
    np.testing.assert_array_equal(part.x, full.x)
    np.testing.assert_allclose(part.l2, full.l2, rtol=1e-5)
    with pytest.raises(ValueError, match="refine=2: use a share"):
        api.surface(quadratic, points, TARGETS, refine=2)


@pytest.mark.slow
def test_a_surface_of_a_random_sample_has_standard_errors():
    points = START, END, THIRD
    values = np.random.default_rng(3).normal(size=(500, 5)).astype(np.float32) + 1
    data, few = ({"x": [values[:n]]} for n in (500, 30))
    options = {"grid": (17, 13), "validation": few}
    full, part = (api.surface(quadratic, points, data, **options, examples=n) for n in (None, 100))
    assert (full.sampling, full.points.errors) == (None, None)
    assert part.sampling.examples == {"train": (100, 500), "validation": (30, 30)}
    for split, exact in (("train", False), ("validation", True)):
        one, other = (s.metrics[split]["loss"] for s in (part, full))
        error = part.sampling.errors[split]["loss"]
        assert error.shape == (13, 17)
        if exact:
            assert not error.any()
            np.testing.assert_allclose(one, other, rtol=1e-6)
        else:
            away = np.abs(one - other) / error
            assert 0.05 < away.mean() < 3
            assert (error < 0.15 * one).all()
    refined = api.surface(quadratic, points, data, grid=(17, 13), examples=100, refine=0.05)
    error = refined.sampling.errors["train"]["loss"]
    np.testing.assert_array_equal(np.isfinite(error), refined.refinement.evaluated)
    np.testing.assert_array_equal(
        error[refined.refinement.evaluated],
        part.sampling.errors["train"]["loss"][refined.refinement.evaluated],
    )
    with pytest.raises(ValueError, match="examples=39: use 40 or more"):
        api.surface(quadratic, points, data, examples=39)


def test_an_objective_brings_its_metrics_and_its_state():
    """The state is the mean of the training examples, recomputed at each point."""

    def sums(params, state, batch):
        value = jnp.sum((params - batch["x"]) ** 2 * batch["weight"])
        off = jnp.sum(jnp.abs(batch["x"] - state["mean"]) * batch["weight"])
        return {"loss": value, "off": off, "count": jnp.sum(batch["weight"])}

    def train(params, state, batch, key):
        found = sums(params, state, batch)
        return found["loss"] / jnp.maximum(found["count"], 1), (found, state)

    mean = lambda params, state, batch: {  # noqa: E731
        "mean": jax.lax.pmean(jnp.mean(batch["x"]), parallel.DATA_AXIS)
    }
    objective = objectives.Objective(train, sums, mean)
    x = np.array([1.0, 2.0, 6.0], np.float32)
    state, ends = {"mean": np.float32(50)}, (np.float32(-1), np.float32(5))
    points, _ = api.fit_curve(
        objective, *ends, {"x": x}, optimizer=optax.sgd(0.02), epochs=1, batch_size=3, key=KEY,
        state=state,
    )  # fmt: skip
    assert float(points[1]) != 2.0
    found = api.profile(objective, api.ONE_BEND, points, {"x": x}, points=3, state=state)
    metrics = found.segment.metrics["train"]
    np.testing.assert_allclose(metrics["off"], np.abs(x - 3).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"][1], ((2 - x) ** 2).mean(), rtol=1e-5)


def test_a_fit_that_diverges_says_so():
    with pytest.raises(FloatingPointError, match="not finite at step 3: try a lower"):
        fit(optimizer=optax.sgd(lambda step: jnp.where(step == 2, jnp.inf, 0.01)))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 50])
def test_an_example_has_its_own_key_whatever_the_batch(batch_size):
    noise = lambda params, batch, key: jnp.sum(params * 0) + jax.random.uniform(key)  # noqa: E731
    data = np.zeros(23, np.float32)
    segment = (jnp.zeros(2), jnp.ones(2))
    found = api.profile(noise, curves.segment(), segment, data, points=2, batch_size=batch_size)
    keys = [jax.random.fold_in(jax.random.key(0), i) for i in range(23)]
    mean = np.mean([jax.random.uniform(key) for key in keys])
    np.testing.assert_allclose(found.segment.metrics["train"]["loss"], [mean, mean], rtol=1e-6)


def test_a_surface_around_a_point_along_two_directions():
    """Centred on the point, whatever the directions' angle; their tips are no networks."""
    pair = [jax.tree.map(lambda a, b: 0.5 * (a - b), END, START), directions.random(START, KEY)]
    points = directions.around(START, pair)
    surface = api.surface(
        quadratic, points, TARGETS, extent=0.5, grid=(5, 3), names=("a", "first", "second"),
        metrics=["perplexity"],
    )  # fmt: skip
    arrays = surface.to_arrays()
    lengths = [float(jnp.sqrt(curves.squared_norm(d))) for d in pair]
    np.testing.assert_allclose(arrays["direction_norm"], lengths, rtol=1e-5)
    np.testing.assert_allclose(arrays["x"], 0.5 * lengths[0] * np.linspace(-1, 1, 5), rtol=1e-5)
    np.testing.assert_allclose(arrays["y"], 0.5 * lengths[1] * np.array([-1, 0, 1]), rtol=1e-5)
    np.testing.assert_allclose(arrays["train_loss"][1, 2], at(VECTORS[0]), rtol=1e-5)
    np.testing.assert_allclose(
        arrays["train_loss"][1, 4], at(0.75 * VECTORS[0] + 0.25 * VECTORS[1]), rtol=1e-4
    )
    np.testing.assert_allclose(np.log(arrays["train_perplexity"]), arrays["train_loss"], rtol=1e-6)
    assert surface.networks.name.tolist() == ["a"]
    with pytest.raises(ValueError, match="extent=0"):
        api.surface(quadratic, points, TARGETS, extent=0)


def test_a_fit_keeps_four_copies_of_the_parameters():
    """The ends, which are not copied, the bend and its momentum; a step adds two of its own."""
    mesh, counts = parallel.make_mesh(), []
    ends = parallel.replicate([np.full((131, 97), x, np.float32) for x in (1.0, 2.0)], mesh)

    def count(done):
        del done
        counts.append(sum(x.shape == (131, 97) for x in jax.live_arrays()))

    found, _ = api.fit_curve(
        lambda w, batch: jnp.mean((w @ batch["x"].T) ** 2), *ends,
        {"x": np.ones((8, 97), np.float32)}, optimizer=optax.sgd(1e-9, momentum=0.9), epochs=2,
        batch_size=8, key=KEY, progress=count,
    )  # fmt: skip
    assert counts == [4, 4]
    each = zip(found[0].addressable_shards, ends[0].addressable_shards, strict=True)
    for one, other in each:
        assert one.data.unsafe_buffer_pointer() == other.data.unsafe_buffer_pointer()
