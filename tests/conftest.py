"""Eight fake CPU devices for every test, before the backend starts; never a GPU or TPU."""

import importlib.util
import os

os.environ["JAX_PLATFORMS"] = "cpu"  # of the commands that tests start, too

import jax
import jaxtyping

jax.config.update("jax_num_cpu_devices", 8)
# The library works under the strictest settings of its users.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

TYPED: list[str] = ["mcjax.analysis", "mcjax.plots", "mcjax.symmetries", "mcjax.typing"]
"""Packages whose calls are checked against their annotations, shapes included."""
jaxtyping.install_import_hook(TYPED, "beartype.beartype")

# Collected as a doctest, it would be imported.
collect_ignore = [] if importlib.util.find_spec("torch") else ["mcjax/torch_networks.py"]
