"""Eight fake CPU devices for every test: set before the backend starts."""

import importlib.util

import jax

jax.config.update("jax_num_cpu_devices", 8)

# Collected as a doctest, it would be imported.
collect_ignore = [] if importlib.util.find_spec("torch") else ["mcjax/torch_networks.py"]
