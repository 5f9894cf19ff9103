"""Calls in threads of their own, for a CPU whose cores one program does not keep busy.

JAX runs programs that one thread starts on a CPU device one after another, and those of several
threads at once.

>>> list(ahead(lambda x: 2 * x, range(4), threads=2))
[0, 2, 4, 6]
"""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import jax

MOST = 8
"""The default's limit: each call holds its points and the activations of a batch."""
SETTINGS = (
    "default_matmul_precision", "numpy_dtype_promotion", "numpy_rank_promotion", "enable_x64",
    "default_prng_impl", "threefry_partitionable", "default_device", "disable_jit", "debug_nans",
    "debug_infs",
)  # fmt: skip
"""JAX's settings that a ``with`` changes in its own thread alone, and that change results."""

_Args = ParamSpec("_Args")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Number of CPU cores that this process may use.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads(mesh: jax.sharding.Mesh) -> int:
    """Calls to run at once: on a single CPU device one per core, at most eight; otherwise one.

    A narrow network does not keep several cores busy. Measured by this project on two cores, the
    time of a point with two threads over that with one: 0.70 (VGG7, 8x8 pixels), 0.90 (VGG16 of a
    quarter's width, 32x32 pixels).

    Args:
      mesh: the devices.

    >>> from mcjax.engine import parallel
    >>> default_threads(parallel.make_mesh(jax.devices()[:2]))
    1
    """
    if mesh.size > 1 or jax.process_count() > 1 or jax.default_backend() != "cpu":
        return 1
    return min(cores(), MOST)


def ahead(
    function: Callable[[_Item], _Result], items: Sequence[_Item], threads: int
) -> Iterator[_Result]:
    """``map`` that calls the function in threads, before its results are asked for.

    One more call than ``threads`` is made ahead. The first one, which compiles, is made here, and
    so are all if there is one thread: several processes must start programs in the same order.

    Args:
      function: called under this thread's settings (`with_settings`).
      items: its arguments.
      threads: calls that run at once.

    Yields:
      The results, in the order of the items.

    >>> found = ahead(lambda x: 1 / x, [1, 0, 2], threads=1)
    >>> next(found)
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """
    waiting = collections.deque[Future[_Result]]()
    pool = ThreadPoolExecutor(threads)
    elsewhere = with_settings(function)
    try:
        for number, item in enumerate(items):
            if number == 0 or threads == 1:
                waiting.append(Future())
                waiting[-1].set_result(function(item))
            else:
                waiting.append(pool.submit(elsewhere, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def with_settings(function: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """The function under this thread's JAX settings (`SETTINGS`), for calls in other threads.

    >>> precision = lambda: jax.config.values["jax_default_matmul_precision"]
    >>> with ThreadPoolExecutor() as pool, jax.default_matmul_precision("float32"):
    ...     pool.submit(precision).result(), pool.submit(with_settings(precision)).result()
    (None, 'float32')
    """
    here = {name: jax.config.values[f"jax_{name}"] for name in SETTINGS}

    def there(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        with contextlib.ExitStack() as stack:
            for name, value in here.items():
                if jax.config.values[f"jax_{name}"] != value:
                    stack.enter_context(getattr(jax, name)(value))
            return function(*args, **kwargs)

    return there
