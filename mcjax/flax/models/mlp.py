"""A multilayer perceptron, the smallest network for trying things out."""

import flax.linen as nn
import jax

from mcjax.flax.ops import layers


class MLP(nn.Module):
    """Dense layers with ReLU between them.

    Attributes:
      num_classes: number of logits.
      hidden: features of the hidden layers.
      width: multiplies ``hidden``, rounded, at least one.
      dropout: rate after each hidden layer.
      init_scale: multiplies the standard deviation of `mcjax.flax.ops.layers.he_normal`.
      axis_name: the mapped axis over which a batch is shared (see `mcjax.flax.ops.layers.Dropout`).
    """

    num_classes: int
    hidden: tuple[int, ...] = (128, 128)
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Logits ``[B, num_classes]`` of images ``[B, ...]``, which are flattened."""
        init = layers.he_normal(self.init_scale)
        x = images.reshape(len(images), -1)
        for features in self.hidden:
            x = nn.relu(nn.Dense(layers.scaled(features, self.width), kernel_init=init)(x))
            x = layers.Dropout(self.dropout, self.axis_name)(x, train)
        return nn.Dense(self.num_classes, kernel_init=init)(x)
