"""PreResNet and WideResNet: against PyTorch, in sizes, initialisation, and on a curve."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mcjax import curves
from mcjax.engine import evaluation, parallel
from mcjax.flax import models
from mcjax.flax.models import preresnet, wide_resnet
from mcjax.flax.objective import cross_entropy
from mcjax.flax.ops import layers
from tests.mcjax import small
from tests.mcjax.flax.networks import count, draw, draw_variables, shapes_of

pytestmark = pytest.mark.usefixtures("only_direct")
long = pytest.mark.long  # whole networks take long to compile

RESIDUAL = {
    "preresnet8": functools.partial(preresnet.PreResNet, 8, width=0.25),
    "wrn10x2": functools.partial(wide_resnet.WideResNet, 10, 2, width=0.25),
}


def preresnet_count(per_stage, bottleneck):
    """Parameters from the definition: convolutions have no biases, a batch norm two vectors."""
    total, channels = 3 * 9 * 16, 16
    for stage, planes in enumerate((16, 32, 64)):
        for block in range(per_stage):
            sizes = [channels, *([planes, planes, 4 * planes] if bottleneck else [planes] * 2)]
            windows = (1, 9, 1) if bottleneck else (9, 9)
            pairs = zip(windows, itertools.pairwise(sizes), strict=True)
            total += sum(w * a * b + 2 * a for w, (a, b) in pairs)
            if block == 0 and (stage > 0 or sizes[-1] != channels):
                total += channels * sizes[-1]
            channels = sizes[-1]
    return total + 2 * channels + 10 * channels + 10


def wide_resnet_count(per_stage, k):
    """All convolutions have biases."""
    total, channels = 3 * 9 * 16 + 16, 16
    for features in (16 * k, 32 * k, 64 * k):
        for block in range(per_stage):
            total += 9 * features * (channels + features) + 2 * features + 2 * channels
            total += 2 * features
            if block == 0:
                total += channels * features + features
            channels = features
    return total + 2 * channels + 10 * channels + 10


def test_parameter_counts():
    assert count("preresnet20", (1, 32, 32, 3)) == preresnet_count(3, False) == 272_282


@long
def test_parameter_counts_of_deep_networks():
    images = (1, 32, 32, 3)
    assert count("preresnet164", images) == preresnet_count(18, True) == 1_703_258
    assert count("wrn28x10", images) == wide_resnet_count(4, 10) == 36_489_290


@long
def test_width_scales_all_channels():
    half = shapes_of("preresnet56", (1, 32, 32, 1), width=0.5)["params"]
    assert half["conv1"]["kernel"].shape == (3, 3, 1, 8)
    assert half["layer2_0"]["conv2"]["kernel"].shape == (3, 3, 16, 16)
    assert half["layer2_0"]["downsample"]["kernel"].shape == (1, 1, 32, 64)
    assert half["fc"]["kernel"].shape == (128, 10)
    quarter = shapes_of("wrn16x4", (1, 32, 32, 1), width=0.25)["params"]
    assert quarter["conv1"]["kernel"].shape == (3, 3, 1, 4)
    assert quarter["layer3_0"]["shortcut"]["kernel"].shape == (1, 1, 32, 64)


def by_torch(variables, images, wide):
    """The network written anew in PyTorch's functions, batch norm with the running averages."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    tensor = lambda x: torch.tensor(np.asarray(x, np.float64))  # noqa: E731
    params = variables["params"]

    def conv(x, layer, stride=1):
        kernel = tensor(layer["kernel"]).permute(3, 2, 0, 1)
        bias = tensor(layer["bias"]) if "bias" in layer else None
        return functional.conv2d(x, kernel, bias, stride, padding=kernel.shape[-1] // 2)

    def norm(x, layer, averages):
        scale, bias, mean, var = map(tensor, (layer["scale"], layer["bias"], *averages))
        return torch.relu(functional.batch_norm(x, mean, var, scale, bias, False, eps=1e-5))

    def averages(*path):
        found = functools.reduce(lambda tree, key: tree[key], path, variables["batch_stats"])
        return found["mean"], found["var"]

    def block(x, name, stride):
        layers = params[name]
        depth = sum(key.startswith("conv") for key in layers)
        strided = 2 if wide or depth == 3 else 1  # the convolution that has the block's stride
        y = x
        for i in range(1, depth + 1):
            y = norm(y, layers[f"bn{i}"], averages(name, f"bn{i}"))
            y = conv(y, layers[f"conv{i}"], stride if i == strided else 1)
        shortcut = layers.get("shortcut" if wide else "downsample")
        return y + (x if shortcut is None else conv(x, shortcut, stride))

    x = conv(tensor(images).permute(0, 3, 1, 2), params["conv1"])
    for stage in (1, 2, 3):
        for i in range(sum(key.startswith(f"layer{stage}_") for key in params)):
            x = block(x, f"layer{stage}_{i}", 2 if stage > 1 and i == 0 else 1)
    last, head = ("bn1", "linear") if wide else ("bn", "fc")
    x = functional.avg_pool2d(norm(x, params[last], averages(last)), x.shape[-1]).flatten(1)
    return (x @ tensor(params[head]["kernel"]) + tensor(params[head]["bias"])).numpy()


@long
@pytest.mark.parametrize(
    ("model", "size"),
    [
        (preresnet.PreResNet(8, 5, width=0.25), 12),
        (preresnet.PreResNet(47, 5, width=0.0625), 8),
        (wide_resnet.WideResNet(16, 2, 5, width=0.25), 12),
    ],
)
def test_logits_equal_those_of_pytorch(model, size):
    images = draw((2, size, size, 3))
    variables = draw_variables(model, images)
    rng = np.random.default_rng(2)
    variables["batch_stats"] = jax.tree.map(
        lambda x: rng.uniform(0.5, 2, x.shape).astype(np.float32), variables["batch_stats"]
    )
    expected = by_torch(variables, images, isinstance(model, wide_resnet.WideResNet))
    logits = jax.jit(lambda v: model.apply(v, images, False))(variables)
    assert logits.shape == (2, 5)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def initialised(module, channels, names):
    """Parameters of some submodules; XLA then compiles nothing for the others."""

    def init(key):
        images = jnp.zeros((1, 2, 2, channels))
        params = module.init(key, images, False)["params"]
        return {name: params[name] for name in names}

    return jax.tree.map(np.asarray, jax.jit(init)(jax.random.key(3)))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [pytest.param(1.0, marks=long), 3.0])
def test_convolutions_of_preresnet_are_normal_by_fan_out(scale):
    names = ("conv1", "downsample", "bn2")
    params = initialised(preresnet.Block(64, 2, init_scale=scale), 16, names)
    for name, window in (("conv1", 9), ("downsample", 1)):
        assert set(params[name]) == {"kernel"}
        z = params[name]["kernel"] / (scale * np.sqrt(2 / (window * 64)))
        assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert np.abs(z).max() > 2.7
    assert not params["bn2"]["bias"].any()
    assert (params["bn2"]["scale"] == 1).all()


def assert_uniform(values, bound):
    z = values / bound
    assert 0.9 < np.abs(z).max() <= 1
    assert abs(z.std() - 1 / np.sqrt(3)) < 4 * 0.26 / np.sqrt(z.size)
    assert abs(z.mean()) < 4 / np.sqrt(3 * z.size)


@pytest.mark.slow
def test_convolutions_of_wide_resnet_are_pytorchs_defaults():
    params = initialised(wide_resnet.Block(64, 2, init_scale=3.0), 16, ("conv2", "shortcut"))
    for name, fan_in in (("conv2", 9 * 64), ("shortcut", 16)):
        for values in params[name].values():
            assert_uniform(values, 3 / np.sqrt(fan_in))


@pytest.mark.parametrize(
    ("name", "head"), [pytest.param("preresnet8", "fc", marks=long), ("wrn10x2", "linear")]
)
def test_dense_layers_are_pytorchs_defaults(name, head):
    layer = initialised(RESIDUAL[name](num_classes=400, init_scale=2.0), 1, (head,))[head]
    for values in layer.values():
        assert_uniform(values, 2 / np.sqrt(len(layer["kernel"])))


@long
@pytest.mark.parametrize("name", RESIDUAL)
def test_one_and_eight_devices_agree(name):
    """Dropout and batch norm see the global batch."""
    images = draw((8, 4, 4, 1)) + np.linspace(-1, 1, 8, dtype=np.float32)[:, None, None, None]
    plain, shared = (
        RESIDUAL[name](num_classes=5, dropout=0.3, axis_name=axis)
        for axis in (None, parallel.DATA_AXIS)
    )
    variables = draw_variables(plain, images)

    def forward(model, images):
        return model.apply(
            variables,
            images,
            True,
            rngs={"dropout": jax.random.key(7)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, layers.Dropout),
        )

    axis = P(parallel.DATA_AXIS)
    mapped = jax.shard_map(
        lambda images: forward(shared, images),
        mesh=jax.make_mesh((8,), (parallel.DATA_AXIS,), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=axis,
        out_specs=(axis, {"batch_stats": P(), "intermediates": axis}),
    )
    expected = jax.jit(lambda images: forward(plain, images))(images)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        jax.jit(mapped)(images),
        expected,
    )
    dropped = jax.tree.leaves(expected[1]["intermediates"])
    assert len(dropped) == 3  # one a block
    assert all(abs(np.mean(x == 0) - 0.3) < 4 * np.sqrt(0.21 / x.size) for x in dropped)


@long
@pytest.mark.parametrize("name", RESIDUAL)
def test_batch_norm_is_recomputed_along_a_curve_whose_ends_are_the_networks(name):
    """Statistics of the whole split as one batch: what the network does with it in training."""
    model = RESIDUAL[name](num_classes=3)
    data = small.data(24)
    ends = [
        draw_variables(model, data["images"])["params"],
        draw_variables(model, data["images"], seed=2)["params"],
    ]
    state = {"batch_stats": draw_variables(model, data["images"])["batch_stats"]}
    state = jax.tree.map(lambda x: x + 3, state)  # an old state: must not matter
    curve = curves.segment()
    times = [0.0, 0.3, 1.0]
    evaluator = evaluation.Evaluator(
        cross_entropy(model), small.clean, {"train": data}, small.mesh(1)
    )
    coefficients = [curve.coefficients(t) for t in times]
    metrics = evaluator(ends, np.asarray(coefficients), state)["train"]

    @jax.jit
    def direct(params):
        logits, _ = model.apply(
            {"params": params, **state}, data["images"], True, mutable=["batch_stats"]
        )
        losses = -jax.nn.log_softmax(logits)[jnp.arange(24), data["labels"]]
        return jnp.mean(losses), jnp.mean(jnp.argmax(logits, -1) == data["labels"])

    points = (ends[0], jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, *ends), ends[1])
    for i, params in enumerate(points):
        loss, accuracy = direct(params)
        np.testing.assert_allclose(metrics["loss"][i], loss, rtol=1e-4)
        np.testing.assert_allclose(metrics["accuracy"][i], accuracy, rtol=1e-6)


@long
@pytest.mark.parametrize("name", ["preresnet8", "preresnet56", "wrn16x4"])
def test_steps_contain_no_convolution_of_lax_on_cpu(name):
    """In a scan its gradients are slow; see `mcjax.flax.ops.convolution`."""
    model = models.create(name, num_classes=3, width=0.25)
    images = jnp.zeros((2, 10, 9, 1))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, False))

    def loss(variables):
        return jnp.sum(model.apply(variables, images, False))

    assert "conv_general_dilated[" not in str(jax.make_jaxpr(jax.grad(loss))(variables))


@pytest.mark.parametrize("depth", [2, 7, 10, 21, 44, 110 + 6])
def test_depths_of_no_preresnet(depth):
    with pytest.raises(ValueError, match=f"depth is {depth}: use 6n"):
        preresnet.PreResNet(depth, 10)


@pytest.mark.parametrize("depth", [4, 11, 30])
def test_depths_of_no_wide_resnet(depth):
    with pytest.raises(ValueError, match=f"depth is {depth}: use 6n"):
        wide_resnet.WideResNet(depth, 2, 10)


def test_names_and_their_modules():
    for name in set(preresnet.factories()) | set(wide_resnet.factories()):
        model = models.create(name, num_classes=3, axis_name="data", init_scale=2.0)
        kind, numbers = (
            ("preresnet", "{m.depth}") if "pre" in name else ("wrn", "{m.depth}x{m.widen}")
        )
        assert name == kind + numbers.format(m=model)
        assert (model.axis_name, model.dropout, model.init_scale) == ("data", 0.0, 2.0)
        assert models.create(name, num_classes=3, dropout=0.25).dropout == 0.25
