"""Matching by activations: permuted copies are found back through any kind of program."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mcjax import symmetries
from mcjax.flax import models
from mcjax.symmetries import programs, taps
from tests.mcjax.symmetries.functions import (
    LSTM,
    SCANNED,
    TIED,
    Transformer,
    fill,
    inputs,
    linen,
    lstm,
    nnx_net,
    scanned,
    tied,
    tokens,
)

HIDDEN = {"a": jnp.zeros((3, 6)), "bias": jnp.zeros(6), "b": jnp.zeros((6, 2))}


def hidden(params, x):
    return jax.nn.relu(x @ params["a"] + params["bias"][None]) @ params["b"]


def equinox_net():
    model = eqx.nn.MLP(3, 2, width_size=8, depth=2, key=jax.random.key(0))
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, rest))(x), fill(params), inputs(20, 3)


CASES = {
    "plain": lambda: (hidden, fill(HIDDEN), inputs(20, 3)),
    "scanned layers": lambda: (scanned, fill(SCANNED), inputs(20, 3)),
    "gates": lambda: (lstm, fill(LSTM), inputs(4, 20, 3)),
    "tied": lambda: (tied, fill(TIED), tokens(5, 4)),
    "nnx": lambda: nnx_net(20),
    "equinox": equinox_net,
    "transformer": lambda: linen(Transformer(), tokens(8, 5)),
    "vgg": lambda: linen(
        models.create("vgg7_bn", num_classes=10, width=0.125), inputs(20, 8, 8, 1), False
    ),
}


def matched_back(function, params, x, seed):
    spec = symmetries.find(function, params, x)
    permuted = symmetries.apply(spec, symmetries.random(spec, jax.random.key(seed)), params)
    match = symmetries.match_activations(
        spec, function, params, permuted, [(x,)], seed=seed, restarts=3
    )
    back = symmetries.apply(spec, match.permutations, permuted)
    pairs = zip(*map(jax.tree.leaves, (params, back)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "name",
    ["gates", "nnx"]
    + [
        pytest.param(n, marks=pytest.mark.long)
        for n in ("plain", "tied", "equinox", "transformer", "vgg")
    ],
)
def test_permuted_copies_are_matched_back_exactly(name):
    assert matched_back(*CASES[name](), 0)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_ten_permuted_copies_of_ten(name):
    assert sum(matched_back(*CASES[name](), seed) for seed in range(10)) == 10


def test_it_is_the_best_assignment_of_correlations_over_all_batches():
    one, two, x = fill(HIDDEN, 1), fill(HIDDEN, 2), 3 + inputs(23, 3)
    spec = symmetries.find(hidden, one, x)
    done = []
    match = symmetries.match_activations(
        spec, hidden, one, two, [(x[:5],), (x[5:16],), (x[16:],)], progress=done.append
    )
    pre = [np.asarray(x, np.float64) @ p["a"] for p in (one, two)]
    correlations = np.corrcoef(*pre, rowvar=False)[:6, 6:]
    rows, best = linear_sum_assignment(correlations, maximize=True)
    np.testing.assert_array_equal(match.permutations["P0"], best)
    assert match.inner_product == pytest.approx(correlations[rows, best].sum(), rel=1e-4)
    assert done == [1, 2, 3]


@pytest.mark.slow
def test_batches_whose_product_of_counts_exceeds_an_int32():
    one, two = fill(HIDDEN, 1), fill(HIDDEN, 2)
    spec = symmetries.find(hidden, one, inputs(2, 3))
    x = np.concatenate([inputs(50_000, 3), 3 + inputs(50_000, 3)])
    whole, halves = (
        symmetries.match_activations(spec, hidden, one, two, batches)
        for batches in ([(x,)], [(x[:50_000],), (x[50_000:],)])
    )
    np.testing.assert_array_equal(halves.permutations["P0"], whole.permutations["P0"])
    assert halves.inner_product == pytest.approx(whole.inner_product, rel=1e-4)


@pytest.mark.slow
def test_units_in_the_middle_of_a_reversed_scan():
    """Of a value ``[time, units, examples]``, stacked by a scan from the last to the first."""

    def network(params, x):
        step = lambda h, now: (0.5 * h + now, params["a"].T @ (h + now).T)  # noqa: E731
        _, hidden = jax.lax.scan(step, jnp.zeros(x.shape[1:]), x, reverse=True)
        return jnp.einsum("tud,uo->tdo", jnp.tanh(hidden), params["b"])

    params, x = fill({"a": jnp.zeros((3, 6)), "b": jnp.zeros((6, 2))}), inputs(4, 20, 3)
    spec = symmetries.find(network, params, x)
    program, found = taps.read(spec, network, params, x)
    assert [tap.units for tap in found] == [(0,)]
    leaves = jax.tree.leaves((params, x))
    at = {found[0].var: programs.Tap(lambda value, _: (value, found[0].rows(value)))}
    (output,), records = programs.evaluate(program, leaves, at)
    np.testing.assert_allclose(output, network(params, x), rtol=1e-5, atol=1e-6)
    assert records[found[0].var].shape == (4, 20, 6)
    np.testing.assert_allclose(records[found[0].var][-1], x[-1] @ params["a"], rtol=1e-5, atol=1e-6)
    assert matched_back(network, params, x, 0)


def test_wrong_input():
    params, x = fill(HIDDEN), inputs(4, 3)
    spec = symmetries.find(hidden, params, x)
    match = lambda *args: symmetries.match_activations(spec, hidden, *args)  # noqa: E731
    with pytest.raises(ValueError, match="need data: there are no batches"):
        match(params, params, [])
    with pytest.raises(ValueError, match="tuple of the function's inputs, not ArrayImpl"):
        match(params, params, [x])
    with pytest.raises(ValueError, match="bias is not finite"):
        match(params, params | {"bias": jnp.full(6, jnp.nan)}, [(x,)])
    with pytest.raises(ValueError, match="activations are not finite"):
        match(params, params, [(x * jnp.inf,)])
    with pytest.raises(ValueError, match=r"bias has shape \(7,\) here and \(6,\)"):
        match(params, params | {"bias": jnp.ones(7)}, [(x,)])
    with pytest.raises(ValueError, match="2 inputs: too many"):
        match(params, params, [(x, x)])
    with pytest.raises(ValueError, match="give batches of the function's inputs"):
        symmetries.match_activations(spec, lambda p: p["a"], params, params, [()])
    with pytest.raises(ValueError, match="there are no parameters"):
        symmetries.find(lambda params, x: x, {}, x)
    with pytest.raises(ValueError, match="1 inputs: too many"):
        symmetries.find(lambda x: x, params, x)


def test_a_group_whose_activations_are_hidden_is_named():
    def network(params, x):
        branch = lambda x: jnp.tanh(x @ params["a"]) @ params["b"]  # noqa: E731
        return jax.lax.cond(x[0, 0] > 0, branch, lambda x: x[:, :2], x)

    params = fill({"a": jnp.zeros((3, 6)), "b": jnp.zeros((6, 2))})
    spec = symmetries.find(network, params, inputs(4, 3))
    assert len(spec.groups) == 1
    with pytest.raises(ValueError, match="no activation of group P0"):
        symmetries.match_activations(spec, network, params, params, [(inputs(4, 3),)])
