"""Real processes that cannot join one another: a line each within a stated time, and no hang."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

import mcjax
from tests.ports import free_port

BOUNDED = 150
"""Seconds in which every process must have ended."""

IMPATIENT = """
from experiments import train_mode
from experiments.cli import command, configs, meeting
meeting.QUIET_SECONDS, meeting.WAIT_SECONDS, meeting.PORT_SECONDS, meeting.NAME_SECONDS = {}, 2, 2
{}
command.main(configs.ModeConfig, train_mode.run, "")
"""


def alone(number, seconds, *flags, address=None, change=""):
    """Starts one of two processes with other waits; what it says on standard error."""
    launch = (f"--coordinator={address or f'localhost:{free_port()}'}", "--num_processes=2")
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT.format(seconds, change), *launch,
         f"--process_id={number}", "--nocompilation_cache", *flags],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


def both_say(seconds="60, 60", changes=("", ""), flags=((), ()), address=None):
    """What two processes say, each in one line, and their statuses."""
    address = address or f"localhost:{free_port()}"
    both = [
        alone(i, seconds, *flags[i], address=address, change=changes[i]) for i in (0, 1)
    ]  # fmt: skip
    said = [process.communicate(timeout=BOUNDED)[1] for process in both]
    assert all(text.count("\n") == 1 for text in said), said
    return [text.removeprefix("-c: ").rstrip() for text in said], [p.returncode for p in both]


def test_another_flag_in_one_process_ends_both():
    said, statuses = both_say(flags=(["--epochs=3"], ["--epochs=4"]))
    words = "--epochs=3 in process 0, --epochs=4 in process 1: start all with the same command"
    assert said == [f"{words} and versions"] * 2
    assert statuses == [2, 2]


@pytest.mark.long
def test_another_version_in_one_process_ends_both():
    said, statuses = both_say(changes=("", "import mcjax; mcjax.__version__ = '0'"))
    assert all(f"mcjax {mcjax.__version__} in process 0, mcjax 0 in pro" in text for text in said)
    assert statuses == [2, 2]


@pytest.mark.long
def test_a_name_that_does_not_resolve_ends_both():
    said, statuses = both_say(address="no.such.host.invalid:1234")
    assert all(text.startswith("no.such.host.invalid:1234: ") for text in said)
    assert statuses == [2, 2]


@pytest.mark.long
def test_a_port_in_use_is_said():
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        said, statuses = both_say("60, 10", address=f"localhost:{port}")
    assert said[0].startswith(f"port {port} of localhost:{port} cannot be used: Address already")
    assert "after 10 s still waiting for" in said[1]
    assert statuses == [2, 1]


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 1])
def test_processes_that_never_come_end_in_one_line(number):
    """JAX's own way to end this wait is a stack trace of C++."""
    with alone(number, "0.1, 1") as process:
        waiting, last = process.communicate(timeout=BOUNDED)[1].splitlines()
    assert process.returncode == 1
    whom = ("process 1 of 2", r"process 0 \(Connection refused\)")[number]
    assert re.match(rf"waiting for {whom} at localhost:\d+ .*, up to 1 s", waiting)
    assert re.search(r"after 1 s still waiting .* run alone without --coordinator=.*", last)


@pytest.mark.long
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_the_wait_for_processes(signum, status):
    with alone(1, "0.1, 300") as process:
        assert process.stderr.readline().startswith("waiting for process 0 (Connection refused)")
        process.send_signal(signum)
        process.communicate(timeout=BOUNDED)
    assert process.returncode == status


STOPPED = """
import signal
import jax
from experiments.cli import command, configs, errors
jax.distributed.is_initialized = lambda: True
def run(config):
    raise errors.Interrupted(signal.SIGTERM)
command.main(configs.ModeConfig, run, "")
"""


@pytest.mark.slow
def test_another_sigterm_while_the_processes_end_keeps_the_status():
    """The first process that ends makes srun send it to the others."""
    program = [sys.executable, "-c", STOPPED, "--nocompilation_cache"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert "stopped by SIGTERM" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 75
