"""What the residual networks for small images share: three stages of blocks, and their end."""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from mcjax.flax.ops import layers

CHANNELS = (16, 32, 64)
"""Of the three stages, before they are widened; the first convolution has those of the first."""


def blocks(count: int) -> Iterator[tuple[str, int, int]]:
    """Name, channels and stride of each of ``count`` blocks a stage.

    The second and third stage halve the image in their first block.

    >>> list(blocks(2))[:3]
    [('layer1_0', 16, 1), ('layer1_1', 16, 1), ('layer2_0', 32, 2)]
    """
    for stage, channels in enumerate(CHANNELS, start=1):
        for i in range(count):
            yield f"layer{stage}_{i}", channels, 2 if stage > 1 and i == 0 else 1


def logits(
    x: jax.Array,
    train: bool,
    num_classes: int,
    init_scale: float,
    axis_name: str | None,
    names: tuple[str, str],
    momentum: float = 0.9,
) -> jax.Array:
    """Batch norm, ReLU, the mean over the image, and a dense layer in PyTorch's initialisation.

    Call it in a module's compact method: batch norm and dense layer become its, under ``names``.
    The running averages keep ``momentum`` of themselves a step.
    """
    x = nn.relu(layers.batch_norm(train, axis_name, names[0], momentum)(x))
    x = jnp.mean(x, axis=(1, 2))
    init = layers.uniform(x.shape[-1], init_scale)
    return nn.Dense(num_classes, kernel_init=init, bias_init=init, name=names[1])(x)
