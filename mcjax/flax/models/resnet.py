"""Residual networks (He et al., 2016, "Deep Residual Learning") as implemented in torchvision.

A 7x7 convolution of stride two and 3x3 max pooling; four stages of blocks with 64, 128, 256 and 512
planes, the last three of which halve the image; the mean over the image, and a dense layer.
Submodules have torchvision's names: ``layer2_0/downsample_0/kernel`` is
``layer2.0.downsample.0.weight``.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from mcjax.flax.ops import convolution, layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Number of blocks in each stage, by depth; from 50 on they are bottlenecks."""
CHANNELS = (64, 128, 256, 512)
"""Planes of the four stages; the first convolution has those of the first stage."""


class Block(nn.Module):
    """Convolutions with batch norm, ReLU between them, plus the shortcut; then ReLU.

    Attributes:
      planes: channels of the 3x3 convolutions.
      stride: stride of the first 3x3 convolution and of the shortcut.
      bottleneck: whether the convolutions are 1x1, 3x3 and 1x1, the last with ``4 * planes``
        channels, instead of two 3x3.
      init_scale: see `ResNet`.
      axis_name: see `ResNet`.

    >>> Block(planes=64, stride=2).bottleneck
    False
    """

    planes: int
    stride: int = 1
    bottleneck: bool = False
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out features"]:
        """Returns an image of ``ceil(h / stride)`` x ``ceil(w / stride)`` pixels.

        The shortcut is ``x`` if shapes agree, otherwise a 1x1 convolution and a batch norm, named
        ``downsample_0`` and ``downsample_1``. No convolution has a bias.
        """
        norm = functools.partial(layers.batch_norm, train, self.axis_name)
        convolutions = (
            (self.planes, 3, self.stride),
            (self.planes, 3, 1),
        )  # features, size, stride
        if self.bottleneck:
            convolutions = ((self.planes, 1, 1), convolutions[0], (4 * self.planes, 1, 1))
        y = x
        for i, convolution_ in enumerate(convolutions, start=1):
            y = nn.relu(y) if i > 1 else y
            y = norm(f"bn{i}")(_conv(*convolution_, self.init_scale, f"conv{i}")(y))
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = _conv(y.shape[-1], 1, self.stride, self.init_scale, "downsample_0")(x)
            x = norm("downsample_1")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Four stages of `Block`.

    Attributes:
      depth: one of `BLOCKS`: 18, 34 or 50.
      num_classes: number of logits.
      width: multiplies all channels, rounded, at least one.
      dropout: dropout rate before the dense layer; the original has none.
      init_scale: multiplies the standard deviation of the initialisation, which is torchvision's:
        `mcjax.flax.ops.layers.he_normal` with fan-out for convolutions,
        `mcjax.flax.ops.layers.uniform` for the dense layer.
      small_images: whether the first convolution is 3x3 with stride one and there is no max
        pooling, as is usual for 32x32 pixels.
      axis_name: mapped axis that shards the batch: batch norm uses the statistics of the global
        batch, and dropout does not depend on the devices.

    Raises:
      ValueError: there is no network of this depth.

    >>> ResNet(depth=18, num_classes=10, small_images=True).depth
    18
    >>> ResNet(depth=20, num_classes=10)
    Traceback (most recent call last):
    ValueError: depth is 20: use 18, 34 or 50
    """

    depth: int
    num_classes: int
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
    small_images: bool = False
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Raises for a wrong depth."""
        blocks(self.depth)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[Array, "b classes"]:
        """Returns logits; images may have any size."""
        size, stride = (3, 1) if self.small_images else (7, 2)
        first = layers.scaled(CHANNELS[0], self.width)
        x = _conv(first, size, stride, self.init_scale, "conv1")(images)
        x = nn.relu(layers.batch_norm(train, self.axis_name, "bn1")(x))
        if not self.small_images:
            x = convolution.max_pool_3x3(x)
        for name, stage, stride in blocks(self.depth):
            x = Block(
                layers.scaled(CHANNELS[stage], self.width),
                stride,
                self.depth >= 50,
                self.init_scale,
                self.axis_name,
                name=name,
            )(x, train)
        x = layers.Dropout(self.dropout, self.axis_name)(jnp.mean(x, axis=(1, 2)), train)
        init = layers.uniform(x.shape[-1], self.init_scale)
        return nn.Dense(self.num_classes, kernel_init=init, bias_init=init, name="fc")(x)


def blocks(depth: int) -> list[tuple[str, int, int]]:
    """Returns name, stage (from 0) and stride of each block.

    Raises:
      ValueError: there is no network of this depth.

    >>> blocks(18)[1:4]
    [('layer1_1', 0, 1), ('layer2_0', 1, 2), ('layer2_1', 1, 1)]
    """
    if depth not in BLOCKS:
        *most, last = BLOCKS
        raise ValueError(f"depth is {depth}: use {', '.join(map(str, most))} or {last}")
    return [
        (f"layer{stage + 1}_{i}", stage, 2 if stage > 0 and i == 0 else 1)
        for stage, count in enumerate(BLOCKS[depth])
        for i in range(count)
    ]


def factories() -> dict[str, Callable[..., ResNet]]:
    """Constructors by name.

    * ``resnet18``, ``resnet34``: two 3x3 convolutions per block; ``resnet50``: bottlenecks. They
      halve the image five times, so 224x224 pixels end as 7x7 and 32x32 as 1x1.
    * ``resnet18_cifar`` and so on: with ``small_images``; 32x32 pixels end as 4x4.

    >>> list(factories())
    ['resnet18', 'resnet34', 'resnet50', 'resnet18_cifar', 'resnet34_cifar', 'resnet50_cifar']
    """
    plain = {f"resnet{depth}": functools.partial(ResNet, depth) for depth in BLOCKS}
    small = {f"{n}_cifar": functools.partial(f, small_images=True) for n, f in plain.items()}
    return plain | small


def _conv(features: int, size: int, stride: int, scale: float, name: str) -> nn.Conv:
    init = layers.he_normal(scale, outputs=True)
    return layers.conv(features, size, stride, use_bias=False, kernel_init=init, name=name)
