"""`main`, which runs a command: flags, errors and exit statuses, precision, quiet libraries."""

import contextlib
import errno
import importlib.util
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxlib.version

from mcjax import extras, paths
from mcjax.data import cache
from mcjax.engine import threads

from .. import discard_output
from . import configs, flags, processes
from .errors import Interrupted, Missing, RunFailed, UsageError

MAX_CPU_DEVICES = 8
"""Each holds a copy of the data and the control points."""
DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
}  # fmt: skip
FAST_COMPILATION = (
    ((0, 11), "--xla_cpu_use_fusion_emitters=false"),
    ((0, 13), "--xla_backend_extra_options="
     "xla_cpu_disable_loop_unrolling=true,-force-vector-interleave=1"),
)  # fmt: skip
"""Flags of XLA, each with the first jaxlib that lacks it or was not tried: XLA aborts on unknown
flags.
"""
PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}
"""JAX's names of the values of ``--precision``."""


def main(config: type[flags.Config], run: Callable[[Any], Any], doc: str) -> None:
    """Runs a command and exits.

    Exit status: 0 done; 1 a run failed; 2 wrong input; 75 stopped by SIGTERM and 130 by SIGINT,
    to be resumed by the same command; 141 nobody reads the output any more.

    Args:
      config: the dataclass of the command's flags.
      run: called with the parsed flags.
      doc: the command's docstring, for ``--help``.
    """
    _silence_libraries()
    with _sigterm_raises():
        status, message = _run(config, run, doc)
    joined = jax.distributed.is_initialized()
    if status and joined:  # srun --kill-on-bad-exit sends it to all when the first one ends
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if message:
        print(f"{os.path.basename(sys.argv[0]).removesuffix('.py')}: {message}", file=sys.stderr)
    if status and joined:
        time.sleep(1)  # others may be joining: they would wait minutes if the first process is gone
    if status and (joined or isinstance(message, _WriteFailure)):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # a normal exit would wait for other processes, or for threads
    sys.exit(status)


class _Terminated(BaseException):
    """SIGTERM arrived where there is no state to save."""


class _WriteFailure(str):
    """The message of a command that could not write: orbax's threads may then hang forever."""


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, except where a loop saves its state first."""

    def terminate(*_: Any) -> None:
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


def _run(config: type[flags.Config], run: Callable[[Any], Any], doc: str) -> tuple[int, str]:
    """Runs the command; returns the exit status and the message for the user."""
    try:
        chosen: Any = flags.parse(config, sys.argv[1:], doc)
        for name in flags.without_effect(chosen):
            print(f"note: --{name} does nothing in this command", file=sys.stderr)
        if chosen.compilation_cache:
            _cache_compiled_programs()
        _start_processes(chosen)
        with jax.default_matmul_precision(PRECISIONS.get(chosen.precision, "float32")):
            run(chosen)
        sys.stdout.flush()
    except (UsageError, extras.MissingExtraError) as error:
        return 2, str(error)
    except (RunFailed, Missing) as error:
        return 1, str(error)
    except Interrupted as error:
        return 75 if error.signum == signal.SIGTERM else 130, str(error)
    except KeyboardInterrupt:
        return 130, _stopped("SIGINT", config)
    except _Terminated:
        return 75, _stopped("SIGTERM", config)
    except BrokenPipeError:  # as in `mcjax ... --help | head`
        discard_output()
        return 128 + 13, ""  # as a program that SIGPIPE ends
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        if jax.distributed.is_initialized() and "Gloo" in str(error):
            return 1, _lost(error)  # read from a device while writing
        what = "lost the bucket" if paths.is_url(str(error.filename)) else "cannot write"
        return 1, _WriteFailure(
            f"{what}: {error}; saved files are intact, run the same command to resume"
        )
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        return 1, _lost(error)
    return 0, ""


def _stopped(signal_name: str, config: type[flags.Config]) -> str:
    """The message of a command that a signal has stopped."""
    again = "resume" if config.resumes else "start again"
    return f"stopped by {signal_name}; run the same command to {again}"


def _lost(error: Exception) -> str:
    """The message of a command whose connection to another process has failed."""
    first = str(error).split("\n")[0]
    return f"lost another process ({first}); run the same command on all of them to resume"


def _start_processes(config: configs.Machine) -> None:
    """Lays out the CPU's devices, joins the other processes, and starts the devices.

    Devices start here so that a failure is reported as one of the platform, not of whatever first
    needs a device.

    Raises:
      UsageError: a flag is wrong, or JAX cannot start its devices.
      Missing: other processes did not join.
    """
    if config.cpu_devices < 0:
        raise UsageError(f"--cpu_devices={config.cpu_devices}: use 1 or more")
    if devices := cpu_devices(config):
        jax.config.update("jax_num_cpu_devices", devices)
    _compile_faster()
    if not {*flags.LAUNCH} <= {*config.unused}:
        processes.join(config)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # without a GPU: AssertionError, no message
        wanted = jax.config.values["jax_platforms"] or ""
        why = " ".join(str(error).split()) or "there is no such device, or jax has no plugin for it"
        raise UsageError(
            f"JAX_PLATFORMS={wanted}: {why}; unset it to use the devices that jax finds, or "
            "install jax for this platform (pip install 'jax[cuda13]', 'jax[tpu]')"
        ) from None


def _compile_faster() -> None:
    """Takes half of the compiler's time on CPU; see docs/speed.md."""
    if not _cpu_alone():
        return  # the options of LLVM would also apply to the code of GPUs
    given, have = os.environ.get("XLA_FLAGS", ""), jaxlib.version.__version_info__
    more = [
        flag
        for unknown, flag in FAST_COMPILATION
        if have < unknown and flag.split("=")[0] not in given
    ]
    os.environ["XLA_FLAGS"] = " ".join([given, *more]).strip()


def _cpu_alone() -> bool:
    """Whether jax can find nothing but the CPU."""
    plugins = [name for name in ("jax_plugins", "libtpu") if importlib.util.find_spec(name)]
    return not plugins or jax.config.values["jax_platforms"] == "cpu"


def cpu_devices(config: configs.Machine) -> int:
    """Number of devices to divide the CPU into; 0 for one with all cores."""
    if config.cpu_devices or not config.divides or config.distributed or config.coordinator:
        return config.cpu_devices
    return min(threads.cores(), MAX_CPU_DEVICES)


def _cache_compiled_programs() -> None:
    """Points JAX's persistent compilation cache at the user's cache folder, unless it is set."""
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = cache.default_dir().parent / "programs"
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError) as error:  # no home folder, or a read-only one
        why = str(error).rstrip(".")
        message = f"note: compiled programs are not cached: {why}; set MCJAX_CACHE to a folder"
        print(message, file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _silence_libraries() -> None:
    """Silences the libraries' log lines: the command reports an error itself, in one line."""
    for name in ("jax", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("absl", "orbax", "asyncio"):  # they log what they also raise, with tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for message in ("Error .* persistent compilation cache", "coroutine .* never awaited"):
        warnings.filterwarnings("ignore", message=message)
    sys.unraisablehook = _report_in_main_thread
    warnings.filterwarnings("ignore", module="orbax|tensorflow_datasets|etils")


def _report_in_main_thread(unraisable: Any) -> None:
    """Reports unraisable errors of the main thread alone: it also raises those of other threads."""
    if threading.current_thread() is threading.main_thread():
        sys.__unraisablehook__(unraisable)
