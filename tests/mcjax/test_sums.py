import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import sums
from mcjax.engine import parallel
from tests.mcjax import small

RNG = np.random.default_rng(4)


def trees(dtype="float32", count=3):
    """Trees with a leaf of several chunks, a scalar and an empty one; all multiples of 1/8."""
    shapes = {"a": (8, 5), "b": [(), (0, 3)]}
    make = lambda shape: jnp.asarray(RNG.integers(-20, 20, shape) / 8, dtype)  # noqa: E731
    return [
        jax.tree.map(make, shapes, is_leaf=lambda x: isinstance(x, tuple)) for _ in range(count)
    ]


def flat(tree):
    return np.concatenate([np.ravel(np.asarray(x, np.complex128)) for x in jax.tree.leaves(tree)])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_sums_and_combinations_of_any_dtype(dtype, monkeypatch):
    monkeypatch.setattr(sums, "CHUNK", 7)
    given = trees(dtype)
    if dtype == "complex64":
        given = [jax.tree.map(lambda a, b: a + 1j * b, *trees(dtype, 2)) for _ in range(3)]
    vectors = np.stack([flat(tree) for tree in given])
    np.testing.assert_array_equal(sums.gram(given), (vectors @ vectors.conj().T).real)
    mix = np.array([[2.0, -1, 0], [0.5, 0, 1]])
    made = sums.combine(given, lambda x: mix @ x)
    assert len(made) == 2
    for tree, expected in zip(made, mix @ vectors, strict=True):
        assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, given[0])
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(tree))
        np.testing.assert_array_equal(flat(tree), expected)


def test_sums_of_close_long_vectors_keep_their_digits():
    long = np.full(100_000, 1000, np.float32)
    one, other = {"w": long}, {"w": long + np.float32(2.0**-12)}
    assert sums.gram([one, other], lambda x: x[1:] - x[:1]) == 100_000 * 2.0**-24


def test_what_is_sharded_stays_where_it_is():
    mesh = small.mesh(8)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(parallel.DATA_AXIS))
    given = [{"w": jax.device_put(tree["a"], rows)} for tree in trees()]
    vectors = np.stack([flat(tree) for tree in given])
    np.testing.assert_array_equal(sums.gram(given), vectors @ vectors.T)
    (made,) = sums.combine(given, lambda x: x.sum(axis=0, keepdims=True))
    assert made["w"].sharding == rows
    np.testing.assert_array_equal(flat(made), vectors.sum(axis=0))


def test_memory_is_that_of_chunks(monkeypatch):
    monkeypatch.setattr(sums, "CHUNK", 10)
    assert {x.shape for x in sums.chunks(trees())} <= {(3, 10), (3, 1), (3, 0)}


def test_values_that_are_not_finite_are_seen():
    assert not np.isfinite(sums.gram([jnp.array([1.0, jnp.inf]), jnp.array([1.0, 2.0])])).all()
