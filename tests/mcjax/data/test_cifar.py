"""CIFAR's archives, and the pickles in them."""

import os
import pickle
import tarfile

import numpy as np
import pytest

from mcjax import data
from mcjax.data import cifar, pickles
from tests.mcjax.data import data_sets

RNG = np.random.default_rng(11)


def test_cifar_files_have_the_published_names():
    """www.cs.toronto.edu/~kriz/cifar.html; the tests' own files are named after the layouts."""
    numbers = [f"data_batch_{i}" for i in (1, 2, 3, 4, 5)]
    binary, python = cifar.LAYOUTS["cifar10"]
    assert [*binary.train, binary.test] == [f"{n}.bin" for n in (*numbers, "test_batch")]
    assert [*python.train, python.test] == [*numbers, "test_batch"]
    assert (binary.label, python.label) == (1, b"labels")
    binary, python = cifar.LAYOUTS["cifar100"]
    assert [*binary.train, binary.test] == ["train.bin", "test.bin"]
    assert [*python.train, python.test] == ["train", "test"]
    assert (binary.label, python.label) == (2, b"fine_labels")  # after the coarse one


@pytest.mark.parametrize(("name", "layout"), data_sets.LAYOUTS)
def test_cifar_archive_then_cache_then_folder(tmp_path, monkeypatch, name, layout):
    files = data_sets.cifar_files(name, layout)
    path = tmp_path / layout.archive
    data_sets.write_archive(path, files)
    load = lambda: data.load(name, data_dir=str(tmp_path), use_test=True)  # noqa: E731
    data_sets.assert_is_cifar(load(), name)
    monkeypatch.setattr(cifar, "read", None)
    data_sets.assert_is_cifar(load(), name)
    monkeypatch.undo()
    path.unlink()
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    data_sets.assert_is_cifar(load(), name)


def test_foreign_members_of_an_archive_are_never_written(tmp_path):
    layout = cifar.LAYOUTS["cifar10"][0]
    files = data_sets.cifar_files("cifar10", layout)
    bad = {"../escape.bin": b"x", "/escape.bin": b"x", f"../{layout.folder}/test_batch.bin": b"x"}
    inside = tmp_path / "inside"
    inside.mkdir()
    data_sets.write_archive(inside / layout.archive, {**bad, **files, f"x/{layout.test}": b"x"})
    data_sets.assert_is_cifar(data.load("cifar10", data_dir=str(inside), use_test=True), "cifar10")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "inside"]
    assert [p.name for p in inside.iterdir()] == [layout.archive]


def test_links_in_an_archive_are_not_followed(tmp_path):
    layout = cifar.LAYOUTS["cifar10"][0]
    with tarfile.open(tmp_path / layout.archive, "w:gz") as archive:
        member = tarfile.TarInfo(f"{layout.folder}/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"lacks data_batch_1.bin.*test_batch.bin"):
        data.load("cifar10", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "data_batch_3.*number of 3073-byte records"),
        (lambda b: b"", "data_batch_3.*0 labels"),
        (lambda b: b"\x0a" + b[1:], r"data_batch_3.*0\.\.9"),
    ],
)
def test_damaged_cifar_is_named(tmp_path, change, message):
    layout = cifar.LAYOUTS["cifar10"][0]
    files = data_sets.cifar_files("cifar10", layout)
    name = f"{layout.folder}/data_batch_3.bin"
    data_sets.write_archive(tmp_path / layout.archive, {**files, name: change(files[name])})
    with pytest.raises(ValueError, match=message):
        data.load("cifar10", data_dir=str(tmp_path))


def test_a_cut_archive_is_named(tmp_path):
    layout = cifar.LAYOUTS["cifar10"][0]
    path = tmp_path / layout.archive
    data_sets.write_archive(path, data_sets.cifar_files("cifar10", layout))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz"):
        data.load("cifar10", data_dir=str(tmp_path))


class _Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    layout = cifar.LAYOUTS["cifar10"][1]
    files = data_sets.cifar_files("cifar10", layout)
    bad = pickle.dumps({b"data": _Command(str(tmp_path / "done"))}, protocol=2)
    data_sets.write_archive(
        tmp_path / layout.archive, {**files, f"{layout.folder}/test_batch": bad}
    )
    with pytest.raises(ValueError, match=r"test_batch.*mkdir"):
        data.load("cifar10", data_dir=str(tmp_path))
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(2, np.int16), "i2"),
        (np.array([b"x", None], object), "O8"),
        (np.zeros(2, [("a", "u1")]), "V1"),
        (np.random.default_rng, "default_rng"),
        (eval, "eval"),
    ],
)
def test_other_pickles_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        pickles.loads(pickle.dumps(value, protocol=2))


def test_a_pickled_array_cannot_claim_more_than_its_bytes():
    honest = pickle.dumps(np.arange(6, dtype=np.uint8).reshape(2, 3), protocol=2)
    assert (pickles.array(pickles.loads(honest)) == [[0, 1, 2], [3, 4, 5]]).all()
    lying = honest.replace(b"K\x02K\x03", b"K\x02K\x04")
    assert lying != honest
    with pytest.raises(ValueError, match="6 bytes"):
        pickles.loads(lying)


def test_a_pickle_of_python_2_is_read():
    """As the official files have it: strings, the older name of numpy's module, Fortran order."""
    pickled = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x88U\x06abcdeftbU\x06labels](K\x07K\x01eu."
    )
    batch = pickles.loads(pickled)
    assert bytes(pickles.array(batch[b"data"])[1]) == b"bdf"
    assert batch[b"labels"] == [7, 1]
