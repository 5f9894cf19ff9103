"""A multilayer perceptron, the smallest network for trying things out."""

import functools
from collections.abc import Callable

import flax.linen as nn

from mcjax.flax.ops import layers
from mcjax.flax.ops.layers import AnyArray
from mcjax.typing import Array, Float


class MLP(nn.Module):
    """Dense layers with ReLU between them.

    Attributes:
      num_classes: number of logits.
      hidden: features of the hidden layers.
      width: multiplies ``hidden``, rounded, at least one.
      dropout: rate after each hidden layer.
      init_scale: multiplies the standard deviation of `mcjax.flax.ops.layers.he_normal`.
      axis_name: mapped axis that shards the batch (see `mcjax.flax.ops.layers.Dropout`).

    >>> import jax, numpy as np
    >>> model = MLP(num_classes=10, hidden=(64,), width=0.5)
    >>> init = lambda: model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), False)
    >>> jax.tree.map(lambda x: x.shape, jax.eval_shape(init)["params"]["Dense_0"])
    {'bias': (32,), 'kernel': (64, 32)}
    """

    num_classes: int
    hidden: tuple[int, ...] = (128, 128)
    width: float = 1.0
    dropout: float = 0.0
    init_scale: float = 1.0
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: Float[AnyArray, "b ..."], train: bool) -> Float[Array, "b classes"]:
        """Flattens the images and returns logits."""
        init = layers.he_normal(self.init_scale)
        x = images.reshape(len(images), -1)
        for features in self.hidden:
            x = nn.relu(nn.Dense(layers.scaled(features, self.width), kernel_init=init)(x))
            x = layers.Dropout(self.dropout, self.axis_name)(x, train)
        return nn.Dense(self.num_classes, kernel_init=init)(x)


def factories() -> dict[str, Callable[..., MLP]]:
    """``mlp``, and ``mlp10`` with ten hidden layers (the MNIST network of Jordan et al., 2023).

    >>> factories()["mlp10"](num_classes=10).hidden[:3]
    (128, 128, 128)
    """
    return {"mlp": MLP, "mlp10": functools.partial(MLP, hidden=(128,) * 10)}
