"""Each test has a cache of its own."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MCJAX_CACHE", str(tmp_path / "cache"))
