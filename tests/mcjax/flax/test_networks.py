"""VGG and MLP: sizes, initialisation, dropout, and independence of the devices."""

import itertools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.flax import models
from mcjax.flax.models import mlp, vgg
from mcjax.flax.ops import layers
from tests.mcjax.flax.networks import count, draw, draw_variables, shapes_of


def chain(inputs, features, window=1):
    """Parameters of a chain of layers with biases, from the definition."""
    sizes = [inputs, *features]
    return sum(window * a * b + b for a, b in itertools.pairwise(sizes))


def test_parameter_counts():
    convolutions = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    vgg16 = chain(3, convolutions, 9) + chain(512, [512, 512, 10])
    assert count("vgg16", (1, 32, 32, 3)) == vgg16 == 14_714_688 + 530_442
    assert count("vgg16_bn", (1, 32, 32, 3)) == vgg16 + 2 * sum(convolutions)
    half = chain(3, [c // 2 for c in convolutions], 9) + chain(256, [256, 256, 10])
    assert count("vgg16", (1, 32, 32, 3), width=0.5) == half
    narrow = chain(3, [1] * 13, 9) + chain(1, [1, 1, 10])
    assert count("vgg16", (1, 32, 32, 3), width=0.001) == narrow
    assert count("vgg7", (1, 8, 8, 1)) == 115_690
    vgg10 = chain(1, [32, 32, 64, 64, *[128] * 4], 9) + chain(128, [64, 10])
    assert count("vgg10", (1, 16, 16, 1)) == vgg10
    assert count("mlp", (1, 8, 8, 1), width=0.45) == chain(64, [58, 58, 10])  # 57.6


@pytest.mark.parametrize(("name", "layers"), [("vgg11", 8), ("vgg13", 10), ("vgg19", 16)])
def test_depths(name, layers):
    params = shapes_of(name, (1, 32, 32, 3))["params"]
    assert sum(key.startswith("Conv_") for key in params) == layers
    assert params["Dense_0"]["kernel"].shape == (512, 512)


def test_initialisation():
    """Normal, not truncated, std ``init_scale * sqrt(2 / fan_in)``; biases zero."""
    images = jnp.zeros((1, 1, 1, 64))  # few different shapes: compiling is what takes the time
    settings = {"num_classes": 32, "width": 0.5}
    factories = (
        lambda **kw: vgg.VGG(((128,), (128,)), dense=(128,), **kw),
        lambda **kw: mlp.MLP(hidden=(128, 128), **kw),
    )
    for factory in factories:
        params = {}
        for scale in (1.0, 3.0):
            model = factory(init_scale=scale, **settings)
            params[scale] = model.init(jax.random.key(3), images, False)
            for layer in params[scale]["params"].values():
                kernel = np.asarray(layer["kernel"])
                fan_in = kernel[..., 0].size
                z = kernel / (scale * np.sqrt(2 / fan_in))
                assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)
                assert abs(z.mean()) < 4 / np.sqrt(z.size)
                assert np.abs(z).max() > 3.2 or z.size < 8_000
                assert not layer["bias"].any()
        for a, b in zip(*map(jax.tree.leaves, params.values()), strict=True):
            np.testing.assert_allclose(3 * a, b, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "images"),
    [("vgg11", (3, 8, 8, 1)), ("vgg7_bn", (1, 9, 14, 3)), ("mlp", (3, 8, 8, 1))],
)
def test_logits_and_their_dependence_on_each_example(name, images):
    model = models.create(name, num_classes=4, width=0.1)
    x = draw(images)
    variables = draw_variables(model, x)
    apply = jax.jit(lambda x: model.apply(variables, x, False))
    logits = apply(x)
    assert logits.shape == (images[0], 4)
    assert logits.dtype == jnp.float32
    other = apply(np.concatenate([x[:-1], x[-1:] + 1]))
    np.testing.assert_allclose(other[:-1], logits[:-1], rtol=1e-4, atol=1e-6)
    assert not np.allclose(other[-1], logits[-1])


@pytest.mark.slow
def test_batch_norm_normalises_before_the_nonlinearity():
    model = vgg.VGG(((5,),), 3, dense=(4,), dropout=0.0, batch_norm=True)
    x = 3 * draw((6, 4, 4, 1)) + 2
    variables = draw_variables(model, x)
    _, state = model.apply(variables, x, True, mutable=["batch_stats", "intermediates"],
                           capture_intermediates=True)  # fmt: skip
    first = np.asarray(state["intermediates"]["Conv_0"]["__call__"][0])
    running = state["batch_stats"]["BatchNorm_0"]
    mean, var = np.mean(first, (0, 1, 2)), np.var(first, (0, 1, 2))
    np.testing.assert_allclose(running["mean"], 0.9 + 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-4)
    affine = jax.tree.map(np.asarray, variables["params"]["BatchNorm_0"])
    normal = (first - mean) / np.sqrt(var + 1e-5) * affine["scale"] + affine["bias"]
    actual = state["intermediates"]["BatchNorm_0"]["__call__"][0]
    np.testing.assert_allclose(actual, normal, rtol=1e-3, atol=1e-4)
    pooled = np.maximum(normal, 0).reshape(6, 2, 2, 2, 2, 5).max((2, 4)).reshape(6, -1)
    dense = variables["params"]["Dense_0"]
    np.testing.assert_allclose(
        state["intermediates"]["Dense_0"]["__call__"][0],
        pooled @ dense["kernel"] + dense["bias"],
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.slow
def test_dropout_before_the_first_two_dense_layers():
    model = vgg.VGG(((5,),), 3, width=0.1)
    x = draw((8, 2, 2, 1))
    variables = draw_variables(model, x)
    _, state = model.apply(
        variables, x, True, rngs={"dropout": jax.random.key(1)}, capture_intermediates=True
    )
    seen = state["intermediates"]
    hidden = np.asarray(jax.nn.relu(seen["Dense_0"]["__call__"][0]))
    dropped = np.asarray(seen["Dropout_1"]["__call__"][0])
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * hidden[kept], rtol=1e-6)
    assert 0.2 < np.mean(kept[hidden > 0]) < 0.8
    assert "Dropout_2" not in seen
    last = variables["params"]["Dense_1"]
    np.testing.assert_allclose(
        seen["Dense_1"]["__call__"][0],
        dropped @ last["kernel"] + last["bias"],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.slow
def test_dropout_mask_is_a_function_of_key_and_position():
    ones = jnp.ones((40, 500))
    layer = layers.Dropout(0.3)
    apply = lambda x, seed: layer.apply({}, x, True, rngs={"dropout": jax.random.key(seed)})  # noqa: E731
    y = apply(ones, 0)
    np.testing.assert_array_equal(apply(ones[:7], 0), y[:7])
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs(np.mean(y) - 1) < 4 * np.sqrt(0.3 / 0.7 / y.size)
    for other in (y[:-1], apply(ones, 1)[1:]):  # other rows, another key: other masks
        assert abs(np.mean((y[1:] > 0) == (other > 0)) - 0.58) < 0.02
    np.testing.assert_array_equal(layer.apply({}, ones, False), ones)
    np.testing.assert_array_equal(layers.Dropout(0.0).apply({}, ones, True), ones)
    with pytest.raises(ValueError, match="rate 1"):
        layers.Dropout(1.0).apply({}, ones, True)


DEVICES = """
    import jax
    jax.config.update("jax_num_cpu_devices", 8)
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import PartitionSpec as P
    from mcjax.flax.models import mlp, vgg

    rng = np.random.default_rng(5)
    images = rng.normal(np.linspace(-1, 1, 16)[:, None, None, None], 1, (16, 3, 3, 1))
    images = jnp.asarray(images, jnp.float32)
    key = jax.random.key(7)
    settings = dict(num_classes=5, dropout=0.4)
    vgg_bn = lambda **kw: vgg.VGG(((4,), (4,)), dense=(16, 16), batch_norm=True, **kw)
    for factory in (vgg_bn, mlp.MLP):
        plain = factory(**settings)
        shapes = jax.eval_shape(lambda: plain.init(jax.random.key(0), images, False))
        variables = jax.tree.map(lambda s: rng.normal(0.1, 0.5, s.shape).astype("f"), shapes)

        def forward(model, x):
            params, state = {"params": variables["params"]}, variables.get("batch_stats", {})
            mutable = ["batch_stats"] if state else []
            return model.apply(variables, x, True, rngs={"dropout": key}, mutable=mutable)

        model = factory(axis_name="data", **settings)
        jax.eval_shape(lambda: model.init(jax.random.key(0), images, True))  # needs no mesh
        expected = jax.jit(lambda x: forward(plain, x))(images)
        for devices in (1, 8):
            mesh = jax.sharding.Mesh(jax.devices()[:devices], ("data",))
            mapped = jax.shard_map(lambda x: forward(model, x), mesh=mesh, in_specs=P("data"),
                                   out_specs=(P("data"), P()))
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                jax.jit(mapped)(images), expected)
    print("same")
"""


@pytest.mark.long
def test_one_and_eight_devices_agree():
    """Dropout and batch norm see the global batch, under ``shard_map`` with its checks on."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEVICES)], capture_output=True, text=True
    )
    assert result.stdout == "same\n", result.stderr


def test_mlp_by_hand():
    model = mlp.MLP(3, hidden=(5, 4), dropout=0.5)
    x = draw((6, 2, 2, 1))
    variables = draw_variables(model, x)
    hidden = x.reshape(6, -1)
    for i in range(3):
        layer = variables["params"][f"Dense_{i}"]
        hidden = hidden @ layer["kernel"] + layer["bias"]
        hidden = np.maximum(hidden, 0) if i < 2 else hidden
    assert (hidden < 0).any()
    np.testing.assert_allclose(model.apply(variables, x, False), hidden, rtol=1e-4, atol=1e-5)
