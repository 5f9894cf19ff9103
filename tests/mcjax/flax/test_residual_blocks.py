"""What a block of the residual networks computes, and their last layers, against numpy."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from mcjax.flax.models import preresnet, residual, wide_resnet
from mcjax.flax.ops import layers
from tests.mcjax.flax.networks import draw, draw_variables

pytestmark = pytest.mark.usefixtures("only_direct")


def convolved(x, layer, stride):
    """Padded by half of the kernel on all sides, as PyTorch does."""
    kernel = layer["kernel"].astype(np.float64)
    height, width = (-(-size // stride) for size in x.shape[1:3])
    padded = np.pad(x, [(0, 0), *[(len(kernel) // 2,) * 2] * 2, (0, 0)])
    y = np.zeros((len(x), height, width, kernel.shape[-1])) + layer.get("bias", 0)
    for i, j in np.ndindex(*kernel.shape[:2]):
        rows, columns = (slice(k, k + stride * (n - 1) + 1, stride)
                         for k, n in ((i, height), (j, width)))  # fmt: skip
        y += padded[:, rows, columns] @ kernel[i, j]
    return y


BLOCKS = {  # the block, its input's channels, the convolution that has the stride, the shortcut
    "preresnet, strided": (preresnet.Block(3, 2), 2, 1, "downsample"),
    "preresnet, wider": (preresnet.Block(3), 2, 1, "downsample"),
    "preresnet, identity": (preresnet.Block(3), 3, 1, None),
    "preresnet, bottleneck": (preresnet.Block(2, 2, bottleneck=True), 3, 2, "downsample"),
    "wide_resnet, strided": (wide_resnet.Block(3, 2), 2, 2, "shortcut"),
    "wide_resnet, identity": (wide_resnet.Block(3), 3, 2, None),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block_by_hand(name):
    block, channels, strided, shortcut = BLOCKS[name]
    images = draw((2, 4, 6, channels))
    variables = draw_variables(block, images)
    rng = np.random.default_rng(2)
    averages = jax.tree.map(
        lambda x: rng.uniform(0.5, 2, x.shape).astype(np.float32), variables["batch_stats"]
    )
    params, x = variables["params"], images.astype(np.float64)
    y, count = x, sum(layer.startswith("conv") for layer in params)
    assert count == (3 if "bottleneck" in name else 2)
    for i in range(1, count + 1):
        norm, seen = params[f"bn{i}"], averages[f"bn{i}"]
        y = norm["scale"] * (y - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) + norm["bias"]
        stride = block.stride if i == strided else 1
        y = convolved(np.maximum(y, 0), params[f"conv{i}"], stride)
    assert (shortcut in params) == (shortcut is not None)
    y += convolved(x, params[shortcut], block.stride) if shortcut else x
    found = jax.jit(lambda v: block.apply(v, images, False))({**variables, "batch_stats": averages})
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)
    assert found.shape[-1] == (8 if "bottleneck" in name else 3)


@pytest.mark.slow
@pytest.mark.parametrize("block", [preresnet.Block(5), wide_resnet.Block(5)])
def test_dropout_before_the_last_batch_norm(block):
    images = draw((8, 4, 6, 2))
    variables = draw_variables(block, images)
    _, state = jax.jit(
        lambda v: block.clone(dropout=0.3).apply(
            v, images, True, rngs={"dropout": jax.random.key(7)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: isinstance(module, layers.Dropout),
        )
    )(variables)  # fmt: skip
    dropped = np.asarray(state["intermediates"]["dropout"]["__call__"][0])
    assert dropped.shape[-1] == 5  # after the first convolution, not before it
    assert abs(np.mean(dropped == 0) - 0.3) < 4 * np.sqrt(0.21 / dropped.size)


def test_last_layers_by_hand():
    """Batch norm, ReLU, the mean over the image and the dense layer."""

    class Last(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return residual.logits(x, train, 5, 1.0, None, ("bn", "fc"))

    x = draw((3, 2, 4, 6))
    variables = draw_variables(Last(), x)
    norm, dense = (variables["params"][name] for name in ("bn", "fc"))
    y = np.maximum(norm["scale"] * (x - 1) / np.sqrt(1 + 1e-5) + norm["bias"], 0).mean((1, 2))
    expected = y @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(Last().apply(variables, x, False), expected, rtol=1e-4, atol=1e-5)
