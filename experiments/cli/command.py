"""What every command does around its ``run(config)``: flags, errors, precision, quiet libraries."""

import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax

from mcjax import extras
from mcjax.data import cache

from . import configs, flags, processes
from .errors import Interrupted, Missing, RunFailed, UsageError

MOST_CPU_DEVICES = 8
"""Each holds the data and the control points."""
DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
}  # fmt: skip
PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}


def main(config: type, run: Callable[[Any], Any], doc: str) -> None:
    """Runs a command and exits.

    Exit status: 0 done; 1 a run failed; 2 wrong input; 75 stopped by SIGTERM, 130 by SIGINT, and
    the same command goes on.
    """
    _quiet()
    with _sigterm_raises():
        status, message = _run(config, run, doc)
    if message:
        print(f"{os.path.basename(sys.argv[0]).removesuffix('.py')}: {message}", file=sys.stderr)
    joined = jax.distributed.is_initialized()
    if status and joined:
        time.sleep(1)  # others may be joining: they would wait minutes for a first process gone
    if status and (joined or isinstance(message, _Unwritten)):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: the usual way out would wait for other processes, or threads
    sys.exit(status)


class _Terminated(BaseException):
    """SIGTERM came where nothing has to be saved first."""


class _Unwritten(str):
    """Last words of a command that could not write: orbax's threads may wait for ever for it."""


@contextlib.contextmanager
def _sigterm_raises():
    """SIGTERM ends the command as Ctrl-C does, but where a loop saves its state first."""

    def terminate(*_):
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(config, run, doc):
    """Exit status and last words."""
    try:
        chosen = flags.parse(config, sys.argv[1:], doc)
        for name in flags.without_effect(chosen):
            print(f"note: --{name} does nothing in this command", file=sys.stderr)
        if chosen.compilation_cache:
            _keep_compiled_programs()
        _start_processes(chosen)
        with jax.default_matmul_precision(PRECISIONS[chosen.precision]):
            run(chosen)
    except (UsageError, extras.MissingExtraError) as error:
        return 2, error
    except (RunFailed, Missing) as error:
        return 1, error
    except Interrupted as error:
        return 75 if error.signum == signal.SIGTERM else 130, error
    except KeyboardInterrupt:
        return 130, "stopped by SIGINT; the same command goes on"
    except _Terminated:
        return 75, "stopped by SIGTERM; the same command goes on"
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        words = f"cannot write: {error}; what is saved is whole, and the same command goes on"
        return 1, _Unwritten(words)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        first = str(error).split("\n")[0]
        return 1, f"lost another process ({first}); once all are back, the same command goes on"
    return 0, ""


def _start_processes(config):
    """Lays out the CPU's devices, joins the other processes, and starts the devices.

    What fails here would be blamed on whatever needs a device first.
    """
    if config.cpu_devices < 0:
        raise UsageError(f"--cpu_devices={config.cpu_devices}: use 1 or more")
    if devices := cpu_devices(config):
        jax.config.update("jax_num_cpu_devices", devices)
        single = "--xla_cpu_multi_thread_eigen=false"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {single}".strip()
    if not {*flags.LAUNCH} <= {*config.unused}:
        processes.join(config)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter, without a word, where no GPU is
        wanted = jax.config.values["jax_platforms"] or ""
        why = " ".join(str(error).split()) or "there is no such device, or jax has no plugin for it"
        raise UsageError(
            f"JAX_PLATFORMS={wanted}: {why}; unset it to use what there is, or install jax for it "
            "(pip install 'jax[cuda13]', 'jax[tpu]')"
        ) from None


def cpu_devices(config: configs.Machine) -> int:
    """Devices of one thread each to make of the CPU; zero to leave it one with all cores."""
    if config.cpu_devices or not config.divides or config.distributed or config.coordinator:
        return config.cpu_devices
    return min(cores(), MOST_CPU_DEVICES)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _keep_compiled_programs():
    """Points JAX's persistent compilation cache at a folder of the user's, unless it has one."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = cache.default_dir().parent / "programs"
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError) as error:  # no home folder, or one that cannot be written
        why = str(error).rstrip(".")
        words = f"note: compiled programs are not kept: {why}; set MCJAX_CACHE to a folder"
        print(words, file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _quiet():
    """Keeps the libraries' log lines off the screen: what is wrong is said in one line, by us."""
    for name in ("jax", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("absl", "orbax", "asyncio"):  # they log what they also raise, with tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for message in ("Error .* persistent compilation cache", "coroutine .* never awaited"):
        warnings.filterwarnings("ignore", message=message)
    sys.unraisablehook = _of_the_main_thread
    warnings.filterwarnings("ignore", module="orbax|tensorflow_datasets|etils")


def _of_the_main_thread(unraisable):
    """Drops what libraries' threads print of a failure that the main thread raises, too."""
    if threading.current_thread() is threading.main_thread():
        sys.__unraisablehook__(unraisable)
