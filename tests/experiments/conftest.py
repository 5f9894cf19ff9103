"""Problems are shared: many tests here train the same small network."""

import functools

import pytest

from experiments.training import problem
from mcjax import data
from mcjax.plots import profile_plots


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
