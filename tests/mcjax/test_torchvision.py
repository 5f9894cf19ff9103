"""torchvision's ResNet and VGG: its sizes and names; test_torch_checkpoints.py has their logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.exchange import torch_names, torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.flax import models
from mcjax.flax.models import resnet, vgg
from mcjax.flax.ops import convolution

# Parameters with 1,000 classes, from torchvision's documentation of its weights.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "torchvision_vgg11_bn": 132_868_840,
    "torchvision_vgg16": 138_357_544,
}


def shapes(name, classes=1000, width=1.0, pixels=64):
    model = models.create(name, num_classes=classes, width=width)
    images = jnp.zeros((1, pixels, pixels, 3))
    return model, jax.eval_shape(lambda k: model.init(k, images, False), jax.random.key(0))


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_torchvisions(name):
    assert sum(x.size for x in jax.tree.leaves(shapes(name)[1]["params"])) == COUNTS[name]


@pytest.mark.parametrize("name", ["resnet18", "torchvision_vgg11"])
def test_images_of_any_size_and_classes_of_any_number(name):
    """The same weights take images of 224, of 32 and of 75x50 pixels."""
    model, variables = shapes(name, 100, 1 / 64, pixels=224)
    for size in ((32, 32), (75, 50)):
        images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        logits = jax.eval_shape(lambda v, x: model.apply(v, x, False), variables, images)
        assert logits.shape == (2, 100)


def test_names_are_torchvisions():
    layers = torch_names.layers_of(models.create("resnet50", num_classes=3))
    assert layers[:3] == (
        Layer("conv1", "conv1"),
        Layer("bn1", "bn1"),
        Layer("layer1.0.conv1", "layer1_0/conv1"),
    )
    assert Layer("layer1.0.downsample.1", "layer1_0/downsample_1") in layers
    assert "layer1.1.downsample.0" not in {layer.theirs for layer in layers}
    layers = torch_names.layers_of(models.create("torchvision_vgg11_bn", num_classes=3))
    assert layers[2:5] == (
        Layer("features.4", "Conv_1"),
        Layer("features.5", "BatchNorm_1"),
        Layer("features.8", "Conv_2"),
    )
    assert layers[-3:] == (
        Layer("classifier.0", "Dense_0", 512),
        Layer("classifier.3", "Dense_1"),
        Layer("classifier.6", "Dense_2"),
    )


@pytest.mark.parametrize("name", ["resnet50_cifar", "torchvision_vgg19_bn"])
def test_state_dicts_have_the_shapes_of_pytorch(name):
    pytest.importorskip("torch")
    from tests.mcjax import torch_networks

    model, template = shapes(name, 7, 1 / 32)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    arrays = torch_weights.from_flax(zeros, torch_names.layers_of(model))
    theirs = torch_networks.create(name, 1 / 32).state_dict()
    assert {n: a.shape for n, a in arrays.items()} == {
        n: tuple(t.shape) for n, t in theirs.items() if not n.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("stride", [1, 2])
def test_bottlenecks_are_pytorchs(stride):
    """Equal values of a block of ResNet-50, whose 3x3 convolution has the stride."""
    torch = pytest.importorskip("torch")
    from tests.mcjax import torch_networks

    convolutions = [(3, 1, 1), (3, 3, stride), (12, 1, 1)]
    theirs = torch_networks.randomize(torch_networks.Residual(5, convolutions, stride))
    x = np.random.default_rng(0).normal(0.2, 1, (2, 5, 6, 5)).astype(np.float32)
    model = resnet.Block(3, stride, bottleneck=True)
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
    layers = [Layer(f"{kind}{i}", f"{kind}{i}") for kind in ("conv", "bn") for i in (1, 2, 3)]
    layers += [Layer(f"downsample.{i}", f"downsample_{i}") for i in (0, 1)]
    arrays = {n: t.numpy() for n, t in theirs.state_dict().items() if t.ndim}
    variables = torch_weights.to_flax(arrays, template, layers)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    found = jax.jit(lambda v: model.apply(v, x, False))(variables)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_networks_are_recognised_by_the_names_of_a_file():
    for name, same in (
        ("resnet50", ["resnet50", "resnet50_cifar"]),
        ("torchvision_vgg13", ["torchvision_vgg13"]),
    ):
        layers = torch_names.layers_of(models.create(name, num_classes=2))
        names = [f"model.{layer.theirs}.weight" for layer in layers]
        assert torch_weights.networks_of(names) == same
    assert torch_weights.networks_of(["fc.weight"]) == []


@pytest.mark.parametrize("size", [(4, 7), (1, 2)])
def test_pooling(size):
    """Windows written out one by one; padding is less than any value, negative ones too."""
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
