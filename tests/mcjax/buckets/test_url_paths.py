"""Paths at buckets behave as pathlib's do, at servers of both protocols."""

import io

import numpy as np
import pytest

from mcjax import extras, paths
from mcjax.buckets import requests
from tests import buckets
from tests.buckets import bucket, server

__all__ = ["bucket", "server"]


def tree(folder):
    """All files below a folder, by their names."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture
def folders(bucket, tmp_path):
    """Empty folders, here and at a bucket: what pathlib does, buckets do too."""
    (tmp_path / "here").mkdir()
    return paths.at(str(tmp_path / "here")), paths.at(f"{bucket}/there")


def fill(folder):
    for name in ("b@1.npz", "b.npz", "c.json", "logits/x.npz", "logits/deep/y.npz"):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        paths.write_atomically(place, name.encode())


def test_files_are_written_found_and_read(folders):
    for folder in folders:
        fill(folder)
        names = sorted(file.name for file in folder.iterdir())
        assert names == ["b.npz", "b@1.npz", "c.json", "logits"]
        assert sorted(file.name for file in folder.glob("b*.npz")) == ["b.npz", "b@1.npz"]
        assert [file.name for file in folder.glob("logits/*.npz")] == ["x.npz"]
        assert not [*folder.glob("none/*")]
        assert (folder / "logits").is_dir()
        assert not (folder / "logits").is_file()
        assert not (folder / "logit").exists()
        file = folder / "c.json"
        assert file.is_file()
        assert not file.is_dir()
        assert file.read_text() == "c.json"
        assert file.stat().st_size == 6
        with pytest.raises(FileNotFoundError):
            (folder / "none").read_bytes()
        paths.write_atomically(file, b"other")
        assert file.read_bytes() == b"other"


def test_files_are_moved_and_deleted(folders):
    for folder in folders:
        fill(folder)
        (folder / "earlier" / "1").mkdir(parents=True)
        (folder / "b.npz").rename(folder / "earlier" / "1" / "b.npz")
        (folder / "logits").rename(folder / "earlier" / "1" / "logits")
        (folder / "c.json").unlink()
        (folder / "c.json").unlink(missing_ok=True)
        assert tree(folder) == {
            "b@1.npz": b"b@1.npz",
            "earlier/1/b.npz": b"b.npz",
            "earlier/1/logits/x.npz": b"logits/x.npz",
            "earlier/1/logits/deep/y.npz": b"logits/deep/y.npz",
        }
        paths.remove_tree(folder / "earlier")
        paths.remove_tree(folder / "earlier")
        assert [*tree(folder)] == ["b@1.npz"]


def test_folders_are_copied_both_ways(folders):
    here, there = folders
    fill(here)
    paths.copy(here, there / "copy")
    assert tree(there / "copy") == tree(here)
    paths.copy(there / "copy" / "logits", here / "back")
    assert tree(here / "back") == tree(here / "logits")
    paths.copy(there / "copy" / "c.json", here / "d.json")
    assert (here / "d.json").read_text() == "c.json"


def test_a_url_stays_itself(bucket):
    path = paths.at(f"{bucket}/runs/A/")
    assert str(path) == f"{bucket}/runs/A"
    assert str(path.resolve() / "x.npz") == f"{bucket}/runs/A/x.npz"
    assert str((path / "curve.npz").with_stem("curve@3").parent) == str(path.absolute())


def test_arrays_are_read_in_place(bucket):
    file = paths.at(f"{bucket}/x.npz")
    with pytest.raises(ValueError, match="only with rb"):
        file.open("w")
    content = io.BytesIO()
    np.savez(content, w=np.arange(5))
    file.write_bytes(content.getvalue())
    with file.open("rb") as opened, np.load(opened) as arrays:
        assert arrays["w"].tolist() == [0, 1, 2, 3, 4]


def test_a_missing_bucket(server):
    with pytest.raises(
        ValueError, match=f"^{server}://none-such does not exist: create the bucket"
    ):
        paths.at(f"{server}://none-such/x")
    with pytest.raises(ValueError, match=f"write {server}://BUCKET/NAME"):
        paths.at(f"{server}://")


def test_a_server_that_does_not_answer(bucket, monkeypatch):
    scheme = bucket[:2]
    monkeypatch.setattr(requests, "TIMEOUT", 2.0)
    name = requests.SERVERS[scheme][-1]
    with buckets.environment({name: "http://127.0.0.1:9"}):
        message = rf"^{bucket} (cannot be reached|does not answer).*\({name}=http://127.0.0.1:9\)$"
        with pytest.raises(ValueError, match=message):
            paths.at(f"{bucket}/x")


def test_a_missing_package(monkeypatch):
    requests.check.cache_clear()
    monkeypatch.setattr(extras, "missing", lambda names: names)
    with pytest.raises(extras.MissingExtraError, match=r"s3://b needs s3fs: .*\[buckets\]"):
        paths.at("s3://b/x")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            type("NoCredentialsError", (Exception,), {})("no keys"),
            "denies access .no keys.: set AWS",
        ),
        (PermissionError("not yours"), "denies access .not yours.: set AWS_PROFILE"),
        (RuntimeError("no\nroute"), "cannot be reached .no route.: check the network"),
    ],
)
def test_what_errors_of_the_libraries_mean(monkeypatch, error, words):
    def fail(*_):
        raise error

    requests.check.cache_clear()
    monkeypatch.setattr(requests, "_first_names", fail)
    with pytest.raises(ValueError, match=f"^s3://b {words}"):
        paths.at("s3://b/x")
