"""Residual networks with pre-activation (He et al., 2016) for small images.

"Identity Mappings in Deep Residual Networks", as implemented by Garipov et al. (2018): a 3x3
convolution; three stages of blocks with 16, 32 and 64 planes, the second and third of which halve
the image; batch norm, ReLU, the mean over the image, and a dense layer. Submodules are named after
the parameters in that code: ``layer2_0/conv1/kernel`` is ``layer2.0.conv1.weight``.
"""

import functools
from collections.abc import Callable

import flax.linen as nn

from mcjax.flax.models import residual
from mcjax.flax.ops import layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float

DEPTHS = (8, 20, 56, 110, 164)


class Block(nn.Module):
    """Batch norm, ReLU and convolution, two or three times, plus the shortcut.

    Attributes:
      planes: channels of the 3x3 convolutions.
      stride: stride of the first 3x3 convolution and of the shortcut.
      bottleneck: whether the convolutions are 1x1, 3x3 and 1x1, the last with ``4 * planes``
        channels, instead of two 3x3.
      dropout: dropout rate before the last batch norm.
      init_scale: see `PreResNet`.
      axis_name: see `PreResNet`.

    >>> Block(planes=16, bottleneck=True).stride
    1
    """

    planes: int
    stride: int = 1
    bottleneck: bool = False
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[AnyArray, "b h_out w_out features"]:
        """Returns an image of ``ceil(h / stride)`` x ``ceil(w / stride)`` pixels.

        The shortcut is ``x`` if shapes agree, otherwise a 1x1 convolution named ``downsample``. No
        convolution has a bias.
        """
        conv = functools.partial(
            layers.conv, use_bias=False, kernel_init=layers.he_normal(self.init_scale, outputs=True)
        )
        convolutions = (
            (self.planes, 3, self.stride),
            (self.planes, 3, 1),
        )  # features, size, stride
        if self.bottleneck:
            convolutions = ((self.planes, 1, 1), convolutions[0], (4 * self.planes, 1, 1))
        y = x
        for i, convolution in enumerate(convolutions, start=1):
            if i == len(convolutions):
                y = layers.Dropout(self.dropout, self.axis_name, name="dropout")(y, train)
            y = nn.relu(layers.batch_norm(train, self.axis_name, f"bn{i}")(y))
            y = conv(*convolution, name=f"conv{i}")(y)
        if self.stride != 1 or x.shape[-1] != y.shape[-1]:
            x = conv(y.shape[-1], 1, self.stride, name="downsample")(x)
        return x + y


class PreResNet(nn.Module):
    """Three stages of `Block`.

    Attributes:
      depth: number of layers with weights: 6n + 2 below 44, with n blocks of two convolutions per
        stage; 9n + 2 from 47 on, with n bottlenecks.
      num_classes: number of logits.
      width: multiplies all channels, rounded, at least one.
      dropout: dropout rate before the last batch norm of each block; the original has none.
      init_scale: multiplies the standard deviation of the initialisation, which is Garipov's:
        `mcjax.flax.ops.layers.he_normal` with fan-out for convolutions,
        `mcjax.flax.ops.layers.uniform` for the dense layer.
      axis_name: mapped axis that shards the batch: batch norm uses the statistics of the global
        batch, and dropout does not depend on the devices.

    Raises:
      ValueError: there is no network of this depth.

    >>> PreResNet(depth=20, num_classes=10).width
    1.0
    >>> PreResNet(depth=18, num_classes=10)
    Traceback (most recent call last):
    ValueError: depth is 18: use 6n + 2 below 44 (8, 14, ...), 9n + 2 from 47 on
    """

    depth: int
    num_classes: int
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
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
        count, bottleneck = blocks(self.depth)
        x = layers.conv(
            layers.scaled(residual.CHANNELS[0], self.width),
            3,
            use_bias=False,
            kernel_init=layers.he_normal(self.init_scale, outputs=True),
            name="conv1",
        )(images)
        for name, planes, stride in residual.blocks(count):
            x = Block(
                layers.scaled(planes, self.width),
                stride,
                bottleneck,
                self.dropout,
                self.init_scale,
                self.axis_name,
                name=name,
            )(x, train)
        return residual.logits(
            x, train, self.num_classes, self.init_scale, self.axis_name, ("bn", "fc")
        )


def blocks(depth: int) -> tuple[int, bool]:
    """Returns the number of blocks per stage, and whether they are bottlenecks.

    >>> blocks(20), blocks(110)
    ((3, False), (12, True))

    Raises:
      ValueError: there is no network of this depth.
    """
    bottleneck = depth >= 44
    layers_of_three = 9 if bottleneck else 6
    count, rest = divmod(depth - 2, layers_of_three)
    if rest or count < 1:
        raise ValueError(f"depth is {depth}: use 6n + 2 below 44 (8, 14, ...), 9n + 2 from 47 on")
    return count, bottleneck


def factories() -> dict[str, Callable[..., PreResNet]]:
    """Constructors by name.

    * ``preresnet8``, ``preresnet20``: two 3x3 convolutions per block;
    * ``preresnet56``, ``preresnet110``, ``preresnet164``: bottlenecks.

    >>> list(factories())
    ['preresnet8', 'preresnet20', 'preresnet56', 'preresnet110', 'preresnet164']
    """
    return {f"preresnet{depth}": functools.partial(PreResNet, depth) for depth in DEPTHS}
