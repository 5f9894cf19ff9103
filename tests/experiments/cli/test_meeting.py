"""Processes meet before JAX starts; here each is a thread."""

import json
import re
import socket
import threading
import time

import pytest

from experiments.cli import meeting
from experiments.cli.errors import Missing, UsageError
from experiments.cli.meeting import Launch
from tests.ports import free_port

SAME = {"command": "fit_curve", "jax": "jax 1", "--lr": "--lr=0.1"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for name, seconds in {"WAIT": 20, "QUIET": 10, "NAME": 0.1, "PORT": 0.1, "POLL": 0.01}.items():
        monkeypatch.setattr(meeting, f"{name}_SECONDS", seconds)


@pytest.fixture
def address():
    return f"localhost:{free_port()}"


def meet(address, number, records, indices=None):
    """Meets in as many threads as there are records; returns each one's error, or None."""
    found = [None] * len(records)

    def one(place, index, record):
        try:
            meeting.meet(Launch(address, number, index), record, "start it")
        except (Missing, UsageError) as error:
            found[place] = error

    places = enumerate(zip(indices or range(len(records)), records, strict=True))
    threads = [threading.Thread(target=one, args=(p, i, r)) for p, (i, r) in places]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(60)
    return found


def test_equal_processes_meet_in_any_order(address, capsys):
    assert meet(address, 4, [SAME] * 4, (2, 3, 0, 1)) == [None] * 4
    assert meet(address, 1, [SAME]) == [None]
    assert capsys.readouterr().err == ""


def test_process_0_listens_where_jax_will(address, monkeypatch):
    """Behind a service that forwards another port."""
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", f"[::]:{address.partition(':')[2]}")
    found = []
    first = threading.Thread(target=lambda: found.extend(meet("localhost:1", 2, [SAME])))
    first.start()
    assert meet(address, 2, [SAME], (1,)) == [None]
    first.join()
    assert found == [None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--lr": "--lr=0.2"}, "--lr=0.1 in process 0, --lr=0.2 in process 2"),
        ({"jax": "jax 2", "--lr": "--lr=1"}, "jax 1 in process 0, jax 2 in process 2"),
        ({"--flip": "--flip"}, "no --flip in process 0, --flip in process 2"),
        ({"command": "align"}, "fit_curve in process 0, align in process 2"),
    ],
)
def test_what_differs_is_named_in_every_process(address, changes, words):
    found = meet(address, 3, [SAME, SAME, SAME | changes])
    assert [type(error) for error in found] == [UsageError] * 3
    assert {str(error) for error in found} == {
        f"{words}: start all with the same command and versions"
    }


def test_missing_processes_are_named_in_all_that_came(address, monkeypatch, capsys):
    monkeypatch.setattr(meeting, "WAIT_SECONDS", 1)
    monkeypatch.setattr(meeting, "QUIET_SECONDS", 0.5)
    first, third = meet(address, 4, [SAME] * 2, (0, 2))
    where = f"at {address} (this is number 0, counted from 0)"
    assert f"waiting for process 1, 3 of 4 {where}, up to 1 s\n" in capsys.readouterr().err
    assert isinstance(first, Missing)
    assert isinstance(third, Missing)
    assert str(first) == f"after 1 s still waiting for process 1, 3 of 4 {where}: start it"
    assert "still waiting for" in str(third)


def test_without_the_first_process_its_address_and_the_reason_are_said(
    address, monkeypatch, capsys
):
    monkeypatch.setattr(meeting, "WAIT_SECONDS", 0.4)
    monkeypatch.setattr(meeting, "QUIET_SECONDS", 0.1)
    (error,) = meet(address, 2, [SAME], (1,))
    what = rf"process 0 \(Connection refused\) at {address} \(this is number 1, counted from 0\)"
    assert re.fullmatch(f"waiting for {what}, up to 0.4 s\n", capsys.readouterr().err)
    assert re.fullmatch(f"after 0.4 s still waiting for {what}: start it", str(error))


def test_a_name_that_does_not_resolve(monkeypatch, capsys):
    monkeypatch.setattr(meeting, "QUIET_SECONDS", 0)
    for index in (0, 1):
        (error,) = meet("no.such.host.invalid:1234", 2, [SAME], (index,))
        assert isinstance(error, UsageError)
        assert re.match(r"no\.such\.host\.invalid:1234: .*, for 0\.1 s; the name", str(error))
        said = capsys.readouterr().err
        assert re.fullmatch(r"waiting for the name no\.such\.host\.invalid .*up to 0\.1 s\n", said)
    (error,) = meet("a..b:1234", 2, [SAME], (1,))
    assert str(error).startswith("a..b:1234: ")


def test_a_port_in_use_and_another_program(address, monkeypatch):
    monkeypatch.setattr(meeting, "WAIT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", int(address.partition(":")[2]))) as other:
        other.settimeout(0.01)
        closing = threading.Thread(target=answer, args=(other, b"HTTP/1.1 400\n"))
        closing.start()
        first, second = meet(address, 2, [SAME] * 2)
        closing.join()
    assert isinstance(first, UsageError)
    assert re.match(rf"port \d+ of {address} cannot be used: Address already in use; ", str(first))
    assert isinstance(second, Missing)
    assert "(what answers is not mcjax, or ended)" in str(second)


def answer(server, text):
    """Sends a text to whoever connects, for a while."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            with server.accept()[0] as connection:
                connection.sendall(text)
        except TimeoutError:
            pass


def test_strangers_and_those_who_left_do_not_count(address):
    """A scanner of ports, and a process 1 that is killed before the others come."""
    port = int(address.partition(":")[2])
    found = []

    def knock():
        mine = json.dumps({"index": 1, "record": {}}).encode() + b"\n"
        for text in (b"GET / HTTP/1.1\n", b"[1]\n", b"", mine):
            with socket.create_connection(("localhost", port)) as s:
                s.sendall(text)
        found.extend(meet(address, 3, [SAME] * 2, (1, 2)))

    late = threading.Timer(0.1, knock)
    late.start()
    assert meet(address, 3, [SAME]) == [None]
    late.join()
    assert found == [None, None]


@pytest.mark.parametrize(
    ("number", "indices", "words"),
    [
        (3, (0, 1, 1), "--process_id=1: two have it"),
        (2, (0, 3), "--process_id=3: there are only 2"),
    ],
)
def test_a_wrong_index_ends_all(address, number, indices, words):
    for error in meet(address, number, [SAME] * len(indices), indices):
        assert isinstance(error, UsageError)
        assert str(error) == f"{words}; processes count from 0, each once"
