"""Fixtures of the networks' tests."""

import pytest

from mcjax.flax.ops import convolution


@pytest.fixture
def only_direct(monkeypatch):
    """Winograd's form has tests of its own, and takes several times as long to compile."""
    monkeypatch.setattr(convolution, "choose", lambda *_: convolution.direct)
