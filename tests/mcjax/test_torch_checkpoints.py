"""PyTorch's weights here and back; with torch live, without it by what was recorded of it."""

import functools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.exchange import torch_files, torch_names, torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.flax import models
from mcjax.flax.ops import convolution
from tests.comparison import assert_same_bits

RECORDED = Path(__file__).parent / "recorded"
WIDTHS = {
    "vgg16_bn": 1 / 32,
    "preresnet8": 0.25,
    "wrn16x4": 1 / 16,
    "resnet18": 1 / 32,
    "torchvision_vgg11_bn": 1 / 64,
}
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


@functools.cache
def network(name, width=1.0, pixels=32, classes=7):
    model = models.create(name, num_classes=classes, width=width)
    images = jnp.zeros((1, pixels, pixels, 3))
    template = jax.eval_shape(lambda k: model.init(k, images, False), jax.random.key(0))
    return model, template, torch_names.layers_of(model)


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
    from tests.mcjax import torch_networks

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


@pytest.mark.parametrize("container", [None, *torch_files.CONTAINERS])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_containers_and_wrappers(container, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    weights = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
    wrapped = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    whole = {container: wrapped, "epoch": 7, "optimizer": {"state": {}}} if container else wrapped
    torch.save(whole, tmp_path / "x.pth")
    arrays = torch_files.read(tmp_path / "x.pth")
    assert arrays.keys() == weights.keys() - {"1.num_batches_tracked"}
    np.testing.assert_array_equal(arrays["0.weight"], weights["0.weight"].numpy())


def test_a_prefix_of_some_names_stays(tmp_path):
    pytest.importorskip("safetensors")
    arrays = {"module.a": np.ones(2), "b": np.zeros(3)}
    torch_files.write(tmp_path / "x.safetensors", arrays)
    assert torch_files.read(tmp_path / "x.safetensors").keys() == arrays.keys()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_types(suffix, tmp_path):
    """Half precision is read; bfloat16 as float32, which numpy's users can use."""
    torch = pytest.importorskip("torch")
    from safetensors import torch as safetensors

    tensors = {k: torch.tensor([0.5, -3.0]).to(getattr(torch, k)) for k in _FLOATS}
    path = tmp_path / f"x.{suffix}"
    torch.save(tensors, path) if suffix == "pt" else safetensors.save_file(tensors, path)
    for name, array in torch_files.read(path).items():
        assert array.dtype == _FLOATS[name]
        np.testing.assert_array_equal(array, [0.5, -3.0])


_FLOATS = {"float64": "float64", "float32": "float32", "float16": "float16", "bfloat16": "float32"}


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


def test_what_is_no_tensor_beside_the_weights_is_left_out(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "epoch": 3}, tmp_path / "x.pt")
    assert torch_files.read(tmp_path / "x.pt").keys() == {"w"}


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.0 Conv_0", "line 1: write THEIRS = OURS"),
        ("a = B\n\n c = D flattens many", "line 3: write THEIRS = OURS"),
        ("a = B # one\na = C", "has a twice"),
        ("a = B\nc = B", "has B twice"),
        ("# nothing", "is empty"),
        ('{"a": "B"', "is no JSON"),
        (None, "cannot be read"),
    ],
)
def test_wrong_name_maps(text, words, tmp_path):
    if text is not None:
        (tmp_path / "map").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        torch_names.read_map(tmp_path / "map")


def test_name_maps(tmp_path):
    layers = (Layer("fc.1", "Dense_0", 64), Layer("fc.2", "Dense_1", 3))
    (tmp_path / "lines").write_text("# theirs\nfc.1 = Dense_0\nfc.2=Dense_1  flattens 3 # so\n")
    pairs = {"fc.1": "Dense_0", "fc.2": "Dense_1 flattens 3"}
    (tmp_path / "json").write_text(json.dumps(pairs))
    known = [Layer("classifier.1", "Dense_0", 64)]
    assert torch_names.read_map(tmp_path / "lines", known) == layers
    assert torch_names.read_map(tmp_path / "json", known) == layers
    assert torch_names.read_map(tmp_path / "json")[0].flattened == 0


def test_networks_without_names():
    with pytest.raises(ValueError, match="no PyTorch names are known for a MLP"):
        torch_names.layers_of(models.create("mlp", num_classes=3))


def test_wrong_safetensors_files(tmp_path):
    content = (RECORDED / "preresnet8.safetensors").read_bytes()
    path = tmp_path / "x.safetensors"
    for wrong in (content[:-5], content[:100], b"", b"not such a file"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"x.safetensors is damaged or no safetensors file: "):
            torch_files.read(path)
    torch_files.write(path, {})
    with pytest.raises(ValueError, match="holds no arrays"):
        torch_files.read(path)
    with pytest.raises(ValueError, match="there is no file"):
        torch_files.read(tmp_path / "y.safetensors")
    with pytest.raises(ValueError, match="format 'npz' is unknown: use pt or safetensors"):
        torch_files.encode({}, "npz")


def test_wrong_torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"more than weights \(torch.nn.modules.linear.Linear\)"):
        torch_files.read(path)
    torch.save({"weights": [torch.ones(2)], "epoch": 3}, path)
    with pytest.raises(ValueError, match="holds a dict of weights, epoch, and no state dict in it"):
        torch_files.read(path)
    torch.save({"a": torch.ones(2)}, path)
    for wrong in (path.read_bytes()[:-40], b"", b"hello world"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"x.pt is damaged or no PyTorch checkpoint") as caught:
            torch_files.read(path)
        assert "\n" not in str(caught.value)


def test_packages_that_are_not_there(monkeypatch, tmp_path):
    for package in ("torch", "safetensors"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    for name, remedy in (("x.pt", "pip install torch"), ("x.safetensors", "pip install safet")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ValueError, match=remedy):
            torch_files.read(tmp_path / name)
        with pytest.raises(ValueError, match=remedy):
            torch_files.write(tmp_path / name, {})


def test_a_map_of_arrays_flattens_as_the_layers_do(tmp_path):
    model, _, layers = network("vgg7", 0.1, 8)
    variables = model.init(jax.random.key(3), jnp.zeros((1, 8, 8, 3)), False)
    arrays = torch_weights.from_flax(variables, layers)
    lines = [
        f"{layer.theirs}.{theirs} = {layer.ours}/{ours}"
        for layer in layers
        for theirs, ours in (("weight", "kernel"), ("bias", "bias"))
    ]
    (tmp_path / "map").write_text("\n".join(lines))
    named = torch_names.read_map(tmp_path / "map", layers)
    assert any(layer.flattened > 1 for layer in named)
    assert_same_bits(torch_weights.to_flax(arrays, variables, named), variables)


def test_narrow_wide_resnets_have_the_names_of_their_layers():
    """At a sixteenth of the width the first 16 channels and the stage's 64 are both few."""
    for width in (1.0, 1 / 16, 1 / 64):
        model, template, layers = network("wrn16x4", width)
        variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        assert len(torch_weights.from_flax(variables, layers)) > 60, model


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


def test_numbers_of_other_types(tmp_path):
    torch = pytest.importorskip("torch")
    content = torch_files.encode({"w": np.ones(2, jnp.bfloat16)}, "pt")
    (tmp_path / "b.pt").write_bytes(content)
    assert torch.load(tmp_path / "b.pt", weights_only=True)["w"].dtype == torch.bfloat16
    torch.save({"w": torch.ones(2).to_sparse()}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match=r"s\.pt: w is of type torch.float32 .*sparse"):
        torch_files.read(tmp_path / "s.pt")
