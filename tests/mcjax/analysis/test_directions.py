import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mcjax import planes
from mcjax.analysis import directions


def network():
    """Parameters of a convolutional network's shapes."""
    shapes = {
        "Conv_0": {"kernel": (3, 3, 2, 16), "bias": (16,)},
        "BatchNorm_0": {"scale": (16,), "bias": (16,)},
        "Dense_0": {"kernel": (64, 30), "bias": (30,)},
    }
    rng = np.random.default_rng(5)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.normal(0.1, rng.uniform(0.1, 2), s), jnp.float32),
        shapes,
        is_leaf=lambda s: isinstance(s, tuple),
    )


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0], np.float64)


def named(tree):
    return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize("ignore", [True, False])
def test_each_filter_is_as_long_as_the_weights(ignore):
    w = network()
    d = directions.filter_normalized(w, jax.random.key(3), ignore)
    found = named(d)
    assert {x.ndim for x in found.values()} == {1, 2, 4}
    for name, weights in named(w).items():
        if weights.ndim == 1 and ignore:
            assert not found[name].any()
            continue
        if weights.ndim == 1:
            lengths = [np.linalg.norm(x) for x in (found[name], weights)]
        else:  # of each output, one by one
            lengths = [
                [np.linalg.norm(x[..., j]) for j in range(x.shape[-1])]
                for x in (found[name], weights)
            ]
        np.testing.assert_allclose(*lengths, rtol=1e-5, err_msg=name)
        assert found[name].shape == weights.shape


def test_filter_direction_is_equivariant_to_the_scale_of_filters():
    w = network()
    scaled = jax.tree.map(
        lambda x: (
            x * np.arange(1.0, x.shape[-1] + 1).reshape((1,) * (x.ndim - 1) + (-1,))
            if x.ndim > 1
            else x
        ),
        w,
    )
    one, other = (directions.filter_normalized(x, jax.random.key(1)) for x in (w, scaled))
    for name, d in named(one).items():
        if d.ndim > 1:
            expected = d * np.arange(1, d.shape[-1] + 1)
            np.testing.assert_allclose(named(other)[name], expected, rtol=1e-5, atol=1e-7)


def test_filters_of_zeros_stay_and_scalars_count_as_vectors():
    w = {"kernel": jnp.zeros((3, 2)).at[:, 1].set(2.0), "scale": jnp.float32(3.0)}
    d = directions.filter_normalized(w, jax.random.key(0), ignore_vectors=False)
    assert not d["kernel"][:, 0].any()
    assert abs(float(d["scale"])) == pytest.approx(3.0)
    np.testing.assert_allclose(jnp.linalg.norm(d["kernel"][:, 1]), np.sqrt(12), rtol=1e-6)


@pytest.mark.parametrize("ignore", [True, False])
def test_random_directions(ignore):
    w = network()
    d, again, other = (
        flat(directions.random(w, jax.random.key(seed), ignore)) for seed in (0, 0, 1)
    )
    kept = [x for x in jax.tree.leaves(w) if x.ndim > 1 or not ignore]
    length = np.linalg.norm(np.concatenate([np.ravel(x) for x in kept]))
    np.testing.assert_allclose(np.linalg.norm(d), length, rtol=1e-5)
    np.testing.assert_array_equal(d, again)
    assert np.count_nonzero(d) == sum(x.size for x in kept)
    assert abs(d @ other) / length**2 < 0.05  # nearly at a right angle
    normal = d[d != 0] / d.std()
    assert abs((normal**4).mean() - 3) < 0.4  # Gaussian


@pytest.mark.parametrize("draw", [directions.random, directions.filter_normalized])
def test_leaves_of_one_shape_have_draws_of_their_own(draw):
    d = draw({"a": jnp.ones((3, 4)), "b": jnp.ones((3, 4))}, jax.random.key(2))
    assert abs(np.corrcoef(np.ravel(d["a"]), np.ravel(d["b"]))[0, 1]) < 0.9


def iterates(count=6):
    """Points with a mean far from zero and spread along more than two directions."""
    w = network()
    far = jax.tree.map(lambda x: x + 2.0, w)
    steps = [directions.random(w, jax.random.key(i)) for i in range(3)]
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(count, 3)) * [0.1, 0.04, 0.01]
    weights[:, 0] += 0.1 * np.arange(count)
    return [
        jax.tree.map(lambda x, *d, c=c: x + sum(a * b for a, b in zip(c, d, strict=True)), far,
                     *steps) for c in weights
    ]  # fmt: skip


def test_pca_is_scikit_learn_s():
    from sklearn.decomposition import PCA

    points = iterates()
    found = directions.pca(points)
    expected = PCA(2).fit(np.stack([flat(p) for p in points]))
    np.testing.assert_allclose(found.variance, expected.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(found.ratio, expected.explained_variance_ratio_, rtol=1e-4)
    assert found.ratio[1] > 0.01
    for d, axis, variance in zip(
        found.directions, expected.components_, found.variance, strict=True
    ):
        np.testing.assert_allclose(np.linalg.norm(flat(d)), np.sqrt(variance), rtol=1e-5)
        assert abs(flat(d) @ axis) / np.sqrt(variance) == pytest.approx(1, abs=1e-5)
    way = flat(points[-1]) - flat(points[0])
    assert all(flat(d) @ way > 0 for d in found.directions)
    assert jax.tree.structure(found.directions[0]) == jax.tree.structure(points[0])


def test_plane_around_a_point():
    w = network()
    one, two = (directions.filter_normalized(w, jax.random.key(i)) for i in range(2))
    points = directions.around(w, (one, two))
    plane = planes.plane(points)
    lengths = [np.linalg.norm(flat(d)) for d in (one, two)]
    cosine = flat(one) @ flat(two) / np.prod(lengths)
    np.testing.assert_allclose(plane.anchors[1], [lengths[0], 0], rtol=1e-5)
    np.testing.assert_allclose(
        plane.anchors[2], lengths[1] * np.array([cosine, np.sqrt(1 - cosine**2)]), rtol=1e-4
    )


def test_what_is_wrong_is_said():
    w = {"w": jnp.arange(4.0)}
    ones = {"w": jnp.ones(4)}
    for given, message in (
        ([ones], "two directions, got 1"),
        ([ones, {"w": jnp.zeros(4)}], "direction 2 is zero"),
        ([{"w": jnp.full(4, jnp.nan)}, ones], "direction 1 has values that are not finite"),
        ([ones, {"w": jnp.ones(3)}], "do not match"),
    ):
        with pytest.raises(ValueError, match=message):
            directions.around(w, given)
    line = [{"w": t * jnp.arange(4.0)} for t in (0.0, 1.0, 3.0, 4.5)]
    for given, message in (
        (line[:2], "2 points do not have two principal directions"),
        (line, "on a line"),
        ([*line, {"w": jnp.full(4, jnp.inf)}], "not finite"),
        ([w, ones, {"v": jnp.ones(4)}], "different tree structures"),
    ):
        with pytest.raises(ValueError, match=message):
            directions.pca(given)
