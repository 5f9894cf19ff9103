"""Wide residual networks (Zagoruyko & Komodakis, 2016), as in Garipov et al. (2018).

A 3x3 convolution with 16 channels; three stages of blocks with 16k, 32k and 64k channels, the
second and third of which halve the image; batch norm, ReLU, the mean over the image, and a dense
layer. Submodules are named after the parameters in Garipov's code: ``layer2_0/conv1/kernel`` is
``layer2.0.conv1.weight``. As there, each step multiplies the running averages of the last batch
norm by 0.1 and the others by 0.9: in PyTorch, ``momentum=0.9`` is the fraction that is replaced.
"""

import functools
from collections.abc import Callable

import flax.linen as nn

from mcjax.flax.models import residual
from mcjax.flax.ops import layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float


class Block(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, twice with dropout between, plus the shortcut.

    Attributes:
      features: channels of both convolutions.
      stride: stride of the second convolution and of the shortcut.
      dropout: dropout rate after the first convolution.
      init_scale: see `WideResNet`.
      axis_name: see `WideResNet`.

    >>> Block(features=160, dropout=0.3).stride
    1
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[AnyArray, "b h_out w_out features"]:
        """Returns an image of ``ceil(h / stride)`` x ``ceil(w / stride)`` pixels.

        The shortcut is ``x`` if shapes agree, otherwise a 1x1 convolution named ``shortcut``. All
        convolutions have biases.
        """
        y = nn.relu(layers.batch_norm(train, self.axis_name, "bn1")(x))
        y = _conv(y, self.features, 3, 1, self.init_scale, "conv1")
        y = layers.Dropout(self.dropout, self.axis_name, name="dropout")(y, train)
        y = nn.relu(layers.batch_norm(train, self.axis_name, "bn2")(y))
        y = _conv(y, self.features, 3, self.stride, self.init_scale, "conv2")
        if self.stride != 1 or x.shape[-1] != self.features:
            x = _conv(x, self.features, 1, self.stride, self.init_scale, "shortcut")
        return x + y


class WideResNet(nn.Module):
    """Three stages of `Block`.

    Attributes:
      depth: 6n + 4 for n blocks per stage.
      widen: factor k of the stages' channels.
      num_classes: number of logits.
      width: multiplies all channels, including the first 16, rounded, at least one.
      dropout: dropout rate between the convolutions of each block.
      init_scale: multiplies the standard deviation of the initialisation, which is Garipov's:
        `mcjax.flax.ops.layers.uniform` for all kernels and biases.
      axis_name: mapped axis that shards the batch: batch norm uses the statistics of the global
        batch, and dropout does not depend on the devices.

    Raises:
      ValueError: there is no network of this depth.

    >>> WideResNet(depth=28, widen=10, num_classes=10).widen
    10
    >>> WideResNet(depth=20, widen=10, num_classes=10)
    Traceback (most recent call last):
    ValueError: depth is 20: use 6n + 4 (10, 16, ...)
    """

    depth: int
    widen: int
    num_classes: int
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Raises for a wrong depth."""
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth is {self.depth}: use 6n + 4 (10, 16, ...)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[Array, "b classes"]:
        """Returns logits; images may have any size."""
        first = layers.scaled(residual.CHANNELS[0], self.width)
        x = _conv(images, first, 3, 1, self.init_scale, "conv1")
        for name, channels, stride in residual.blocks((self.depth - 4) // 6):
            x = Block(
                layers.scaled(channels * self.widen, self.width),
                stride,
                self.dropout,
                self.init_scale,
                self.axis_name,
                name=name,
            )(x, train)
        names = ("bn1", "linear")
        return residual.logits(
            x, train, self.num_classes, self.init_scale, self.axis_name, names, momentum=0.1
        )


def factories() -> dict[str, Callable[..., WideResNet]]:
    """Constructors by name: ``wrn28x10`` (36.5 million parameters) and ``wrn16x4`` (2.7).

    >>> list(factories())
    ['wrn28x10', 'wrn16x4']
    """
    return {f"wrn{d}x{k}": functools.partial(WideResNet, d, k) for d, k in ((28, 10), (16, 4))}


def _conv(x: AnyArray, features: int, size: int, stride: int, scale: float, name: str) -> Array:
    """Applies a convolution with bias and PyTorch's initialisation."""
    init = layers.uniform(size * size * x.shape[-1], scale)
    return layers.conv(features, size, stride, kernel_init=init, bias_init=init, name=name)(x)
