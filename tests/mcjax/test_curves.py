import itertools
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcjax import curves

FAMILIES = [curves.polygonal_chain, curves.bezier]
CASES = [curves.segment()] + [family(n) for family in FAMILIES for n in (1, 2, 4)]
IDS = [f"{c.name}{c.num_bends}" for c in CASES]
T = [0.0, 0.07, 0.31, 0.5, 0.83, 1.0]


def random_points(curve, seed=0, dtype=np.float32):
    """Unequal, non-zero, asymmetric control points that are not Flax's."""
    rng = np.random.default_rng(seed)
    return [
        {"layers": [rng.normal(size=(2, 3)).astype(dtype)], "scale": (dtype(rng.normal()),)}
        for _ in range(curve.num_bends + 2)
    ]


def de_casteljau(points, t):
    points = [np.asarray(p, np.float64) for p in points]
    while len(points) > 1:
        points = [(1 - t) * a + t * b for a, b in itertools.pairwise(points)]
    return points[0]


@pytest.mark.parametrize("curve", CASES, ids=IDS)
class TestContract:
    def test_ends_are_exact(self, curve):
        points = random_points(curve)
        for t, end in ((0.0, points[0]), (1.0, points[-1])):
            jax.tree.map(np.testing.assert_array_equal, curves.point(curve, points, t), end)

    @pytest.mark.parametrize("t", T)
    def test_coefficients_sum_to_one(self, curve, t):
        c = curve.coefficients(t)
        assert c.shape == (curve.num_bends + 2,)
        np.testing.assert_allclose(c.sum(), 1, rtol=1e-6)

    @pytest.mark.parametrize("t", T)
    def test_reversal(self, curve, t):
        np.testing.assert_allclose(
            curve.coefficients(t), curve.coefficients(1 - t)[::-1], atol=1e-6
        )

    @pytest.mark.parametrize("t", [0.07, 0.31, 0.83])
    def test_tangent_against_differences(self, curve, t):
        with jax.enable_x64(True):
            points, h = random_points(curve, dtype=np.float64), 1e-5
            ahead, behind = (curves.point(curve, points, np.float64(t + s)) for s in (h, -h))
            expected = jax.tree.map(lambda a, b: (a - b) / (2 * h), ahead, behind)
            found = curves.tangent(curve, points, np.float64(t))
            assert jax.tree.leaves(found)[0].dtype == np.float64
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), found, expected)

    def test_straight_line_lies_on_the_segment(self, curve):
        start, end = random_points(curve)[0], random_points(curve)[-1]
        bends = curves.straight_line(curve, start, end)
        found = curves.point(curve, (start, *bends, end), 0.37)
        expected = jax.tree.map(lambda a, b: 0.63 * a + 0.37 * b, start, end)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)

    def test_arc_length_against_fine_polygon(self, curve):
        points = random_points(curve)
        t = np.linspace(0, 1, 61, dtype=np.float32)
        leaves = jax.vmap(lambda s: jax.tree.leaves(curves.point(curve, points, s)))(
            jnp.linspace(0, 1, 6001)
        )
        fine = np.concatenate([np.reshape(x, (6001, -1)) for x in leaves], axis=1)
        chords = np.linalg.norm(np.diff(fine, axis=0), axis=1)
        found = curves.arc_lengths(curve, points, t)
        np.testing.assert_allclose(found[-1], chords.sum(), rtol=1e-3)
        np.testing.assert_allclose(found[20], chords[:2000].sum(), rtol=1e-3)
        assert found[0] == 0

    def test_under_transformations(self, curve):
        points = random_points(curve)
        t = jnp.array(T)
        one = jnp.stack([curves.point(curve, points, s)["layers"][0] for s in T])
        many = jax.jit(jax.vmap(lambda s: curves.point(curve, points, s)["layers"][0]))(t)
        np.testing.assert_allclose(many, one, atol=1e-6)
        gradient = jax.grad(lambda p: curves.point(curve, p, 0.31)["scale"][0])(tuple(points))
        found = np.array([g["scale"][0] for g in gradient])
        np.testing.assert_allclose(found, curve.coefficients(0.31), rtol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_chain_is_the_papers_formula(t):
    w_a, theta, w_b = -1.7, 5.3, 2.1
    expected = (
        2 * (t * theta + (0.5 - t) * w_a) if t <= 0.5 else (2 * ((t - 0.5) * w_b + (1 - t) * theta))
    )
    points = [np.float32(x) for x in (w_a, theta, w_b)]
    found = curves.point(curves.polygonal_chain(1), points, t)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("num_bends", [1, 2, 5])
def test_bezier_is_de_casteljau(num_bends):
    with jax.enable_x64(True):
        points = [p["layers"][0] for p in random_points(curves.bezier(num_bends), 3, np.float64)]
        for t in T:
            found = curves.point(curves.bezier(num_bends), points, np.float64(t))
            np.testing.assert_allclose(found, de_casteljau(points, t), rtol=1e-13)


def test_chain_tangent_is_one_sided_at_ends_and_bends():
    chain = curves.polygonal_chain(1)
    np.testing.assert_array_equal(curves.tangent_coefficients(chain, 0.0), [-2, 2, 0])
    np.testing.assert_array_equal(curves.tangent_coefficients(chain, 0.5), [0, -2, 2])
    np.testing.assert_array_equal(curves.tangent_coefficients(chain, 1.0), [0, -2, 2])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64])
def test_combine_keeps_dtypes(dtype):
    a, b = jnp.asarray([1, 3], dtype), jnp.asarray([2, 5], dtype)
    found = curves.combine([a, b], [0.25, 0.75])
    assert found.dtype == dtype
    np.testing.assert_allclose(np.asarray(found, np.complex64), [1.75, 4.5])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
def test_combine_is_linear(coefficients):
    a, b, c = (np.array([1.5, -2.0]), np.array([0.5, 4.0]), np.array([-3.0, 0.25]))
    x, y, z = coefficients
    found = curves.combine([jnp.float32(v) for v in (a, b, c)], coefficients)
    np.testing.assert_allclose(found, x * a + y * b + z * c, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (5, 6)])
def test_combine_mixes_half_precision_in_float32(dtype, shape):
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=shape), dtype) for _ in range(2))
    found = curves.combine([a, b], [0.37, 0.63])
    expected = np.float32(0.37) * a.astype(np.float32) + np.float32(0.63) * b.astype(np.float32)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected.astype(dtype))


def test_curve_loss_is_the_integral_of_a_quadratic():
    """E_t ||phi(t)||^2 on a chain has a closed form: Simpson's rule is exact on each piece."""
    w_a, theta, w_b = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.7]), jnp.array([2.0, 1.0])
    loss = curves.curve_loss(curves.polygonal_chain(1), lambda w, key: jnp.sum(w**2), strata=500)
    keys = jax.random.split(jax.random.key(3), 500)
    each = jax.vmap(lambda k, i: loss((theta,), (w_a, w_b), k, stratum=i))(keys, jnp.arange(500))
    square = lambda w: float(jnp.sum(w**2))  # noqa: E731
    piece = lambda a, b: (square(a) + 4 * square((a + b) / 2) + square(b)) / 6  # noqa: E731
    np.testing.assert_allclose(each.mean(), (piece(w_a, theta) + piece(theta, w_b)) / 2, rtol=1e-3)


def test_curve_loss_draws_t_uniformly_and_passes_arguments_on():
    loss = curves.curve_loss(curves.segment(), lambda w, state, batch, key: (w, state + batch))
    draw = jax.vmap(lambda k: loss((), (jnp.float32(0), jnp.float32(1)), 20, 3, k))
    t, rest = draw(jax.random.split(jax.random.key(0), 4000))
    assert (rest == 23).all()
    np.testing.assert_allclose(np.quantile(t, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_curve_loss_leads_from_start_to_end_and_its_objective_has_a_key_of_its_own():
    objective = lambda w, key: (w, jax.random.uniform(key))  # noqa: E731
    loss = curves.curve_loss(curves.segment(), objective, strata=4)
    t, drawn = loss((), (jnp.float32(0), jnp.float32(1)), jax.random.key(5), stratum=3)
    assert 0.75 < t < 1
    assert abs(t - (3 + drawn) / 4) > 1e-3


def test_gradient_is_of_the_bends_alone_or_of_all():
    curve = curves.polygonal_chain(1)
    loss = curves.curve_loss(curve, lambda w, key: jnp.sum(w))
    args = ((jnp.ones(2),), (jnp.zeros(2), jnp.ones(2)), jax.random.key(1))
    bends, ends = jax.grad(loss, argnums=(0, 1))(*args)
    total = bends[0] + ends[0] + ends[1]
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert 0 < bends[0][0] < 1


def test_join_meets_in_the_middle():
    first, second = ([np.float32(x) for x in xs] for xs in ((1, 5, 2), (2, -4, 8)))
    curve, points = curves.join(first, second)
    assert curve.num_bends == 3
    for t, expected in ((0, 1), (0.25, 5), (0.5, 2), (0.75, -4), (0.875, 2), (1, 8)):
        np.testing.assert_allclose(curves.point(curve, points, t), expected, atol=1e-5)


def test_gram_and_norm():
    a, b = (
        {"x": jnp.array([1.0, 2.0]), "y": jnp.array(3.0)},
        {"x": jnp.array([0.5, -1.0]), "y": 2.0},
    )
    np.testing.assert_allclose(curves.gram([a, b]), [[14, 4.5], [4.5, 5.25]])
    assert curves.squared_norm(a) == 14


def test_gram_and_norm_of_complex_numbers_and_of_half_precision():
    a, b = {"x": jnp.array([1 + 2j, 0.5j])}, {"x": jnp.array([3 - 1j, 2.0 - 4j])}
    np.testing.assert_allclose(curves.gram([a, b]), [[5.25, -1], [-1, 30]], rtol=1e-6)
    np.testing.assert_allclose(curves.squared_norm(a), 5.25, rtol=1e-6)
    half = {"x": jnp.full(2, 300, jnp.float16)}  # whose square float16 cannot hold
    assert curves.squared_norm(half) == curves.gram([half])[0, 0] == 180_000


def test_under_shard_map_and_pmap():
    curve, points = curves.polygonal_chain(1), random_points(curves.polygonal_chain(1))
    t = jnp.linspace(0, 1, 8)
    one = lambda s: curves.point(curve, points, s)["layers"][0]  # noqa: E731
    expected = jnp.stack([one(s) for s in t])
    mesh = jax.make_mesh((8,), ("t",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("t")
    sharded = jax.shard_map(lambda s: one(s[0])[None], mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_allclose(jax.jit(sharded)(t), expected, atol=1e-6)
    np.testing.assert_allclose(jax.pmap(one)(t), expected, atol=1e-6)


@pytest.mark.slow
def test_parameters_sharded_over_a_model_axis():
    """Control points of a model too large for one device: one rule, and nothing is gathered."""
    mesh = jax.make_mesh((8,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    columns = jax.NamedSharding(mesh, jax.P(None, "model"))
    rows = jax.NamedSharding(mesh, jax.P("model", None))
    shardings = {"up": columns, "down": rows}

    def network(seed):
        keys = jax.random.split(jax.random.key(seed))
        return {"up": jax.random.normal(keys[0], (16, 64)), "down": 0.1 * jax.random.normal(
            keys[1], (64, 4))}  # fmt: skip

    def squared(params, x, key):
        return jnp.mean((jnp.tanh(x @ params["up"]) @ params["down"]) ** 2)

    curve = curves.bezier(2)
    points = [network(seed) for seed in range(4)]
    x, key = jax.random.normal(jax.random.key(9), (32, 16)), jax.random.key(10)
    loss = curves.curve_loss(curve, squared)
    step = jax.jit(jax.value_and_grad(lambda bends, ends: loss(bends, ends, x, key)))
    expected = step(tuple(points[1:3]), (points[0], points[3]))
    sharded = jax.device_put(points, [shardings] * 4)
    value, gradient = step(tuple(sharded[1:3]), (sharded[0], sharded[3]))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    for got, whole in zip(gradient, expected[1], strict=True):
        for name in shardings:
            assert got[name].sharding.is_equivalent_to(shardings[name], 2)
            np.testing.assert_allclose(got[name], whole[name], rtol=1e-4, atol=1e-6)
    combined = jax.jit(lambda points, t: curves.point(curve, points, t))
    text = combined.lower(sharded, 0.3).compile().as_text()
    assert not re.search(r"all-|reduce-scatter|collective-", text)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"w": np.ones(2)}, {"w": np.ones(3)}, r"\['w'\] has shape \(2,\).* \(3,\)"),
        ({"w": np.float32(1)}, {"w": np.float16(1)}, r"\['w'\] has dtype float32 .* float16"),
        ({"w": 1.0, "b": 1.0}, {"w": 1.0}, r"\['b'\] only in control point 0"),
        ({"w": 1.0}, {"w": 1.0, "c": 2.0}, r"\['c'\] only in control point 1"),
        ({"n": np.arange(3)}, {"n": np.arange(3)}, r"\['n'\] has dtype int"),
        ({"n": "f"}, {"n": "f"}, r"\['n'\] is the text 'f'"),
        ([1.0], (1.0,), "different containers"),
    ],
)
def test_mismatch_names_the_leaf(a, b, message):
    with pytest.raises(ValueError, match=message):
        curves.combine([a, b], [0.5, 0.5])


def test_wrong_numbers():
    with pytest.raises(ValueError, match="num_bends=-1"):
        curves.bezier(-1)
    with pytest.raises(ValueError, match="2 control points"):
        curves.combine([1.0, 2.0], [1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="no control points"):
        curves.combine([], [])


def test_import_loads_jax_only():
    code = (
        "import sys, mcjax.curves;"
        "bad = {'flax', 'optax', 'orbax', 'tensorflow_datasets', 'matplotlib', 'absl'};"
        "print(sorted(bad & {m.split('.')[0] for m in sys.modules}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
