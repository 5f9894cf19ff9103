"""Damaged files of the official formats: a data set, or a ValueError that names the file."""

import gzip
import shutil
import struct

import numpy as np
import pytest
from hypothesis import strategies as st

from mcjax import data
from mcjax.data import cifar, idx
from tests.fuzzing import CASES, fuzz
from tests.mcjax.data import data_sets


def damaged(size):
    """A function of bytes: one changed, or the end cut off."""
    return st.one_of(
        st.tuples(st.integers(0, size - 1), st.integers(1, 255)).map(
            lambda x: lambda b: b[: x[0]] + bytes([b[x[0]] ^ x[1]]) + b[x[0] + 1 :]
        ),
        st.integers(0, size - 1).map(lambda n: lambda b: b[:n]),
    )


@CASES
def test_idx_files(cases, tmp_path):
    whole = struct.pack(">BBBBIII", 0, 0, 8, 3, 4, 2, 2) + bytes(range(16))

    @fuzz(
        cases,
        st.one_of(
            st.binary(max_size=40),
            damaged(len(whole)).map(lambda damage: damage(whole)),
            st.just(whole),
        ),
        st.booleans(),
    )
    def one(content, compressed):
        path = tmp_path / f"images{'.gz' if compressed else ''}"
        path.write_bytes(gzip.compress(content) if compressed else content)
        try:
            array = idx.read_array(path, 3)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert (array.ndim, array.dtype) == (3, np.uint8)
            assert array.size == len(content) - 16


@CASES
@pytest.mark.parametrize(("name", "layout"), data_sets.LAYOUTS)
def test_cifar_files(cases, tmp_path, name, layout):
    """A byte of a file of the folder, or of the archive, is another."""
    files = data_sets.cifar_files(name, layout)
    folder = tmp_path / layout.folder
    folder.mkdir()
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    archive = tmp_path / layout.archive
    data_sets.write_archive(archive, files)
    whole = archive.read_bytes()
    inside = folder / layout.train[-1]
    content = inside.read_bytes()

    def read(path, size):
        try:
            found = cifar.read(path, layout)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert found.train.images.dtype == np.uint8
            assert found.train.images.shape == (size, 32, 32, 3)
            assert 0 <= found.train.labels.min() <= found.train.labels.max() < found.num_classes

    size = 4 * len(layout.train)

    @fuzz(cases // 8, damaged(len(content)))
    def one_in_folder(damage):
        inside.write_bytes(damage(content))
        read(folder, size)

    @fuzz(cases // 8, damaged(len(whole)))
    def one_archive(damage):
        archive.write_bytes(damage(whole))
        read(archive, size)


@CASES
def test_array_records(cases, tmp_path, monkeypatch):
    whole, place = tmp_path / "whole", tmp_path / "damaged"
    content = data_sets.prepare_tfds(whole)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())

    @fuzz(cases // 5, st.sampled_from(files).flatmap(
        lambda f: st.tuples(st.just(f), damaged((whole / f).stat().st_size))
    ))  # fmt: skip
    def one(chosen):
        file, damage = chosen
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        (place / file).write_bytes(damage((place / file).read_bytes()))
        cache = place / "cache"
        monkeypatch.setenv("MCJAX_CACHE", str(cache))
        try:
            found = data.load("tfds:mcjax_shapes", data_dir=str(place), use_test=True)
        except ValueError as error:
            assert str(place) in str(error)
        else:
            assert sorted(x.tobytes() for x in found.test.images) == sorted(
                x.tobytes() for x, _ in content["test"]
            )


@CASES
def test_damaged_npz(cases, tmp_path):
    """A changed byte or an end cut off gives the same data or a ValueError that names the file."""
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.arange(20, dtype=np.uint8).reshape(20, 1, 1), labels=np.arange(20))
    whole = path.read_bytes()
    expected = data.load(f"npz:{path}").train.images

    @fuzz(cases, damaged(len(whole)))
    def one(damage):
        path.write_bytes(damage(whole))
        try:
            found = data.load(f"npz:{path}")
        except ValueError as error:
            assert str(path) in str(error)
        else:
            np.testing.assert_array_equal(found.train.images, expected)
