"""Eight fake CPU devices for every test, before the backend starts; never a GPU or TPU.

Programs are compiled in haste and kept on disk, for tests run each a few times only. Set
``XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0`` to test them as users compile them.
"""

import gc
import importlib.util
import os

import jaxlib.version

# In the environment, so that the commands that tests start have them, too.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if jaxlib.version.__version_info__ < (0, 11):  # XLA aborts on flags that it does not know
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
elif jaxlib.version.__version_info__ < (0, 13):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

from collections.abc import Iterator

import jax
import jaxtyping
import pytest

from tests import checker

jax.config.update("jax_num_cpu_devices", 8)
# The library works under the strictest settings of its users.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

TYPED: list[str] = ["mcjax"]
"""Packages whose calls are checked against their annotations, shapes included."""
jaxtyping.install_import_hook(TYPED, f"{checker.__name__}.check")


@pytest.fixture(scope="session", autouse=True)
def _compiled_programs(tmp_path_factory, request):
    base = tmp_path_factory.getbasetemp()  # of pytest-xdist's workers each has one, in a common one
    shared = base.parent if hasattr(request.config, "workerinput") else base
    settings = {
        "jax_compilation_cache_dir": str(shared / "programs"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def pytest_collection_finish() -> None:
    """Thousands of traced programs stay alive, and collecting garbage reads them all."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For calls of a wrong type, whose own messages are tested."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# Collected as a doctest, it would be imported.
collect_ignore = [] if importlib.util.find_spec("torch") else ["mcjax/exchange/torch_networks.py"]
