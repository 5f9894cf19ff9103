"""Programs are compiled in haste and kept: many tests here train the same small network."""

import functools

import jax
import pytest

from experiments.training import problem
from mcjax import data
from mcjax.plots import profile_plots


@pytest.fixture(scope="session", autouse=True)
def _compiled_programs(tmp_path_factory, request):
    base = tmp_path_factory.getbasetemp()  # of pytest-xdist's workers each has one, in a common one
    shared = base.parent if hasattr(request.config, "workerinput") else base
    settings = {
        "jax_compilation_cache_dir": str(shared / "programs"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
        "jax_disable_most_optimizations": True,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session", autouse=True)
def _shared_problems():
    """Problems of equal flags are made once, with the programs that their evaluators compile."""
    make = problem._make
    shared = functools.lru_cache(maxsize=8)(lambda load, mode: make(mode))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "_make", lambda mode: shared(data.load, mode))
        yield


@pytest.fixture(scope="module")
def png_only():
    """For tests that draw, but not to look at what is drawn: a third of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_plots, "FORMATS", ("png",))
        yield
