"""Rules of single operations: which groups they leave, proved by running the function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mcjax import symmetries
from mcjax.symmetries import rules
from tests.mcjax.symmetries.functions import fill, inputs

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


@pytest.mark.parametrize(
    "operation",
    [jnp.cumsum, lambda h: h[:, ::-1], lambda h: jnp.sort(h, -1), lambda h: h[:, ::2],
     lambda h: h * jnp.arange(6.0)[None], lambda h: jax.lax.top_k(h, 2)[0],
     lambda h: h * np.float32([[1, 1, 1, 1, 1, 2]]),
     lambda h: jnp.argmax(h, -1)[:, None],
     lambda h: h[jnp.array([0, 1]), jnp.array([2, 3])][:, None]],
)  # fmt: skip
def test_what_depends_on_positions_freezes(operation):
    def network(params, x):
        h = operation(x @ params["a"])
        return h.astype(float).sum()

    spec = symmetries.find(network, {"a": jnp.ones((3, 6))}, inputs(2, 3))
    assert not spec.groups


def test_an_unknown_primitive_freezes_and_is_named():
    def network(params, x):
        return jnp.linalg.cholesky(params["a"] @ params["a"].T + jnp.eye(4)) @ x

    spec = symmetries.find(network, {"a": jnp.ones((4, 6))}, inputs(4, 2))
    assert [g.size for g in spec.groups.values()] == [6]
    assert "cholesky" in spec.unknown
    assert "cholesky: no rule" in str(spec)


def test_a_rule_that_is_wrong_is_caught_by_check(monkeypatch):
    """Sorting freezes; a rule that forgets it lets the proof by running fail."""

    def network(params, x):
        return jnp.sort(x @ params["a"], -1) @ params["b"]

    params, x = fill({"a": jnp.zeros((3, 6)), "b": jnp.zeros((6, 2))}), inputs(4, 3)
    assert not symmetries.find(network, params, x).groups
    monkeypatch.setitem(rules.RULES, "sort", lambda equation, operands: operands)
    spec = symmetries.find(network, params, x)
    with pytest.raises(ValueError, match="P0 by"):
        symmetries.check(spec, network, params, x)
