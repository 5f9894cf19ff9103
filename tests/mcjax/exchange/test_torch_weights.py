"""PyTorch's weights here and back; with torch live, without it by what was recorded of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.exchange import torch_files, torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.flax.ops import convolution
from tests.mcjax.exchange.networks import RECORDED, network

WIDTHS = {
    "vgg16_bn": 1 / 32,
    "preresnet8": 0.25,
    "wrn16x4": 1 / 16,
    "resnet18": 1 / 32,
    "torchvision_vgg11_bn": 1 / 64,
}
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


@pytest.fixture
def logits(monkeypatch):
    """By lax's convolutions, compiled in haste; test_convolution.py compares them with ours."""
    monkeypatch.setattr(convolution, "conv_general_dilated", jax.lax.conv_general_dilated)
    jax.config.update("jax_disable_most_optimizations", True)

    def compute(model, variables, images):
        return jax.jit(model.apply, static_argnums=2)(
            variables, jnp.float32(images) / 64 - 2, False
        )

    yield compute
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def recorded():
    """Weights of a narrow VGG16 with batch norm, without what was recorded of its answers."""
    arrays = torch_files.read(RECORDED / "vgg16_bn.safetensors")
    return {n: a for n, a in arrays.items() if n not in ("images", "logits")}


@pytest.mark.parametrize("name", WIDTHS)
def test_logits_are_the_recorded_ones(name, logits):
    arrays = torch_files.read(RECORDED / f"{name}.safetensors")
    images, expected = arrays.pop("images"), arrays.pop("logits")
    model, template, layers = network(name, WIDTHS[name], images.shape[1])
    variables = torch_weights.to_flax(arrays, template, layers)
    assert jax.tree.map(lambda x: x.dtype, variables) == jax.tree.map(lambda x: x.dtype, template)
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(logits(model, variables, images), expected, **CLOSE)


@pytest.mark.parametrize(
    ("name", "width", "pixels"),
    [
        ("vgg16", 1.0, 32),
        ("vgg19_bn", 1 / 16, 64),  # flattens 2x2 pixels
        ("preresnet20", 0.5, 32),
        ("preresnet56", 0.25, 32),  # bottlenecks
        pytest.param("resnet50", 1 / 16, 45, marks=pytest.mark.long),
        pytest.param("resnet34_cifar", 1 / 16, 32, marks=pytest.mark.long),
        pytest.param("torchvision_vgg16", 1 / 32, 32, marks=pytest.mark.long),
    ],
)
def test_live_torch(name, width, pixels, logits, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.mcjax.exchange import torch_networks

    theirs = torch_networks.create(name, width, pixels)
    torch.save({"epoch": 3, "model_state": theirs.state_dict()}, tmp_path / "theirs.pt")
    arrays = torch_files.read(tmp_path / "theirs.pt")
    model, template, layers = network(name, width, pixels)
    variables = torch_weights.to_flax(arrays, template, layers)
    images = torch_networks.images(pixels)
    expected = torch_networks.logits(theirs, images)
    np.testing.assert_allclose(logits(model, variables, images), expected, **CLOSE)

    back = torch_weights.from_flax(variables, layers)
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key], array)
    torch_files.write(tmp_path / "back.pt", back)
    torch.manual_seed(0)
    fresh = torch_networks.create(name, width, pixels).apply(_forget)
    fresh.load_state_dict(torch.load(tmp_path / "back.pt", weights_only=True), strict=True)
    np.testing.assert_array_equal(torch_networks.logits(fresh, images), expected)


def _forget(layer):
    for tensor in layer.state_dict().values():
        tensor.zero_()


def test_there_and_back_without_torch(recorded, tmp_path):
    _, template, layers = network("vgg16_bn", 1 / 32, 64)
    variables = torch_weights.to_flax(recorded, template, layers)
    back = torch_weights.from_flax(variables, layers)
    torch_files.write(tmp_path / "x.safetensors", back)  # transposed views, written as they look
    found = torch_files.read(tmp_path / "x.safetensors")
    assert found.keys() == recorded.keys()
    for key, array in recorded.items():
        np.testing.assert_array_equal(found[key], array)


def test_what_does_not_fit_is_named(recorded):
    _, template, layers = network("vgg16_bn", 1 / 32, 64)
    recorded["classifier.6.weight"] = np.zeros((100, 16))
    recorded["head.weight"] = recorded.pop("classifier.4.weight")
    with pytest.raises(torch_weights.Mismatch) as caught:
        torch_weights.to_flax(recorded, template, layers)
    assert caught.value.unplaced == ["head.weight"]
    assert caught.value.missing == ["Dense_1/kernel (classifier.4.weight)"]
    assert caught.value.misshapen == ["classifier.6.weight ([100, 16], not [7, 16])"]
    assert str(caught.value) == (
        "checkpoint and network do not fit: no place for head.weight; no value for Dense_1/kernel "
        "(classifier.4.weight); another shape in classifier.6.weight ([100, 16], not [7, 16])"
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"head.weight": (3, 2), "head.bias": (2,)}, r"head.weight \(\[3, 2\], not \[2, 3\]\)"),
        ({"head.weight": (2, 3)}, r"no value for Dense_0/bias \(head.bias\)"),
    ],
)
def test_one_array_that_does_not_fit_is_enough(arrays, words):
    variables = {"params": {"Dense_0": {"kernel": np.ones((3, 2)), "bias": np.zeros(2)}}}
    arrays = {name: np.ones(shape) for name, shape in arrays.items()}
    with pytest.raises(torch_weights.Mismatch, match=words):
        torch_weights.to_flax(arrays, variables, [Layer("head", "Dense_0")])


def test_many_that_do_not_fit_are_counted(recorded):
    _, template, layers = network("vgg16_bn", 1 / 32, 64)
    strange = {f"net_{name}": array for name, array in recorded.items()}
    with pytest.raises(torch_weights.Mismatch, match=r"and 78 more; no value") as caught:
        torch_weights.to_flax(strange, template, layers)
    assert caught.value.unplaced == sorted(strange)
    assert "no place for net_classifier.1.bias, " in str(caught.value)
    assert ", net_classifier.6.weight and 78 more; no value for " in str(caught.value)


def test_layers_that_are_not_there(recorded):
    _, template, layers = network("vgg16_bn", 1 / 32, 64)
    few = [layer for layer in layers if layer.ours != "Conv_2"]
    variables = torch_weights.to_flax(recorded, template, layers)
    with pytest.raises(torch_weights.Mismatch, match=r"Conv_2/kernel \(without a name\)"):
        torch_weights.from_flax(variables, few)
    with pytest.raises(ValueError, match=r"no layer 'Conv_99' \(for extra\): it has BatchNorm_0, "):
        torch_weights.to_flax(recorded, template, [*layers, Layer("extra", "Conv_99")])
    odd = [one._replace(flattened=5) if one.flattened else one for one in layers]
    with pytest.raises(ValueError, match="Dense_0 flattens 5 channels, which do not divide its 64"):
        torch_weights.to_flax(recorded, template, odd)


def test_single_arrays_have_names_of_their_own():
    variables = {"params": {"token": np.arange(3.0), "Dense_0": {"kernel": np.ones((2, 4))}}}
    layers = [Layer("cls_token", "token"), Layer("head", "Dense_0")]
    arrays = torch_weights.from_flax(variables, layers)
    assert {n: a.shape for n, a in arrays.items()} == {"cls_token": (3,), "head.weight": (4, 2)}


def test_norms_that_nothing_went_through(recorded):
    """Garipov's VGG16BN runs half of its layers; what is never run keeps the averages it had."""
    assert torch_weights.unused_norms(recorded) == []
    for name in ("layer_blocks.0.3", "layer_blocks.4.5"):
        recorded[f"{name}.running_mean"] = np.zeros_like(recorded[f"{name}.running_mean"])
        recorded[f"{name}.running_var"] = np.ones_like(recorded[f"{name}.running_var"])
    unused = sorted(torch_weights.unused_norms(recorded))
    assert unused == ["layer_blocks.0.3", "layer_blocks.4.5"]
    untrained = {"a.running_mean": np.zeros(3), "a.running_var": np.ones(3)}
    assert torch_weights.unused_norms(untrained) == []


@pytest.mark.parametrize("prefix", ["model.", "net.0.", "module.backbone."])
def test_one_common_prefix_is_left_out(prefix):
    template = {"params": {"Dense_0": {"bias": np.zeros(2, np.float32)}}}
    arrays = {f"{prefix}fc.bias": np.arange(2)}
    variables = torch_weights.to_flax(arrays, template, [Layer("fc", "Dense_0")])
    np.testing.assert_array_equal(variables["params"]["Dense_0"]["bias"], [0, 1])


def test_prefixes_that_a_name_map_has_stay():
    template = {"params": {"Dense_0": {"bias": np.zeros(2, np.float32)}}}
    layers = [Layer("model.fc", "Dense_0")]
    for name in ("model.fc.bias", "lightning.model.fc.bias"):
        torch_weights.to_flax({name: np.arange(2)}, template, layers)
    both = {"a.fc.bias": np.ones(2), "b.fc.bias": np.ones(2)}
    with pytest.raises(torch_weights.Mismatch, match=r"no place for a\.fc\.bias, b\.fc\.bias"):
        torch_weights.to_flax(both, template, [Layer("fc", "Dense_0")])


def test_variances_are_taken_over_as_pytorch_has_them():
    """Equal outputs; the variance is n / (n - 1) times what is recomputed of the same batch."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(1, 2, (3, 2, 2, 5)).astype(np.float32)
    channels_first = torch.from_numpy(x).permute(0, 3, 1, 2)
    theirs = torch.nn.BatchNorm2d(5, momentum=1.0, affine=False)
    theirs(channels_first)  # its running averages are this batch's own now
    model = nn.BatchNorm(True, epsilon=1e-5, use_bias=False, use_scale=False)
    template = {"batch_stats": {n: np.zeros(5, np.float32) for n in ("mean", "var")}}
    layers = [Layer("norm.running_mean", "mean"), Layer("norm.running_var", "var")]
    arrays = {f"norm.{n}": t.numpy() for n, t in theirs.state_dict().items() if t.ndim}
    variables = torch_weights.to_flax(arrays, template, layers)
    with torch.no_grad():
        expected = theirs.eval()(channels_first).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.apply(variables, x), expected, rtol=1e-5, atol=1e-6)
    n = x[..., 0].size
    biased = x.var((0, 1, 2))
    np.testing.assert_allclose(variables["batch_stats"]["var"], biased * n / (n - 1), rtol=1e-5)
    back = torch_weights.from_flax(variables, layers)
    np.testing.assert_array_equal(back["norm.running_var"], arrays["norm.running_var"])
