import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mcjax.flax import models
from mcjax.flax.ops import layers


def momenta(model):
    """What share of their running averages the batch norms keep, by name."""
    found = {}

    def see(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            found["/".join(context.module.path)] = context.module.momentum
        return call(*args, **kwargs)

    with nn.intercept_methods(see):
        jax.eval_shape(
            lambda key: model.init(key, jnp.zeros((2, 8, 8, 1)), True), jax.random.key(0)
        )
    return found


def test_last_batch_norm_of_wide_resnets_keeps_a_tenth_as_garipovs():
    wide = momenta(models.create("wrn16x4", num_classes=3, width=0.1))
    assert wide.pop("bn1") == 0.1
    assert set(wide.values()) == {0.9}
    assert len(wide) == 12
    assert set(momenta(models.create("preresnet8", num_classes=3, width=0.1)).values()) == {0.9}


def test_running_variances_are_biased():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    norm = layers.batch_norm(True, None)
    variables = norm.init(jax.random.key(0), x)
    _, new = norm.apply(variables, x, mutable=["batch_stats"])
    expected = 0.9 + 0.1 * x.var(axis=0)  # PyTorch's: x.var(axis=0, ddof=1)
    np.testing.assert_allclose(new["batch_stats"]["var"], expected, rtol=1e-5)
