"""Pooling, against flax's and windows written out one by one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.flax.models import vgg
from mcjax.flax.ops import convolution


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 2), (3, 1), (1, 8), (1, 1)])
def test_max_pool_2x2(size):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x = rng.normal(0.3, 1, (2, *size, 3))
        window = tuple(min(2, s) for s in size)
        expected = nn.max_pool(x, window, window)
        cotangent = rng.normal(0.3, 1, expected.shape)
        actual, pull = jax.vjp(convolution.max_pool_2x2, x)
        _, pull_expected = jax.vjp(lambda x: nn.max_pool(x, window, window), x)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(pull(cotangent)[0], pull_expected(cotangent)[0])


@pytest.mark.parametrize("size", [(4, 7), (1, 2)])
def test_max_pool_3x3_and_adaptive_mean(size):
    """Windows written out one by one; padding is less than any value, even a negative one."""
    x = np.random.default_rng(1).normal(-1, 1, (2, *size, 3)).astype(np.float32)
    pooled = np.asarray(convolution.max_pool_3x3(x))
    assert pooled.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 3)
    for i, j in np.ndindex(pooled.shape[1:3]):
        window = x[:, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
        np.testing.assert_array_equal(pooled[:, i, j], window.max((1, 2)))
    averaged = np.asarray(vgg.adaptive_mean(jnp.asarray(x), 3))
    ends = [[(i * n // 3, int(np.ceil((i + 1) * n / 3))) for i in range(3)] for n in size]
    for i, j in np.ndindex(3, 3):
        (top, bottom), (left, right) = ends[0][i], ends[1][j]
        window = x[:, top:bottom, left:right].mean((1, 2))
        np.testing.assert_allclose(averaged[:, i, j], window, rtol=1e-5, atol=1e-6)
