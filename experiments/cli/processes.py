"""Joins the other processes of a launch, before any device is touched."""

import os
import re
import sys
import threading

import jax

from . import configs, flags
from .errors import Missing, UsageError

WAIT_SECONDS = 300
"""For so long the processes wait for one another."""
QUIET_SECONDS = 5
"""After so long they say that they wait."""
HEARTBEAT_SECONDS = 30
"""After so long without a sign of life from one of several processes the others end, too."""
HOW = "--coordinator=HOST:PORT --num_processes=N --process_id=I"


def given(config: configs.Machine) -> str:
    """The flags of the launch that were given, as they are written."""
    values = {name: getattr(config, name) for name in flags.LAUNCH}
    there = {n: x for n, x in values.items() if x is not None and x is not False and x != ""}
    return " ".join(f"--{n}" if x is True else f"--{n}={x}" for n, x in there.items())


def join(config: configs.Machine) -> None:
    """Joins the other processes, where flags say that there are some.

    JAX waits in C++, where it hears no signal and ends the process with a stack trace: it does so
    in a thread of its own, which is left to itself.

    Raises:
      UsageError: flags are wrong or missing, or there is no such cluster or address.
      Missing: not all came within `WAIT_SECONDS`.
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
        print(f"waiting for {_whom(config)}, up to {WAIT_SECONDS} s", file=sys.stderr, flush=True)
        joining.join(max(0, WAIT_SECONDS - QUIET_SECONDS))
    if joining.is_alive():
        raise Missing(
            f"after {WAIT_SECONDS} s still waiting for {_whom(config)}: start the others, look "
            f"whether they reach that address, or run alone without {given(config)}"
        )
    if errors:
        raise UsageError(
            f"{given(config)}: {' '.join(str(errors[0]).split())}; where no cluster is detected "
            f"give {HOW}"
        ) from None


def _check(config):
    number, index = config.num_processes, config.process_id
    if given(config) and not (config.distributed or config.coordinator):
        raise UsageError(f"{given(config)}: where do the processes meet? Give {HOW}")
    address = re.fullmatch(r".+:(\d{1,5})", config.coordinator or "host:1")
    if not address or not 0 < int(address[1]) < 2**16:
        raise UsageError(f"--coordinator={config.coordinator}: write HOST:PORT")
    if number is not None and number < 1:
        raise UsageError(f"--num_processes={number}: use 1 or more")
    if index is not None and not 0 <= index < (number or index + 1):
        raise UsageError(f"--process_id={index}: {number or 'N'} processes count from 0")


def _drop_native_output():
    """Leaves standard output to Python: Gloo, which joins processes on CPU, prints there, too.

    It does so from C++, on the file descriptor, and has no setting for it.
    """
    sys.stdout.flush()
    own = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, buffering=1)  # noqa: SIM115


def _initialize(config, errors):
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


def _whom(config):
    """The processes that are waited for, in words."""
    number, index = config.num_processes, config.process_id
    where = f"at {config.coordinator}" if config.coordinator else "of the cluster JAX detected"
    this = "" if index is None else f" (this is number {index}, counted from 0)"
    return f"{number or 'all'} processes {where}{this}"
