"""Wide residual networks (Zagoruyko & Komodakis, 2016), as Garipov et al. (2018) have them.

A 3x3 convolution of 16 channels, three stages of blocks with 16k, 32k and 64k channels of which the
second and third halve the image, batch norm, ReLU, the mean over the image, and a dense layer.
Submodules have the names that the parameters have there: ``layer2_0/conv1/kernel`` is
``layer2.0.conv1.weight``. The running averages of the last batch norm keep 0.1 of themselves a
step, the others' 0.9: so it is there, where ``momentum=0.9`` is what is replaced.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax

from mcjax.flax.models import residual
from mcjax.flax.ops import layers


class Block(nn.Module):
    """Batch norm, ReLU and a 3x3 convolution, twice, with dropout between, beside an identity.

    Attributes:
      features: channels of both convolutions.
      stride: of the second convolution, and of the shortcut.
      dropout: rate after the first convolution.
      init_scale: see `WideResNet`.
      axis_name: see `WideResNet`.
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """From ``[B, H, W, C]`` to ``[B, ceil(H / stride), ceil(W / stride), features]``.

        The shortcut is ``x`` itself where shapes agree, and a 1x1 convolution of ``x`` (named
        ``shortcut``) where they do not. All convolutions have biases.
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
      depth: 6n + 4 for n blocks a stage.
      widen: the factor k of a stage's channels.
      num_classes: number of logits.
      width: multiplies all channels, rounded, at least one; the first 16, too.
      dropout: rate between the convolutions of each block.
      init_scale: multiplies the standard deviation of the initialisation, that of Garipov's code:
        `layers.uniform` for all kernels and biases.
      axis_name: the mapped axis over which a batch is shared: batch norm's statistics are those
        of the global batch, and dropout does not depend on the devices.

    Raises:
      ValueError: there is no network of this depth.
    """

    depth: int
    widen: int
    num_classes: int
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    def __post_init__(self):
        """Refuses a wrong depth where the network is made."""
        if self.depth < 10 or (self.depth - 4) % 6:
            raise ValueError(f"depth is {self.depth}: use 6n + 4 (10, 16, ...)")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits ``[B, num_classes]`` of images ``[B, H, W, C]`` of any size."""
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
    """Constructors by name: ``wrn28x10`` (36.5 million parameters) and ``wrn16x4`` (2.7)."""
    return {f"wrn{d}x{k}": functools.partial(WideResNet, d, k) for d, k in ((28, 10), (16, 4))}


def _conv(x, features, size, stride, scale, name):
    """A convolution with bias, in PyTorch's initialisation, applied to ``x``."""
    init = layers.uniform(size * size * x.shape[-1], scale)
    return layers.conv(features, size, stride, kernel_init=init, bias_init=init, name=name)(x)
