"""What the models share: initialisation, widths, and a dropout that knows no devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def he_normal(scale: float = 1.0) -> nn.initializers.Initializer:
    """Normal with standard deviation ``scale * sqrt(2 / n)``, ``n`` inputs of the neuron.

    He et al. (2015) with fan-in, as the paper's section 3 initialises; its mode E has ``scale=3``.
    The distribution is not truncated.
    """
    return nn.initializers.variance_scaling(2 * scale**2, "fan_in", "normal")


def scaled(features: int, width: float) -> int:
    """``features`` times ``width``, rounded, at least one.

    >>> scaled(512, 0.25), scaled(64, 0.001)
    (128, 1)
    """
    return max(1, round(features * width))


class Dropout(nn.Module):
    """Dropout whose mask is a function of the key and the example's place in the global batch.

    Flax's own draws one mask for the array it sees, so on several devices every share would get
    the same mask, and one device another. Here row ``i`` draws from ``fold_in(key, i)``, ``i``
    counted over all devices: results do not depend on their number.

    Attributes:
      rate: probability that a value is dropped, in ``[0, 1)``; the others are scaled by
        ``1 / (1 - rate)``.
      axis_name: the mapped axis over which a batch is shared, in equal contiguous parts.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Drops values of ``x [B, ...]``; needs the stream ``dropout`` only if it drops any."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout rate {self.rate} is not in [0, 1)")
        if self.rate == 0 or not train or self.is_initializing():
            return x
        key = self.make_rng("dropout")
        positions = jnp.arange(len(x))
        if self.axis_name is not None:
            positions += jax.lax.axis_index(self.axis_name) * len(x)

        def row(position):
            return jax.random.bernoulli(
                jax.random.fold_in(key, position), 1 - self.rate, x.shape[1:]
            )

        return jnp.where(jax.vmap(row)(positions), x / (1 - self.rate), 0)
