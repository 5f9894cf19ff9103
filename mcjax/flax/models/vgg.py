"""VGG networks (Simonyan & Zisserman, 2015) for small images, as in Garipov et al. (2018).

The paper's section 3 trains VGG16 on CIFAR-10: thirteen 3x3 convolutions with biases, pooling after
each stage, and dense layers of 512, 512 and the number of classes, with dropout before the first
two. The number in a name counts the layers with weights.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from mcjax.flax.ops import convolution, layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float

STAGES: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg11": ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg13": ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Channels of the convolutions of each stage, from Simonyan & Zisserman's table 1."""


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each followed by 2x2 max pooling, then dense layers.

    Attributes:
      stages: channels of the convolutions in each stage.
      num_classes: number of logits.
      dense: features of the hidden dense layers, each with dropout before it.
      width: multiplies all channels and ``dense``, rounded, at least one.
      dropout: dropout rate before each hidden dense layer.
      init_scale: multiplies the standard deviation of `mcjax.flax.ops.layers.he_normal`.
      batch_norm: whether to normalise after each convolution (Ioffe & Szegedy, 2015).
      axis_name: mapped axis that shards the batch: batch norm uses the statistics of the global
        batch, and dropout does not depend on the devices.

    >>> model = VGG(((8,), (16, 16)), num_classes=10, dense=(32,), batch_norm=True)
    >>> model.stages, model.dropout
    (((8,), (16, 16)), 0.5)
    """

    stages: tuple[tuple[int, ...], ...]
    num_classes: int
    dense: tuple[int, ...] = (512, 512)
    width: float = 1.0
    dropout: float = 0.5
    init_scale: float = 1.0
    batch_norm: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[Array, "b classes"]:
        """Returns logits; images may have any size.

        Pooling leaves a dimension of one pixel unchanged.
        """
        init = layers.he_normal(self.init_scale)
        x = self._features(images, init, train)
        x = x.reshape(len(x), -1)
        for features in self.dense:
            x = layers.Dropout(self.dropout, self.axis_name)(x, train)
            x = nn.relu(nn.Dense(layers.scaled(features, self.width), kernel_init=init)(x))
        return nn.Dense(self.num_classes, kernel_init=init)(x)

    def _features(self, x: AnyArray, init: nn.initializers.Initializer, train: bool) -> AnyArray:
        for channels in self.stages:
            for features in channels:
                x = self._convolve(x, features, init, train)
            x = convolution.max_pool_2x2(x)
        return x

    def _convolve(
        self, x: AnyArray, features: int, init: nn.initializers.Initializer, train: bool
    ) -> Array:
        x = nn.Conv(
            layers.scaled(features, self.width),
            (3, 3),
            kernel_init=init,
            conv_general_dilated=convolution.conv_general_dilated,
        )(x)
        if self.batch_norm:
            x = layers.batch_norm(train, self.axis_name)(x)
        return nn.relu(x)


class TorchvisionVGG(VGG):
    """The same convolutions with torchvision's classifier, designed for 224x224 pixels.

    The last images are averaged to 7x7 pixels; smaller ones repeat theirs. Dropout follows each
    hidden dense layer. Initialised as in torchvision: `mcjax.flax.ops.layers.he_normal` with
    fan-out for convolutions, a normal distribution with standard deviation 0.01 for dense layers,
    both scaled by ``init_scale``.

    >>> TorchvisionVGG(STAGES["vgg11"], num_classes=1000).dense
    (4096, 4096)
    """

    dense: tuple[int, ...] = (4096, 4096)

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "b h w c"], train: bool
    ) -> Float[Array, "b classes"]:
        """Returns logits; images may have any size."""
        init = nn.initializers.normal(0.01 * self.init_scale)
        x = self._features(images, layers.he_normal(self.init_scale, outputs=True), train)
        x = adaptive_mean(x, 7)
        x = x.reshape(len(x), -1)
        for features in self.dense:
            x = nn.relu(nn.Dense(layers.scaled(features, self.width), kernel_init=init)(x))
            x = layers.Dropout(self.dropout, self.axis_name)(x, train)
        return nn.Dense(self.num_classes, kernel_init=init)(x)


def adaptive_mean(x: Float[AnyArray, "b h w c"], size: int) -> Float[Array, "b {size} {size} c"]:
    """Averages ``size`` x ``size`` windows that cover the image, as PyTorch's adaptive pooling.

    Window i has the rows from ``floor(i h / size)`` up to but excluding ``ceil((i + 1) h / size)``:
    windows overlap if ``size`` does not divide ``h``.

    Args:
      x: images of any size.
      size: height and width of the result, in pixels.

    >>> import jax, numpy as np
    >>> image = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    >>> jax.jit(adaptive_mean, static_argnums=1)(image, 2)[0, :, 0, 0].tolist()
    [0.5, 2.5]
    """
    x = jnp.asarray(x)
    for axis in (1, 2):
        length = x.shape[axis]
        windows = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
        means = [jnp.mean(lax.slice_in_dim(x, *w, axis=axis), axis) for w in windows]
        x = jnp.stack(means, axis)
    return x


def factories() -> dict[str, Callable[..., VGG]]:
    """Constructors by name, each also with batch norm (``_bn``).

    * ``vgg11``, ``vgg13``, ``vgg16`` (the paper's), ``vgg19``;
    * ``vgg10``: eight convolutions with 32 to 128 channels, a dense layer of 64, no dropout. For
      14x14 to 16x16 pixels; with batch norm it shows SGDR's barriers within minutes on CPU;
    * ``vgg7``: four convolutions with 32 and 64 channels, two dense layers of 128, no dropout. For
      digits of 8x8 pixels; 116 thousand parameters;
    * ``torchvision_vgg11`` to ``torchvision_vgg19``: `TorchvisionVGG`.

    >>> list(factories())[:6]
    ['vgg11', 'vgg13', 'vgg16', 'vgg19', 'vgg10', 'vgg7']
    """
    plain = {name: functools.partial(VGG, stages) for name, stages in STAGES.items()}
    plain["vgg10"] = functools.partial(
        VGG, ((32,) * 2, (64,) * 2, (128,) * 2, (128,) * 2), dense=(64,), dropout=0.0
    )
    plain["vgg7"] = functools.partial(VGG, ((32,) * 2, (64,) * 2), dense=(128, 128), dropout=0.0)
    plain |= {f"torchvision_{n}": functools.partial(TorchvisionVGG, s) for n, s in STAGES.items()}
    return plain | {f"{n}_bn": functools.partial(f, batch_norm=True) for n, f in plain.items()}
