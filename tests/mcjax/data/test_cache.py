"""The cache of what is slow to read."""

import json
import os
import pwd

import numpy as np
import pytest

from mcjax.data import cache, splits

RNG = np.random.default_rng(11)


def built(seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        splits.Split(
            rng.integers(0, 256, (n, 3, 2, 1), dtype=np.uint8),
            rng.integers(0, 10, n).astype(np.int32),
        )
        for n in (5, 4)
    )


def assert_same(a, b):
    for x, y in zip((*a[0], *a[1]), (*b[0], *b[1]), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


@pytest.fixture
def source_file(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def never():
    raise AssertionError("read again though it is in the cache")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("*.train_images.npy", flip_a_byte),
        ("*.test_labels.npy", flip_a_byte),
        ("*.test_images.npy", lambda path: path.write_bytes(path.read_bytes()[:-3])),
        ("*.train_labels.npy", lambda path: path.unlink()),
        ("*.json", lambda path: path.write_text("{")),
        ("*.json", lambda path: path.write_text("[]")),
        ("*.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("*.json", lambda path: path.write_text(json.dumps({"train_images": "0"}))),
    ],
)
def test_a_damaged_cache_is_rebuilt(tmp_path, source_file, pattern, damage):
    folder = tmp_path / "c"
    assert_same(cache.cached("a/b", [source_file], built, folder), built())
    assert_same(cache.cached("a/b", [source_file], never, folder), built())
    damage(next(folder.glob(pattern)))
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(cache.cached("a/b", [source_file], built, folder), built())
    assert_same(cache.cached("a/b", [source_file], never, folder), built())
    assert not list(folder.glob("*.tmp"))


def test_a_changed_source_is_read_anew(tmp_path, source_file):
    cache.cached("a", [source_file], built, tmp_path)
    stat = source_file.stat()
    os.utime(source_file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    assert_same(cache.cached("a", [source_file], lambda: built(1), tmp_path), built(1))
    source_file.write_bytes(b"longer content")
    os.utime(source_file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert_same(cache.cached("a", [source_file], lambda: built(2), tmp_path), built(2))
    assert_same(cache.cached("b", [source_file], lambda: built(3), tmp_path), built(3))


def test_sources_of_one_name_size_and_time_in_two_folders_are_two(tmp_path, source_file):
    other = tmp_path / "other" / source_file.name
    other.parent.mkdir()
    other.write_bytes(source_file.read_bytes())
    os.utime(other, ns=(source_file.stat().st_mtime_ns,) * 2)
    for name, file, seed in (("a/b", source_file, 0), ("a/b", other, 1), ("a b", other, 2)):
        assert_same(
            cache.cached(name, [file], lambda seed=seed: built(seed), tmp_path), built(seed)
        )
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.json")} == {"a_b"}


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, source_file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="cannot be written"):
        cache.cached("a", [source_file], built, tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())


def test_a_cache_that_cannot_be_written_only_warns(tmp_path, source_file):
    with pytest.warns(UserWarning, match="cannot be written"):
        result = cache.cached("a", [source_file], built, source_file / "below_a_file")
    assert_same(result, built())


def test_without_a_home_folder_nothing_is_kept(monkeypatch, source_file):
    def no_entry(_):
        raise KeyError

    for name in ("MCJAX_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.warns(UserWarning, match="a is not cached: .* set MCJAX_CACHE to a folder"):
        assert_same(cache.cached("a", [source_file], built), built())


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.default_dir() == tmp_path / "cache" / "data"
    monkeypatch.delenv("MCJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_dir() == tmp_path / "mcjax" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_dir() == tmp_path / ".cache" / "mcjax" / "data"
