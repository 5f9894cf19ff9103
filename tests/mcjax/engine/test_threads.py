import threading

import pytest

from mcjax.engine import threads
from tests.mcjax import small


def test_an_error_in_a_thread_is_raised_and_ends_the_others():
    calls = []

    def call(item):
        calls.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    found = threads.ahead(call, range(100), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert len(calls) < 10


def test_one_thread_calls_in_order_in_the_callers_thread():
    """As processes that start programs together must."""
    here = threads.ahead(lambda _: threading.current_thread(), range(4), 1)
    assert set(here) == {threading.main_thread()}


def test_default_threads_are_one_on_several_devices():
    assert threads.default_threads(small.mesh(2)) == 1
    assert 1 <= threads.default_threads(small.mesh(1)) <= threads.MOST
