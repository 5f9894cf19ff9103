"""JSON objects over a socket, a line each."""

import contextlib
import json
import socket
from collections.abc import Mapping
from typing import Any

LONGEST = 1 << 20
"""Bytes of a line."""


def send(connection: socket.socket, value: Mapping[str, Any]) -> None:
    """Sends an object.

    Raises:
      OSError: the connection is closed.
    """
    connection.sendall(json.dumps(value).encode() + b"\n")


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next object; empty if the connection ends, is silent, or sends something else."""
    line = b""
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and len(line) < LONGEST:
            part = connection.recv(1 << 16)
            if not part:
                break
            line += part
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
