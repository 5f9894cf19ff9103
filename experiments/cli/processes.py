"""Joins the other processes of a launch, before JAX starts any device."""

import os
import re
import sys
import threading

import jax

from . import configs, flags
from .errors import Missing, UsageError

WAIT_SECONDS = 300
"""How long the processes wait for one another."""
QUIET_SECONDS = 5
"""How long they wait before they print that they do."""
HEARTBEAT_SECONDS = 30
"""How long a process may be silent before the others exit, too."""
USAGE = "--coordinator=HOST:PORT --num_processes=N --process_id=I"


def given(config: configs.Machine) -> str:
    """The flags of the launch that were given, as on the command line."""
    values = {name: getattr(config, name) for name in flags.LAUNCH}
    there = {n: x for n, x in values.items() if x is not None and x is not False and x != ""}
    return " ".join(f"--{n}" if x is True else f"--{n}={x}" for n, x in there.items())


def join(config: configs.Machine) -> None:
    """Joins the other processes, if the flags ask for several.

    JAX waits in C++, where signals are not handled and a failure ends the process with a stack
    trace. It therefore waits in a daemon thread, which is abandoned on failure.

    Raises:
      UsageError: flags are wrong or missing, or there is no such cluster or address.
      Missing: some process did not join within `WAIT_SECONDS`.
    """
    _check(config)
    if not (config.distributed or config.coordinator):
        return
    _drop_native_output()
    errors: list[Exception] = []
    joining = threading.Thread(target=_initialize, args=(config, errors), daemon=True)
    joining.start()
    joining.join(QUIET_SECONDS)
    if joining.is_alive():
        message = f"waiting for {_expected(config)}, up to {WAIT_SECONDS} s"
        print(message, file=sys.stderr, flush=True)
        joining.join(max(0, WAIT_SECONDS - QUIET_SECONDS))
    if joining.is_alive():
        raise Missing(
            f"after {WAIT_SECONDS} s still waiting for {_expected(config)}: start the others, "
            f"check that they reach that address, or run alone without {given(config)}"
        )
    if errors:
        raise UsageError(
            f"{given(config)}: {' '.join(str(errors[0]).split())}; if no cluster is detected, "
            f"give {USAGE}"
        ) from None


def _check(config: configs.Machine) -> None:
    """Raises UsageError for wrong flags of the launch."""
    number, index = config.num_processes, config.process_id
    if given(config) and not (config.distributed or config.coordinator):
        raise UsageError(f"{given(config)}: a coordinator is missing; give {USAGE}")
    address = re.fullmatch(r".+:(\d{1,5})", config.coordinator or "host:1")
    if not address or not 0 < int(address[1]) < 2**16:
        raise UsageError(f"--coordinator={config.coordinator}: write HOST:PORT")
    if number is not None and number < 1:
        raise UsageError(f"--num_processes={number}: use 1 or more")
    if index is not None and not 0 <= index < (number or index + 1):
        raise UsageError(f"--process_id={index}: {number or 'N'} processes count from 0")


def _drop_native_output() -> None:
    """Reserves standard output for Python: Gloo, which joins processes on CPU, prints there, too.

    It prints from C++, to the file descriptor, and has no setting to disable that.
    """
    sys.stdout.flush()
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, buffering=1)  # noqa: SIM115


def _initialize(config: configs.Machine, errors: list[Exception]) -> None:
    """Initializes `jax.distributed`; appends a failure to ``errors``."""
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.num_processes,
            config.process_id,
            initialization_timeout=2 * WAIT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:
        errors.append(error)


def _expected(config: configs.Machine) -> str:
    """The processes that have to join, in words."""
    number, index = config.num_processes, config.process_id
    where = f"at {config.coordinator}" if config.coordinator else "of the cluster JAX detected"
    this = "" if index is None else f" (this is number {index}, counted from 0)"
    return f"{number or 'all'} processes {where}{this}"
