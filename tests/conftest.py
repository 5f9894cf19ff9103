"""Eight fake CPU devices for every test, before the backend starts; never a GPU or TPU."""

import importlib.util
import os

os.environ["JAX_PLATFORMS"] = "cpu"  # of the commands that tests start, too

from collections.abc import Iterator

import jax
import jaxtyping
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# The library works under the strictest settings of its users.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

TYPED: list[str] = ["mcjax"]
"""Packages whose calls are checked against their annotations, shapes included."""
jaxtyping.install_import_hook(TYPED, "beartype.beartype")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For calls of a wrong type, whose own messages are tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# Collected as a doctest, it would be imported.
collect_ignore = [] if importlib.util.find_spec("torch") else ["mcjax/exchange/torch_networks.py"]
