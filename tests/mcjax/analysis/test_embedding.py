import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.analysis import embedding


def test_distances_are_those_of_the_long_vectors():
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(5, 12))
    trees = [{"a": jnp.float32(v[:4]), "b": (jnp.float32(v[4:].reshape(2, 4)),)} for v in vectors]
    expected = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.testing.assert_allclose(embedding.distances(trees), expected, rtol=1e-5)


def test_small_differences_of_long_vectors_keep_their_digits():
    base = np.full(100, 1000.0, np.float32)
    found = embedding.distances([jnp.asarray(base), jnp.asarray(base + np.float32(0.25))])
    np.testing.assert_allclose(found[0, 1], 2.5, rtol=1e-12)


def test_distances_are_float64_sums():
    rng = np.random.default_rng(0)
    points = (1 + 1e-3 * rng.normal(size=(4, 3000))).astype(np.float32)
    wide = points.astype(np.float64)
    expected = np.linalg.norm(wide[:, None] - wide[None], axis=-1)
    np.testing.assert_allclose(embedding.distances(list(points)), expected, rtol=1e-13)


def test_tsne_keeps_neighbours_and_repeats():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(6, 3)), rng.normal(size=(6, 3)) + 40])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    xy = embedding.tsne(distances)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    same = np.arange(12) // 6 == (np.arange(12) // 6)[:, None]
    assert apart[same].max() < apart[~same].min()
    np.testing.assert_array_equal(xy, embedding.tsne(distances))
    with pytest.raises(ValueError, match="perplexity=4"):
        embedding.tsne(distances[:4, :4])
