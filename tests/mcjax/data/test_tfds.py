"""Data sets by tensorflow-datasets, and downloads."""

import io
import socket
import time
import types
import urllib.error
import urllib.request

import numpy as np
import pytest

from mcjax import data
from mcjax.data import cifar, reachable, sources, splits, tfds_source
from tests.mcjax.data import data_sets

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the set of `data_sets.prepare_tfds`, and its content."""
    folder = tmp_path_factory.mktemp("tfds")
    return folder, data_sets.prepare_tfds(folder)


def as_set(pairs):
    return sorted((np.asarray(image).tobytes(), int(label)) for image, label in pairs)


def test_tfds_reads_what_was_prepared(prepared, tmp_path, monkeypatch):
    folder, content = prepared
    load = lambda: data.load("tfds:mcjax_shapes", data_dir=str(folder), use_test=True)  # noqa: E731
    first = load()
    assert first.num_classes == 7
    assert first.train.images.shape == (20, 5, 4, 3)
    assert as_set(zip(*first.train, strict=True)) == as_set(content["train"])
    assert as_set(zip(*first.test, strict=True)) == as_set(content["test"])
    monkeypatch.setattr(tfds_source, "_read_split", None)
    again = load()
    np.testing.assert_array_equal(again.train.images, first.train.images)
    np.testing.assert_array_equal(again.test.labels, first.test.labels)
    assert list((tmp_path / "cache" / "data").glob("tfds_mcjax_shapes*.json"))


def test_tfds_is_read_in_batches(prepared, monkeypatch):
    folder, content = prepared
    monkeypatch.setattr(tfds_source, "_BATCH", 6)  # of 20 examples
    found = data.load("tfds:mcjax_shapes", data_dir=str(folder), use_test=True)
    assert as_set(zip(*found.train, strict=True)) == as_set(content["train"])


@pytest.mark.parametrize(("there", "held_out"), [("train validation test", "test"),
                                                 ("train validation", "validation")])  # fmt: skip
def test_tfds_holds_out_the_test_split_if_there_is_one(monkeypatch, tmp_path, there, held_out):
    sizes = dict(zip(("train", "validation", "test"), (5, 4, 3), strict=True))
    split = lambda _, n: splits.Split(np.zeros((sizes[n], 2, 2, 1), np.uint8), np.zeros(sizes[n]))  # noqa: E731
    monkeypatch.setattr(tfds_source, "_read_split", split)
    monkeypatch.setattr(tfds_source, "_keys", lambda _: ("image", "label"))
    features = {"label": types.SimpleNamespace(num_classes=7)}
    info = types.SimpleNamespace(splits=there.split(), full_name="a/1", features=features)
    found = tfds_source.read(types.SimpleNamespace(info=info, data_dir=tmp_path), None)
    assert [len(found.train.labels), len(found.test.labels)] == [5, sizes[held_out]]


def test_tfds_prepared_in_another_format_says_so(prepared, tmp_path):
    folder = tmp_path / "mcjax_shapes" / "1.0.0"
    folder.mkdir(parents=True)
    for path in (prepared[0] / "mcjax_shapes" / "1.0.0").iterdir():
        content = path.read_bytes()
        if path.suffix == ".json":
            content = content.replace(b"array_record", b"tfrecord")
        (folder / path.name.replace("array_record", "tfrecord")).write_bytes(content)
    with pytest.raises(ValueError, match="--file_format=array_record"):
        data.load("tfds:mcjax_shapes", data_dir=str(tmp_path))


def test_a_known_set_in_another_format_names_the_files_too(monkeypatch, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    def mismatch(*args, **kwargs):
        raise ValueError("File format array_record does not match")

    monkeypatch.setattr(tfds, "builder", mismatch)
    with pytest.raises(data.DataUnavailable, match=r"does not match.*cifar-10-binary"):
        data.load("cifar10", data_dir=str(tmp_path))


def test_tfds_that_is_prepared_serves_the_known_names(monkeypatch, prepared, tmp_path):
    found = tfds_source.find("mcjax_shapes", str(prepared[0]))
    monkeypatch.setattr(tfds_source, "find", lambda name, data_dir: found)
    assert data.load("mnist", data_dir=str(tmp_path)).num_classes == 7


NAMES = [
    ("mnist", "train-images-idx3-ubyte.*data_dir"),
    ("cifar10", r"cifar-10-binary.tar.gz or cifar-10-python.tar.gz.*data_dir"),
    ("cifar100", "cifar-100-binary.tar.gz.*data_dir"),
    ("fashion_mnist", "dataset-fashion-mnist"),
    ("tfds:cmaterdb", "tfds build cmaterdb.*data_dir"),
]


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DEBIAN", {"fashion_mnist": tmp_path / "none"})
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nothing_here")
@pytest.mark.parametrize(("name", "message"), NAMES)
def test_no_network_says_what_to_do(monkeypatch, tmp_path, name, message):
    def refused(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refused)
    began = time.monotonic()
    with pytest.raises(data.DataUnavailable, match=f"Network is unreachable.*{message}"):
        data.load(name, data_dir=str(tmp_path))
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("nothing_here")
def test_a_network_that_hangs_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(reachable, "TIMEOUT", 0.3)
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: time.sleep(30))
    began = time.monotonic()
    with pytest.raises(data.DataUnavailable, match=r"no answer in 0\.3 seconds"):
        data.load("cifar10", data_dir=str(tmp_path))
    assert time.monotonic() - began < 10


def test_a_host_that_answers_with_an_error_is_there(monkeypatch):
    def error(*args, **kwargs):
        raise urllib.error.HTTPError("url", 405, "HEAD is not allowed", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", error)
    reachable.check("cifar10", "https://host/file", "remedy")


def test_the_default_timeout_leaves_room_within_ten_seconds():
    assert reachable.TIMEOUT <= 8


@pytest.fixture
def served(monkeypatch, tmp_path, nothing_here):
    """The files that tfds would download, from a folder; the network answers."""
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: io.BytesIO())
    tfds = pytest.importorskip("tensorflow_datasets")
    served = tmp_path / "served"
    served.mkdir()
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download",
        lambda self, urls: {file: served / file for file in urls},
    )
    return served


def test_what_is_not_here_is_downloaded_and_read_without_tensorflow(served, tmp_path):
    layout = cifar.LAYOUTS["cifar100"][0]
    data_sets.write_archive(served / layout.archive, data_sets.cifar_files("cifar100", layout))
    data_sets.assert_is_cifar(
        data.load("cifar100", data_dir=str(tmp_path), use_test=True), "cifar100"
    )
    arrays = data_sets.write_idx(served, compress=True)
    mnist = data.load("mnist", data_dir=str(tmp_path), use_test=True)
    np.testing.assert_array_equal(mnist.test.images[..., 0], arrays[2])


def test_a_download_that_fails_says_what_to_do(served, monkeypatch, tmp_path):
    def fails(self, urls):
        raise RuntimeError("404 Not Found\nmore")

    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds.download.DownloadManager, "download", fails)
    with pytest.raises(data.DataUnavailable, match=r"404 Not Found.*cifar-10-binary"):
        data.load("cifar10", data_dir=str(tmp_path))


def test_tfds_that_is_not_installed_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    with pytest.raises(data.DataUnavailable, match=r"mcjax\[data\].*data_dir"):
        data.load("cifar10", data_dir=str(tmp_path))
