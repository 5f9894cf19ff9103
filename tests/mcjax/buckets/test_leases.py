"""Locks at buckets: one owner at a time, taken over only from an owner that does not renew."""

import threading
import time

import pytest

from mcjax import paths
from mcjax.buckets import leases, requests
from tests.buckets import bucket, server

__all__ = ["bucket", "server"]


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    for name, seconds in (("HEARTBEAT", 0.1), ("EXPIRY", 1.0), ("POLL", 0.05)):
        monkeypatch.setattr(leases, name, seconds)


@pytest.fixture
def folder(bucket):
    return paths.at(f"{bucket}/runs/A")


def abandoned(folder):
    """A lock whose owner was killed."""
    lease = leases.Lease(folder, lambda _: None)
    lease._acquire()
    return lease


def test_a_second_owner_is_refused_while_the_first_lives(folder):
    notes = []
    with leases.Lease(folder, notes.append):
        began = time.monotonic()
        with (
            pytest.raises(leases.InUse, match=f"^{folder} is in use by another process: process "),
            leases.Lease(folder, notes.append),
        ):
            pass
        assert time.monotonic() - began < 0.9
        (folder / "run.json").write_bytes(b"{}")
    assert len(notes) == 1
    assert "watching whether it lives, up to 1 s" in notes[0]
    with leases.Lease(folder, notes.append):
        pass
    assert len(notes) == 1
    assert [file.name for file in folder.iterdir()] == ["run.json"]


def test_the_lock_of_a_killed_owner_is_taken_over_when_it_expires(folder):
    dead = abandoned(folder)
    began = time.monotonic()
    with leases.Lease(folder, lambda _: None):
        assert 1.0 < time.monotonic() - began < 4
        dead.renew()
        with pytest.raises(OSError, match="another process has taken over the lock"):
            dead.check()


@pytest.mark.long
def test_of_many_that_wait_one_takes_over(folder, monkeypatch):
    monkeypatch.setattr(leases, "EXPIRY", 4.0)  # longer than a busy machine takes to renew
    abandoned(folder)
    got, refused = [], []

    def run():
        try:
            with leases.Lease(folder, lambda _: None):
                got.append(1)
                deadline = time.monotonic() + 60
                while len(refused) < 3 and time.monotonic() < deadline:
                    time.sleep(0.05)
        except leases.InUse:
            refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


def test_nothing_is_written_after_the_lock_is_lost(folder):
    with leases.Lease(folder, lambda _: None) as lease:
        inside, outside = folder / "a" / "x", folder.parent / "B" / "x"
        inside.write_bytes(b"1")
        other = leases.Lease(folder, lambda _: None)
        requests.call(f"{folder}/.lock", "pipe_file", other._content())
        time.sleep(0.4)
        with pytest.raises(OSError, match="taken over"):
            inside.write_bytes(b"2")
        with pytest.raises(OSError, match="taken over"):
            paths.remove_tree(folder)
        outside.write_bytes(b"3")
    assert lease._lost
    assert (inside.read_bytes(), outside.read_bytes()) == (b"1", b"3")
    assert (folder / ".lock").exists()


def test_an_owner_that_could_not_renew_asks_before_it_writes(folder, monkeypatch):
    lease = abandoned(folder)
    time.sleep(1.1)
    lease.check()  # nobody came
    lease._renewed -= 2

    def unreachable(*_):
        raise OSError("no route")

    monkeypatch.setattr(requests, "put_if", unreachable)
    with pytest.raises(OSError, match="no route"):
        lease.check()


def test_a_renewal_whose_answer_was_lost_counts(folder):
    lease = abandoned(folder)
    requests.call(f"{folder}/.lock", "pipe_file", lease._content())  # arrived, unanswered
    lease.renew()
    lease.check()
    lease.renew()
    assert not lease._lost


def test_servers_without_conditions_are_refused(folder, monkeypatch):
    def put(url, content, tag):
        requests.call(url, "pipe_file", content)
        return "tag"

    monkeypatch.setattr(requests, "put_if", put)
    with (
        pytest.raises(leases.Unsafe, match="ignores the conditions of a write"),
        leases.Lease(folder, lambda _: None),
    ):
        pass
    assert not (folder / ".lock").exists()
