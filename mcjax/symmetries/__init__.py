"""Symmetries of any JAX function, read from its jaxpr: which units can trade places.

>>> import jax, jax.numpy as jnp
>>> from mcjax import symmetries
>>> def network(params, x):
...     return jax.nn.relu(x @ params["in"] + params["bias"]) @ params["out"]
>>> params = {"in": jnp.ones((3, 4)), "bias": jnp.arange(4.0), "out": jnp.ones((4, 2))}
>>> spec = symmetries.find(network, params, jnp.ones((5, 3)))
>>> print(spec)
group   size  occurs in
P0         4  bias[0], in[1], out[0]
frozen        in[0]: axis 1 of an input
frozen        out[1]: axis 1 of an output
>>> symmetries.check(spec, network, params, jnp.ones((5, 3))) < 1e-5
True
"""

from mcjax.symmetries.spec import (
    Group as Group,
)
from mcjax.symmetries.spec import (
    Spec as Spec,
)
from mcjax.symmetries.spec import (
    apply as apply,
)
from mcjax.symmetries.spec import (
    by_hand as by_hand,
)
from mcjax.symmetries.spec import (
    check as check,
)
from mcjax.symmetries.spec import (
    find as find,
)
from mcjax.symmetries.spec import (
    identity as identity,
)
from mcjax.symmetries.spec import (
    moved_share as moved_share,
)
from mcjax.symmetries.spec import (
    random as random,
)
