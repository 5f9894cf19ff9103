"""Permutation symmetries of any JAX function, found from its jaxpr.

>>> import jax, jax.numpy as jnp
>>> from mcjax import symmetries
>>> def network(params, x):
...     return jax.nn.relu(x @ params["in"] + params["bias"]) @ params["out"]
>>> params = {"in": jnp.ones((3, 4)), "bias": jnp.arange(4.0)[None], "out": jnp.ones((4, 2))}
>>> spec = symmetries.find(network, params, jnp.ones((5, 3)))
>>> print(spec)
group   size  occurs in
P0         4  bias[1], in[1], out[0]
frozen        in[0]: axis 1 of an input
frozen        out[1]: axis 1 of an output
>>> symmetries.check(spec, network, params, jnp.ones((5, 3))) < 1e-5
True
>>> other = symmetries.apply(spec, {"P0": [2, 0, 3, 1]}, params)
>>> match = symmetries.match_weights(spec, params, other)
>>> bool((symmetries.apply(spec, match.permutations, other)["bias"] == params["bias"]).all())
True
"""

from mcjax.symmetries.activations import match_activations
from mcjax.symmetries.finding import find
from mcjax.symmetries.matching import Match, match_weights
from mcjax.symmetries.permuting import apply, check, identity, random
from mcjax.symmetries.repairing import Repaired, repair, repair_path
from mcjax.symmetries.spec import Group, Spec, by_hand, moved_share

__all__ = [
    "Group", "Match", "Repaired", "Spec", "apply", "by_hand", "check", "find", "identity",
    "match_activations", "match_weights", "moved_share", "random", "repair", "repair_path",
]  # fmt: skip
