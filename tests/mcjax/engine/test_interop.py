"""Users' keys of either kind, and JAX's strict promotion, under which all tests run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcjax import api
from mcjax.analysis import directions
from mcjax.engine import interop, parallel, training
from tests.mcjax import small

LEGACY, TYPED = jax.random.PRNGKey(3), jax.random.key(3)


def test_all_tests_run_under_strict_promotion():
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    assert jax.config.jax_numpy_rank_promotion == "raise"
    with interop.standard_promotion():
        assert (jnp.ones((2, 2)) * jnp.arange(2)).dtype == jnp.float32


@pytest.mark.slow
def test_a_legacy_key_is_the_same_key(monkeypatch):
    mesh = small.mesh(1)
    monkeypatch.setattr(parallel, "make_mesh", lambda *devices: mesh)

    def bend(key):
        points, _ = api.fit_curve(
            lambda w, batch, key: jnp.mean(w * batch) * jax.random.uniform(key),
            jnp.ones(1), 3 * jnp.ones(1), np.arange(8, dtype=np.float32),
            optimizer=optax.adam(0.1), epochs=1, batch_size=4, key=key,
        )  # fmt: skip
        return points[1]

    np.testing.assert_array_equal(bend(LEGACY), bend(TYPED))
    for draw in (directions.random, directions.filter_normalized):
        np.testing.assert_array_equal(
            *(draw(jnp.ones((2, 3)), key) for key in (np.asarray(LEGACY), TYPED))
        )
    keys = [jax.random.split(key, 4) for key in (LEGACY, TYPED)]
    np.testing.assert_array_equal(*(training.epoch_order(key, 1, 20) for key in keys))


def test_bfloat16_parameters_are_fitted_in_their_dtype(monkeypatch):
    mesh = small.mesh(1)
    monkeypatch.setattr(parallel, "make_mesh", lambda *devices: mesh)
    ends = jnp.zeros(2, jnp.bfloat16), jnp.ones(2, jnp.bfloat16)
    points, losses = api.fit_curve(
        lambda w, batch: jnp.mean((w - batch.astype(w.dtype)[0]) ** 2), *ends,
        np.full((8, 2), 2, np.float32), optimizer=optax.adam(0.1), epochs=4, batch_size=4,
        key=TYPED,
    )  # fmt: skip
    assert points[1].dtype == jnp.bfloat16
    assert (points[1] > 0.6).all()
    assert losses.shape == (4,)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, r"key=3 is not a key: use jax.random.key\(3\)"),
        (jnp.arange(2), r"key is int32\[2\]: use jax.random.key\(SEED\)"),
        (jnp.zeros(3, jnp.uint32), r"key is uint32\[3\]"),
        (jax.random.split(TYPED), r"keys of shape \[2\]: expected one key"),
        (jax.random.split(LEGACY), r"keys of shape \[2\]: expected one key"),
    ],
)
def test_what_is_not_a_key(key, message):
    with pytest.raises(ValueError, match=message):
        directions.random(jnp.ones(3), key)
    with pytest.raises(ValueError, match=message):
        api.fit_curve(None, None, None, None, optimizer=None, epochs=1, batch_size=1, key=key)
