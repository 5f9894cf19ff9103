"""Shared parts of the models: initialisation, widths, and layers that fit the backend."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from mcjax.flax.ops import convolution
from mcjax.flax.ops.convolution import AnyArray
from mcjax.typing import Array, Float


def he_normal(scale: float = 1.0, *, outputs: bool = False) -> nn.initializers.Initializer:
    """Normal with standard deviation ``scale * sqrt(2 / n)``, where ``n`` is the fan-in.

    This is He et al. (2015), the initialisation of the paper's section 3; its mode E has
    ``scale=3``. The distribution is not truncated. With ``outputs``, ``n`` is the fan-out (a
    kernel's size times its output channels), as Garipov et al. (2018) initialise residual networks.

    Args:
      scale: multiplies the standard deviation.
      outputs: whether to use the fan-out.

    >>> kernel = jax.jit(lambda key: he_normal(scale=3.0)(key, (3, 3, 16, 8)))(jax.random.key(0))
    >>> round(float(kernel.std() / (2 / (9 * 16)) ** 0.5), 1)
    3.0
    """
    fan = "fan_out" if outputs else "fan_in"
    return nn.initializers.variance_scaling(2 * scale**2, fan, "normal")


def uniform(fan_in: int, scale: float = 1.0) -> nn.initializers.Initializer:
    """Uniform in ``scale / sqrt(fan_in) * [-1, 1]``: PyTorch's default for kernels and biases.

    Args:
      fan_in: number of inputs of each output.
      scale: multiplies the bound.

    >>> biases = jax.jit(lambda key: uniform(fan_in=100)(key, (64,)))(jax.random.key(0))
    >>> 0.09 < max(map(abs, biases.tolist())) <= 0.1  # below 1 / sqrt(100)
    True
    """
    bound = scale / fan_in**0.5

    def init(
        key: jax.Array,
        shape: Sequence[int],
        dtype: DTypeLike = jnp.float32,
        out_sharding: Any = None,
    ) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return init


def conv(features: int, size: int, stride: int = 1, **options: Any) -> nn.Conv:
    """A convolution of `ops.convolution`, padded on all sides by half of its odd ``size``.

    PyTorch pads this way. At stride two, Flax's SAME pads an image of even size less before than
    after, which shifts the whole network. ``options`` are passed to `flax.linen.Conv`.

    Args:
      features: output channels.
      size: height and width of the kernel.
      stride: of rows and columns.
      **options: such as ``use_bias``.

    >>> layer = conv(16, size=3, stride=2, use_bias=False)
    >>> layer.kernel_size, layer.padding, layer.use_bias
    ((3, 3), 1, False)
    """
    return nn.Conv(
        features,
        (size, size),
        stride,
        padding=size // 2,
        conv_general_dilated=convolution.conv_general_dilated,
        **options,
    )


def batch_norm(
    train: bool, axis_name: str | None, name: str | None = None, momentum: float = 0.9
) -> nn.BatchNorm:
    """Batch norm (Ioffe & Szegedy, 2015) with the statistics of the global batch.

    Each step multiplies the running averages by ``momentum``; 0.9 (PyTorch's ``momentum=0.1``) and
    epsilon are PyTorch's defaults. The averaged variances are biased (divided by ``n``, the number
    of values of a channel in the batch); PyTorch's are unbiased (``n - 1``).

    Args:
      train: whether to normalise by the batch, and update the averages.
      axis_name: mapped axis that shards the batch.
      name: of the submodule.
      momentum: of the running averages.

    >>> norm = batch_norm(train=True, axis_name=None)
    >>> norm.use_running_average, norm.momentum
    (False, 0.9)
    """
    return nn.BatchNorm(not train, momentum=momentum, epsilon=1e-5, axis_name=axis_name, name=name)


def scaled(features: int, width: float) -> int:
    """Returns ``features * width``, rounded, at least one.

    >>> scaled(512, 0.25), scaled(64, 0.001)
    (128, 1)
    """
    return max(1, round(features * width))


class Dropout(nn.Module):
    """Dropout whose mask depends only on the key and the example's position in the global batch.

    Flax's own dropout draws one mask for the array it sees, so every shard would get the same mask,
    and results would depend on the number of devices. Here row ``i`` of the global batch draws from
    ``fold_in(key, i)``.

    Attributes:
      rate: probability of dropping a value, in ``[0, 1)``; the others are scaled by
        ``1 / (1 - rate)``.
      axis_name: mapped axis that shards the batch into equal contiguous parts.

    Raises:
      ValueError: (when called) the rate is not in ``[0, 1)``.

    >>> import numpy as np
    >>> float(Dropout(0.5).apply({}, np.ones((2, 3)), False).sum())  # nothing in evaluation
    6.0
    >>> try:
    ...     Dropout(1.0).apply({}, np.ones((2, 3)), True)
    ... except ValueError as error:
    ...     print(error)
    dropout rate 1.0 is not in [0, 1)
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[AnyArray, "b ..."], train: bool) -> Float[AnyArray, "b ..."]:
        """Drops values; needs the stream ``dropout`` only if there is something to drop."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout rate {self.rate} is not in [0, 1)")
        if self.rate == 0 or not train or self.is_initializing():
            return x
        key = self.make_rng("dropout")
        positions = jnp.arange(len(x))
        if self.axis_name is not None:
            positions += jax.lax.axis_index(self.axis_name) * len(x)

        def row(position: Array) -> Array:
            return jax.random.bernoulli(
                jax.random.fold_in(key, position), 1 - self.rate, x.shape[1:]
            )

        return jnp.where(jax.vmap(row)(positions), x / (1 - self.rate), 0)
