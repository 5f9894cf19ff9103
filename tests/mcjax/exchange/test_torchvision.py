"""torchvision's networks against PyTorch; test_torch_weights.py has their logits."""

import jax
import numpy as np
import pytest

from mcjax.exchange import torch_weights
from mcjax.exchange.torch_names import Layer
from mcjax.flax.models import resnet
from tests.mcjax.exchange.networks import network


@pytest.mark.parametrize("name", ["resnet50_cifar", "torchvision_vgg19_bn"])
def test_state_dicts_have_the_shapes_of_pytorch(name):
    pytest.importorskip("torch")
    from tests.mcjax.exchange import torch_networks

    _, template, layers = network(name, 1 / 32)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    arrays = torch_weights.from_flax(zeros, layers)
    theirs = torch_networks.create(name, 1 / 32).state_dict()
    assert {n: a.shape for n, a in arrays.items()} == {
        n: tuple(t.shape) for n, t in theirs.items() if not n.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("stride", [1, 2])
def test_bottlenecks_are_pytorchs(stride):
    """Equal values of a block of ResNet-50, whose 3x3 convolution has the stride."""
    torch = pytest.importorskip("torch")
    from tests.mcjax.exchange import torch_networks

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
