"""Specs written by hand, wrong ones, and permutations that do not fit."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcjax import symmetries
from tests.mcjax.symmetries.functions import fill, inputs


def test_a_wrong_spec_is_refused_and_the_group_named():
    def network(params, x):
        return jnp.tanh(x @ params["a"]) @ params["b"]

    params = fill({"a": jnp.zeros((3, 4)), "b": jnp.zeros((4, 2))})
    right = symmetries.by_hand(params, {"a": (None, "hidden"), "b": ("hidden", None)})
    assert symmetries.check(right, network, params, inputs(5, 3)) < 1e-5
    wrong = symmetries.by_hand(params, {"a": (None, "hidden")})
    with pytest.raises(ValueError, match="hidden by"):
        symmetries.check(wrong, network, params, inputs(5, 3))


def test_wrong_input():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
    spec = symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", None)})
    with pytest.raises(ValueError, match="'Q' is not a group"):
        symmetries.apply(spec, {"Q": np.arange(4)}, params)
    with pytest.raises(ValueError, match="permutation of P"):
        symmetries.apply(spec, {"P": np.zeros(4, int)}, params)
    with pytest.raises(ValueError, match="the spec is of other parameters: b"):
        symmetries.apply(spec, {}, {"a": jnp.ones((3, 4)), "b": jnp.ones((5, 2))})
    with pytest.raises(ValueError, match="4 positions and 2"):
        symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", "P")})
    with pytest.raises(ValueError, match="not finite"):
        symmetries.match_weights(spec, params, {"a": np.full((3, 4), np.nan), "b": params["b"]})


def test_moved_share_counts_numbers_not_leaves():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2)), "c": jnp.ones(5)}
    spec = symmetries.by_hand(params, {"a": (None, "P"), "b": ("P", None)})
    assert symmetries.moved_share(spec, params) == 20 / 25
