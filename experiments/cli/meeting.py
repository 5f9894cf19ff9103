"""The processes of a launch meet before JAX starts, so that who is missing or differs is printed.

JAX waits in C++, where signals are not handled and most failures end the process with a stack
trace. So process 0 first listens at the coordinator's address itself. Every other process connects,
sends its record (command, versions, flags) as a line of JSON, and receives the verdict.
"""

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import json_lines
from .errors import Missing, UsageError

WAIT_SECONDS = 300
"""How long the processes wait for one another."""
QUIET_SECONDS = 5
"""How long they wait before they print that they do."""
NAME_SECONDS = 60
"""How long a host's name may not resolve, as before a pod of Kubernetes is ready."""
PORT_SECONDS = 10
"""How long the port may be in use, by an earlier launch that is ending."""
POLL_SECONDS = 0.2

Record = Mapping[str, str]
"""What must be equal in all processes: what it is, and its text in messages."""


class Launch(NamedTuple):
    """This process's place among all processes of a launch.

    Attributes:
      address: HOST:PORT of process 0.
      number: of processes.
      index: of this process, from 0.
    """

    address: str
    number: int
    index: int

    @property
    def host(self) -> str:
        """The host of process 0."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port on which process 0 listens."""
        return int(self.address.rpartition(":")[2])


def meet(launch: Launch, record: Record, remedy: str) -> None:
    """Returns when all processes are there and have equal records.

    Args:
      launch: of this process.
      record: its record.
      remedy: what to do if processes are missing, in words.

    Raises:
      UsageError: in every process, if records differ or two processes have one index; the
        address does not resolve within `NAME_SECONDS`, or cannot be used within `PORT_SECONDS`.
      Missing: some process did not come within `WAIT_SECONDS`.
    """
    if launch.number == 1:
        return
    wait = _Wait(launch, remedy)
    _resolve(launch, wait)
    if launch.index == 0:
        _receive(launch, record, wait)
    else:
        _attend(launch, record, wait)


class _Wait:
    """Prints once that this process waits, and for what, and ends the wait."""

    def __init__(self, launch: Launch, remedy: str) -> None:
        self._where = f"at {launch.address} (this is number {launch.index}, counted from 0)"
        self._remedy = remedy
        self._began = time.monotonic()
        self._printed = False

    def passed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def check(self, what: str, limit: float | None = None) -> None:
        """Prints what this process waits for when it has been quiet for long.

        Args:
          what: it waits for.
          limit: seconds after which the caller stops waiting, if before `WAIT_SECONDS`.

        Raises:
          Missing: `WAIT_SECONDS` are over.
        """
        what = f"{what} {self._where}"
        if self.passed() > QUIET_SECONDS and not self._printed:
            self._printed = True
            limit = limit or WAIT_SECONDS
            print(f"waiting for {what}, up to {limit} s", file=sys.stderr, flush=True)
        if self.passed() > WAIT_SECONDS:
            raise Missing(f"after {WAIT_SECONDS} s still waiting for {what}: {self._remedy}")


def _resolve(launch: Launch, wait: _Wait) -> None:
    """Waits until the address resolves, as JAX would, but for a time and in words."""
    while True:
        try:
            socket.getaddrinfo(launch.host, launch.port)
            return
        except (socket.gaierror, UnicodeError) as error:
            why = str(getattr(error, "strerror", "") or error)
        if wait.passed() > NAME_SECONDS:
            raise UsageError(
                f"{launch.address}: {why}, for {NAME_SECONDS} s; the name of process 0's machine "
                "has to resolve on all of them (or give its address with --coordinator)"
            )
        wait.check(f"the name {launch.host} to resolve ({why})", NAME_SECONDS)
        time.sleep(POLL_SECONDS)


def _receive(launch: Launch, record: Record, wait: _Wait) -> None:
    """Process 0: receives all records, compares them, and sends the verdict to all."""
    guests: dict[int, tuple[socket.socket, Record]] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(launch, wait))
        try:
            while len(guests) < launch.number - 1:
                missing = [str(i) for i in range(1, launch.number) if i not in guests]
                wait.check(f"process {', '.join(missing)} of {launch.number}")
                guest, theirs = _accept(server)
                if guest is not None:
                    stack.enter_context(guest)
                    guests = {i: g for i, g in guests.items() if not _left(g[0])}
                    _admit(launch, guests, guest, theirs)
            if found := difference({0: record, **{i: r for i, (_, r) in guests.items()}}):
                raise UsageError(found)
        except (UsageError, Missing) as error:
            _send_all(guests, {"error": type(error).__name__, "message": str(error)})
            raise
        _send_all(guests, {})


def _listen(launch: Launch, wait: _Wait) -> socket.socket:
    """A socket that listens where JAX's service will, on all of the machine's addresses.

    Raises:
      UsageError: the port is in use, for `PORT_SECONDS`, or not allowed.
    """
    bound = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", launch.address)
    port = int(bound.rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    while True:
        try:
            server = socket.create_server(
                ("", port), family=family, backlog=launch.number, dualstack_ipv6=both
            )
            server.settimeout(POLL_SECONDS)
            return server
        except OSError as error:
            if wait.passed() > PORT_SECONDS or isinstance(error, PermissionError):
                raise UsageError(
                    f"port {port} of {launch.address} cannot be used: "
                    f"{str(error.strerror).partition(' (')[0]}; choose another with --coordinator, "
                    "or JAX_COORDINATOR_PORT with --distributed"
                ) from None
        time.sleep(POLL_SECONDS)


def _accept(server: socket.socket) -> tuple[socket.socket | None, Any]:
    """The next connection that sends a record; None if there is none at the moment."""
    try:
        guest, _ = server.accept()
    except TimeoutError:
        return None, None
    guest.settimeout(QUIET_SECONDS)
    theirs = json_lines.receive(guest)
    if "index" in theirs and "record" in theirs:
        return guest, theirs
    guest.close()  # another program's
    return None, None


def _admit(
    launch: Launch,
    guests: dict[int, tuple[socket.socket, Record]],
    guest: socket.socket,
    theirs: Mapping[str, Any],
) -> None:
    """Adds a process to ``guests``.

    Raises:
      UsageError: there is one of the same index, or the index is too large.
    """
    index = int(theirs["index"])
    if 0 < index < launch.number and index not in guests:
        guests[index] = guest, theirs["record"]
        return
    why = "two have it" if index < launch.number else f"there are only {launch.number}"
    error = UsageError(f"--process_id={index}: {why}; processes count from 0, each once")
    _send_all({index: (guest, {})}, {"error": "UsageError", "message": str(error)})
    raise error


def _left(guest: socket.socket) -> bool:
    """Whether the process has gone: it sends nothing but its record."""
    poll = select.poll()  # select.select is limited to 1,024 files
    poll.register(guest, select.POLLIN)
    return bool(poll.poll(0))


def difference(records: Mapping[int, Record]) -> str:
    """The first thing in which a process differs from process 0, in words; empty if none does.

    >>> difference({0: {"--lr": "--lr=0.1"}, 1: {"--lr": "--lr=0.2"}})
    '--lr=0.1 in process 0, --lr=0.2 in process 1: start all with the same command and versions'
    """
    for what in dict.fromkeys(what for record in records.values() for what in record):
        texts = {i: record.get(what, f"no {what}") for i, record in sorted(records.items())}
        for i, text in texts.items():
            if text != texts[0]:
                return (
                    f"{texts[0]} in process 0, {text} in process {i}: "
                    "start all with the same command and versions"
                )
    return ""


def _attend(launch: Launch, record: Record, wait: _Wait) -> None:
    """Any other process: sends its record to process 0 and waits for the verdict."""
    why = ""
    while True:
        wait.check(f"process 0{why}")
        try:
            with socket.create_connection((launch.host, launch.port), QUIET_SECONDS) as host:
                json_lines.send(host, {"index": launch.index, "record": record})
                verdict = _verdict(host, wait)
            if verdict is not None:
                break
            why = " (what answers is not mcjax, or ended)"
        except OSError as error:
            why = f" ({error.strerror or error})"
        time.sleep(POLL_SECONDS)
    if verdict:
        raise {"Missing": Missing}.get(verdict["error"], UsageError)(verdict["message"])


def _verdict(host: socket.socket, wait: _Wait) -> Mapping[str, str] | None:
    """The verdict of process 0, empty if all is well; None if this is not process 0."""
    while not select.select([host], [], [], POLL_SECONDS)[0]:
        wait.check("others that process 0 has not seen yet")
    host.settimeout(QUIET_SECONDS)
    return json_lines.receive(host).get("verdict")


def _send_all(guests: Mapping[int, tuple[socket.socket, Record]], verdict: Record) -> None:
    for guest, _ in guests.values():
        with contextlib.suppress(OSError):  # it has gone
            json_lines.send(guest, {"verdict": verdict})
