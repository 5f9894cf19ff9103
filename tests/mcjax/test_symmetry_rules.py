"""Rules of single operations: which groups they leave, proved by running the function."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from mcjax import symmetries
from tests.mcjax.test_symmetries import fill, inputs

SHAPES = {"in": jnp.zeros((3, 4)), "out": jnp.zeros((4, 2))}


def between(operation):
    return lambda params, x: operation(jax.nn.relu(x @ params["in"])) @ params["out"]


def largest_of_two(h):
    return lax.reduce_window(h, -jnp.inf, lax.max, (1, 2), (1, 1), "SAME")


def pair_of_convolutions(params, x):
    layout = ("NHWC", "HWIO", "NHWC")
    h = lax.conv_general_dilated(
        x, params["in"], (1, 1), "SAME", dimension_numbers=layout, feature_group_count=2
    )
    return lax.conv_general_dilated(
        jax.nn.relu(h), params["out"], (1, 1), "SAME", dimension_numbers=layout
    )


def recurrent(params, x):
    step = lambda h, now: (jnp.tanh(h @ params["h"] + now @ params["in"]), None)  # noqa: E731
    return lax.scan(step, jnp.zeros((2, 4)), x)[0] @ params["out"]


@pytest.mark.parametrize(
    ("function", "shapes", "x", "sizes"),
    [
        (between(lambda h: h), SHAPES, (5, 3), [4]),
        (between(lambda h: jnp.sum(h, 0, keepdims=True)), SHAPES, (5, 3), [4]),
        (between(lambda h: h * jnp.array([[1.0, 1.0, 2.0, 3.0]])), SHAPES, (5, 3), []),
        (between(largest_of_two), SHAPES, (5, 3), []),
        (
            pair_of_convolutions,
            {"in": jnp.zeros((1, 1, 2, 4)), "out": jnp.zeros((1, 1, 4, 3))},
            (2, 3, 3, 4),
            [2],
        ),
        (recurrent, SHAPES | {"h": jnp.zeros((4, 4))}, (5, 2, 3), [4]),
    ],
    ids=["dense", "sum", "constant", "window", "two groups", "carry"],
)
def test_groups_of_an_operation(function, shapes, x, sizes):
    params, x = fill(shapes), inputs(*x)
    spec = symmetries.find(function, params, x)
    assert sorted(group.size for group in spec.groups.values()) == sizes
    symmetries.check(spec, function, params, x)
