"""Requests to object stores, through the file systems of fsspec: gcsfs and s3fs.

Listings are never cached, for other processes write too. Errors of the libraries become `OSError`,
which the callers handle as they do for a disk.
"""

import errno
import functools
import json
import os
import threading
from collections.abc import Callable
from typing import Any

from mcjax import extras

TIMEOUT = 20.0
"""Seconds in which a bucket must answer when it is first named."""
PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}
REMEDIES = {
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
"""What to do if access is denied."""
SERVERS = {
    "gs": ("STORAGE_EMULATOR_HOST",),
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
}
"""Environment variables that name another server."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "gs": {},
    "s3": {
        "max_concurrency": 1,  # a file is read in one request
        "config_kwargs": {"connect_timeout": 10, "retries": {"max_attempts": 3}},
    },
}
_NOT_MET = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


@functools.cache
def filesystem(scheme: str) -> Any:
    """The fsspec file system of ``gs`` or ``s3``."""
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it logs for each request
    import fsspec

    return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS[scheme])


def call(url: str, method: str, *args: Any, **options: Any) -> Any:
    """Calls a method of the file system on a URL.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: anything else, with an errno.
    """
    scheme = url.partition(":")[0]
    return _translated(url, lambda: getattr(filesystem(scheme), method)(url, *args, **options))


def put_if(url: str, content: bytes, tag: str | None) -> str | None:
    """Writes a file on the condition that it has not changed; the server checks it atomically.

    Args:
      url: the file's.
      content: what to write.
      tag: of the file that may be replaced; None if there must be none yet.

    Returns:
      The new file's tag; None if the condition is not met.

    Raises:
      OSError: the server did not answer as expected.
    """
    scheme, bucket, key = parts(url)
    put = _put_gs if scheme == "gs" else _put_s3
    return _translated(url, lambda: put(filesystem(scheme), bucket, key, content, tag))


def tag_of(url: str) -> str | None:
    """The tag of a file's present content; None if there is no file."""
    try:
        info = call(url, "info")
    except FileNotFoundError:
        return None
    return info.get("generation") or info.get("ETag")


def parts(url: str) -> tuple[str, str, str]:
    """Splits a URL.

    >>> parts("s3://bucket/runs/A")
    ('s3', 'bucket', 'runs/A')
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key


@functools.cache
def check(scheme: str, bucket: str) -> None:
    """Checks that a bucket exists and answers, once for each bucket.

    Raises:
      ValueError: it does not, with the remedy.
      MissingExtraError: the package for it is not installed.
    """
    url, errors = f"{scheme}://{bucket}", list[OSError]()
    extras.require(url, PACKAGES[scheme])

    def ask() -> None:
        try:
            _translated(url, lambda: _first_names(scheme, bucket))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    if thread.is_alive():
        words = f"does not answer within {TIMEOUT:g} s: check the network"
        raise ValueError(f"{url} {words}{_server(scheme)}")
    if errors:
        raise ValueError(f"{url} {_words(errors[0], scheme)}{_server(scheme)}") from errors[0]


def _first_names(scheme: str, bucket: str) -> None:
    """Lists the first file of a bucket."""
    fs = filesystem(scheme)
    if scheme == "gs":
        fs.call("GET", "b/{}/o", bucket, maxResults=1, json_out=True)
    else:
        fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)


def _words(error: OSError, scheme: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist: create the bucket, or correct its name"
    if isinstance(error, PermissionError):
        return f"denies access ({error.strerror}): {REMEDIES[scheme]}"
    return f"cannot be reached ({error.strerror}): check the network"


def _server(scheme: str) -> str:
    """The server that the environment names instead of the usual one, in words."""
    found = [f"{name}={os.environ[name]}" for name in SERVERS[scheme] if os.environ.get(name)]
    return f" ({found[0]})" if found else ""


def _translated(url: str, request: Callable[[], Any]) -> Any:
    """The result of a request; its errors become `OSError` with an errno."""
    try:
        return request()
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:  # those of botocore, aiohttp and google.auth have no common class
        words = " ".join(str(error).split()) or type(error).__name__
        raise OSError(errno.EACCES if _is_denied(error) else errno.EIO, words[:300], url) from error


def _is_denied(error: Exception) -> bool:
    """Whether credentials are missing or not accepted."""
    kinds = {one.__name__ for one in type(error).__mro__}
    code = str(getattr(error, "code", ""))
    denied = {"PermissionError", "NoCredentialsError", "PartialCredentialsError", "GoogleAuthError"}
    return bool(kinds & denied) or code in ("401", "403") or str(error).startswith("Forbidden")


def _put_s3(fs: Any, bucket: str, key: str, content: bytes, tag: str | None) -> str | None:
    condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    try:
        return fs.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)["ETag"]
    except Exception as error:
        response = getattr(error.__cause__ or error, "response", {})
        if response.get("Error", {}).get("Code") in _NOT_MET:
            return None
        raise


def _put_gs(fs: Any, bucket: str, key: str, content: bytes, tag: str | None) -> str | None:
    head = f"--=0=\nContent-Type: application/json\n\n{json.dumps({'name': key})}\n"
    head += "--=0=\nContent-Type: application/octet-stream\n\n"
    try:
        answer = fs.call(
            "POST",
            f"{fs._location}/upload/storage/v1/b/{bucket}/o",
            uploadType="multipart",
            ifGenerationMatch=tag or "0",
            headers={"Content-Type": 'multipart/related; boundary="=0="'},
            data=head.encode() + content + b"\n--=0=--",
            json_out=True,
        )
    except FileExistsError:  # what gcsfs raises for status 412
        return None
    return answer["generation"]
