"""Joins the other processes of a launch, before JAX starts any device."""

import dataclasses
import os
import re
import sys
import threading
from pathlib import Path

import jax
import jaxlib

import mcjax

from . import configs, flags, meeting
from .errors import Missing, UsageError

HEARTBEAT_SECONDS = 30
"""How long a process may be silent before the others exit, too."""
OWN = (*flags.LAUNCH, "data_dir", "compilation_cache", "cpu_devices")
"""Flags in which processes may differ: where each of them finds things, and its machine."""
USAGE = "--coordinator=HOST:PORT --num_processes=N --process_id=I"


def given(config: configs.Machine) -> str:
    """The flags of the launch that were given, as on the command line."""
    values = {name: getattr(config, name) for name in flags.LAUNCH}
    there = {n: x for n, x in values.items() if x is not None and x is not False and x != ""}
    return " ".join(f"--{n}" if x is True else f"--{n}={x}" for n, x in there.items())


def join(config: configs.Machine) -> None:
    """Joins the other processes, if the flags ask for several.

    JAX waits in C++, where signals are not handled and a failure ends the process with a stack
    trace. It therefore starts after all processes have met, and in a daemon thread, which is
    abandoned on failure.

    Raises:
      UsageError: flags are wrong or missing, there is no such cluster or address, or processes
        differ.
      Missing: some process did not join within `meeting.WAIT_SECONDS`.
    """
    _check(config)
    if not (config.distributed or config.coordinator):
        return
    launch = _launch(config)
    alone = f"start it, check that it reaches that address, or run alone without {given(config)}"
    if launch is not None:
        meeting.meet(launch, _record(config, launch), alone)
    place = launch or (config.coordinator or None, config.num_processes, config.process_id)
    _drop_native_output()
    errors: list[Exception] = []
    joining = threading.Thread(target=_initialize, args=(place, errors), daemon=True)
    joining.start()
    joining.join(meeting.WAIT_SECONDS)
    if joining.is_alive():
        raise Missing(f"JAX did not join the others in {meeting.WAIT_SECONDS} s")
    if errors:
        raise UsageError(f"{given(config)}: {' '.join(str(errors[0]).split())}") from None


def _launch(config: configs.Machine) -> meeting.Launch | None:
    """The launch that flags, environment and cluster describe.

    Returns:
      None if this version of JAX has no such detection, of which it has no public form.

    Raises:
      UsageError: they do not describe one.
    """
    address = config.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    try:
        from jax._src.clusters import ClusterEnv

        detect = ClusterEnv.auto_detect_unset_distributed_params
    except (ImportError, AttributeError):
        return None
    try:
        address, number, index, _ = detect(
            address, config.num_processes, config.process_id, [0], None, meeting.WAIT_SECONDS
        )
    except Exception as error:  # each cluster has its own
        why = " ".join(str(error).split())
        raise UsageError(f"{given(config)}: {why}; give {USAGE}") from None
    if address is None or number is None or index is None:
        raise UsageError(f"{given(config)}: JAX detects no cluster here; give {USAGE}")
    return meeting.Launch(address, number, index)


def _record(config: configs.Machine, launch: meeting.Launch) -> meeting.Record:
    """What must be equal in all processes, in the order in which it is compared."""
    versions = {"mcjax": mcjax.__version__, "jax": jax.__version__, "jaxlib": jaxlib.__version__}
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return (
        {"command": f"{Path(sys.argv[0]).stem or type(config).__name__}"}
        | {name: f"{name} {version}" for name, version in versions.items()}
        | {"number": f"--num_processes={launch.number}"}
        | {f"--{n}": flags.word(n, x) for n, x in values.items() if x is not None and n not in OWN}
    )


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


def _initialize(place: tuple[str | None, int | None, int | None], errors: list[Exception]) -> None:
    """Initializes `jax.distributed`; appends a failure to ``errors``."""
    try:
        jax.distributed.initialize(
            *place,
            initialization_timeout=2 * meeting.WAIT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:
        errors.append(error)
