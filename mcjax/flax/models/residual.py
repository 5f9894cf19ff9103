"""Shared parts of the residual networks for small images: the stages and the last layers."""

from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp

from mcjax.flax.ops import layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float

CHANNELS = (16, 32, 64)
"""Channels of the three stages before widening; the first convolution has those of the first."""


def blocks(count: int) -> Iterator[tuple[str, int, int]]:
    """Yields name, channels and stride of the blocks, ``count`` per stage.

    The second and third stage halve the image in their first block.

    >>> list(blocks(2))[:3]
    [('layer1_0', 16, 1), ('layer1_1', 16, 1), ('layer2_0', 32, 2)]
    """
    for stage, channels in enumerate(CHANNELS, start=1):
        for i in range(count):
            yield f"layer{stage}_{i}", channels, 2 if stage > 1 and i == 0 else 1


def logits(
    x: Float[AnyArray, "b h w c"],
    train: bool,
    num_classes: int,
    init_scale: float,
    axis_name: str | None,
    names: tuple[str, str],
    momentum: float = 0.9,
) -> Float[Array, "b classes"]:
    """Batch norm, ReLU, the mean over the image, and a dense layer with PyTorch's initialisation.

    Call this in a compact method: batch norm and dense layer become submodules called ``names``.
    Each step multiplies the running averages by ``momentum``.
    """
    x = nn.relu(layers.batch_norm(train, axis_name, names[0], momentum)(x))
    x = jnp.mean(x, axis=(1, 2))
    init = layers.uniform(x.shape[-1], init_scale)
    return nn.Dense(num_classes, kernel_init=init, bias_init=init, name=names[1])(x)
