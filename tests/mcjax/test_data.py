"""Sources, splits and the cache, on small files in the official formats."""

import gzip
import io
import json
import os
import pickle
import pwd
import socket
import tarfile
import time
import types
import urllib.error
import urllib.request

import numpy as np
import pytest

from mcjax import data
from mcjax.data import cache, cifar, idx, pickles, reachable, sources, splits, tfds_source
from tests.mcjax import data_sets

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MCJAX_CACHE", str(tmp_path / "cache"))


# ---- digits and splits


def test_digits_are_the_real_ones():
    digits = data.load("digits", use_test=True)
    assert digits.num_classes == 10
    assert digits.train.images.shape == (1437, 8, 8, 1)
    assert digits.test.images.shape == (360, 8, 8, 1)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.labels.dtype == np.int32
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    known = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(labels), known)
    assert np.bincount(digits.test.labels).min() > 20
    values = np.unique(digits.train.images)
    np.testing.assert_array_equal(values, np.rint(np.arange(17) * 255 / 16))
    # The order is part of every result: it must never change.
    np.testing.assert_array_equal(digits.train.labels[:8], [0, 6, 3, 8, 1, 8, 4, 1])
    np.testing.assert_array_equal(digits.test.labels[:8], [6, 2, 4, 2, 4, 1, 9, 3])


def test_validation_is_the_end_of_the_training_images():
    official = data.load("digits", use_test=True)
    divided = data.load("digits", validation_fraction=0.2)
    assert len(divided.validation.labels) == 287  # 0.2 * 1437 rounded
    for i in range(2):
        joined = np.concatenate([divided.train[i], divided.validation[i]])
        np.testing.assert_array_equal(joined, official.train[i])
        np.testing.assert_array_equal(divided.test[i], official.test[i])
        np.testing.assert_array_equal(official.validation[i], official.test[i])


def test_sizes_take_the_first_examples():
    whole = data.load("digits")
    part = data.load("digits", train_size=70, validation_size=30)
    np.testing.assert_array_equal(part.train.images, whole.train.images[:70])
    np.testing.assert_array_equal(part.validation.labels, whole.validation.labels[:30])
    assert len(part.test.labels) == 360


def test_sizes_may_be_all_there_is():
    whole = data.load("digits")
    same = data.load("digits", train_size=1293, validation_size=144, pad_to=8)
    for split, expected in ((same.train, whole.train), (same.validation, whole.validation)):
        np.testing.assert_array_equal(split.images, expected.images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_size": 1294}, "train_size=1294.*1293"),
        ({"validation_size": 0}, "validation_size=0"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"validation_fraction": 1e-6}, "validation_fraction"),
        ({"downsample": 3}, "downsample=3.*8x8"),
        ({"downsample": 0}, "downsample=0"),
        ({"pad_to": 7}, "pad_to=7.*8x8"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **arguments)


def test_downsample_is_the_rounded_mean():
    images = RNG.integers(0, 256, (3, 4, 6, 2), dtype=np.uint8)
    small = splits.downsample(images, 2)
    assert small.shape == (3, 2, 3, 2)
    assert small.dtype == np.uint8
    for n, y, x, c in np.ndindex(small.shape):
        square = images[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2, c]
        assert small[n, y, x, c] == round(square.astype(float).mean())


def test_downsample_divides_both_sides():
    for shape in ((1, 4, 6, 1), (1, 6, 4, 1)):
        with pytest.raises(ValueError, match="downsample=4 does not divide images of"):
            splits.downsample(np.zeros(shape, np.uint8), 4)


def test_pad_keeps_the_image_in_the_middle():
    images = RNG.integers(1, 256, (2, 3, 4, 1), dtype=np.uint8)
    padded = splits.pad(images, 8)
    np.testing.assert_array_equal(padded[:, 2:5, 2:6], images)
    assert padded.shape == (2, 8, 8, 1)
    assert padded.sum() == images.sum()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashionmnist", "fashionmnist.*did you mean fashion_mnist"),
        ("cifar", "did you mean cifar10"),
        ("zzz", "digits.*tfds:NAME"),
        ("tfds:", "unknown"),
        ("tfds:cifar1", "did you mean tfds:cifar10"),
        ("tfds:no/such/thing", "expected tfds:NAME"),
        ("tfds:glue", "no data set"),
        ("tfds:stanford_dogs", "different sizes"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name)


def test_a_folder_that_is_not_there():
    with pytest.raises(ValueError, match="data_dir='/no/where'"):
        data.load("mnist", data_dir="/no/where")


# ---- IDX


def idx_bytes(array):
    header = (0x0800 + array.ndim).to_bytes(4, "big")
    return header + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(folder, compress=False, **changes):
    """Four small files (with ``changes``: by the first word and kind, other contents)."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "train-images-idx3-ubyte": RNG.integers(0, 256, (20, 5, 4), dtype=np.uint8),
        "train-labels-idx1-ubyte": RNG.integers(0, 10, 20, dtype=np.uint8),
        "t10k-images-idx3-ubyte": RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": RNG.integers(0, 10, 7, dtype=np.uint8),
    }
    for name, array in arrays.items():
        content = changes.get("_".join(name.split("-")[:2]), lambda x: x)(idx_bytes(array))
        path = folder / (name + ".gz" * compress)
        path.write_bytes(gzip.compress(content) if compress else content)
    return list(arrays.values())


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_idx_round_trip(tmp_path, compress, inside):
    arrays = write_idx(tmp_path / inside, compress)
    mnist = data.load("mnist", data_dir=str(tmp_path), use_test=True)
    np.testing.assert_array_equal(mnist.train.images[..., 0], arrays[0])
    np.testing.assert_array_equal(mnist.train.labels, arrays[1])
    np.testing.assert_array_equal(mnist.test.images[..., 0], arrays[2])
    np.testing.assert_array_equal(mnist.test.labels, arrays[3])
    assert mnist.train.labels.dtype == np.int32
    assert mnist.num_classes == 10


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("train_images", lambda b: b[:-1], "train-images.*header"),
        ("train_images", lambda b: b + b"0", "train-images.*header"),
        ("t10k_images", lambda b: b"\0\0\x08\x01" + b[4:], "t10k-images.*0x00000801"),
        ("t10k_images", lambda b: b"\0\0\x0d\x03" + b[4:], "t10k-images.*0x00000d03"),
        ("t10k_labels", lambda b: b[:3], "t10k-labels.*ends too early"),
        ("t10k_images", lambda b: b[:4] + b"\xff" * 12 + b[16:], "t10k-images.*header"),
        ("t10k_images", lambda b: b[:4] + bytes(4) + b[8:16], "t10k-images.*header"),
        ("train_labels", lambda b: b[:-1] + b"\x0a", "train-labels.*label 10"),
        ("train_labels", lambda b: b[:7] + b"\x13" + b[8:-1], "train-labels.*19 labels.*20 images"),
        ("t10k_images", lambda b: b[:11] + b"\x04" + b[12:15] + b"\x05" + b[16:], "shape"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_damaged_idx_is_named(tmp_path, compress, kind, change, message):
    write_idx(tmp_path, compress, **{kind: change})
    with pytest.raises(ValueError, match=message):
        data.load("mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"PK" + b[2:], lambda b: b[:-8]])
def test_damaged_gzip_is_named(tmp_path, damage):
    write_idx(tmp_path, compress=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        data.load("mnist", data_dir=str(tmp_path))


def test_missing_idx_files_are_named(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="lacks t10k-labels-idx1-ubyte"):
        data.load("fashion_mnist", data_dir=str(tmp_path))


@pytest.mark.skipif(
    not sources.DEBIAN["fashion_mnist"].is_dir(), reason="Debian's fashion-mnist is not installed"
)
def test_the_real_fashion_mnist():
    began = time.monotonic()
    fashion = data.load("fashion_mnist")
    assert time.monotonic() - began < 5
    assert fashion.train.images.shape == (54000, 28, 28, 1)
    assert fashion.validation.images.shape == (6000, 28, 28, 1)
    labels = np.concatenate([fashion.train.labels, fashion.validation.labels])
    np.testing.assert_array_equal(np.bincount(labels), [6000] * 10)
    np.testing.assert_array_equal(np.bincount(fashion.test.labels), [1000] * 10)
    np.testing.assert_array_equal(fashion.train.labels[:6], [9, 0, 0, 3, 0, 2])


# ---- CIFAR


def assert_is_cifar(dataset, name):
    for split, test in ((dataset.train, False), (dataset.test, True)):
        images, labels, _ = (
            np.concatenate(x) for x in zip(*data_sets.cifar_content(name, test), strict=True)
        )
        assert split.images.shape == (len(labels), 32, 32, 3)
        # channel by channel, row by row, as the official description has it
        np.testing.assert_array_equal(split.images[:, 2, 5, 1], images[:, 1024 + 2 * 32 + 5])
        np.testing.assert_array_equal(split.images[:, 31, 0, 2], images[:, 2048 + 31 * 32])
        np.testing.assert_array_equal(split.labels, labels)
        assert split.labels.dtype == np.int32
    assert dataset.num_classes == cifar.LAYOUTS[name][0].num_classes


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
    assert_is_cifar(load(), name)
    monkeypatch.setattr(cifar, "read", None)
    assert_is_cifar(load(), name)
    monkeypatch.undo()
    path.unlink()
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    assert_is_cifar(load(), name)


def test_foreign_members_of_an_archive_are_never_written(tmp_path):
    layout = cifar.LAYOUTS["cifar10"][0]
    files = data_sets.cifar_files("cifar10", layout)
    bad = {"../escape.bin": b"x", "/escape.bin": b"x", f"../{layout.folder}/test_batch.bin": b"x"}
    inside = tmp_path / "inside"
    inside.mkdir()
    data_sets.write_archive(inside / layout.archive, {**bad, **files, f"x/{layout.test}": b"x"})
    assert_is_cifar(data.load("cifar10", data_dir=str(inside), use_test=True), "cifar10")
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
        (lambda b: b[:-1], "data_batch_3.*records of 3073"),
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


# ---- tfds


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
    assert_is_cifar(data.load("cifar100", data_dir=str(tmp_path), use_test=True), "cifar100")
    arrays = write_idx(served, compress=True)
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


# ---- cache


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
    with pytest.warns(UserWarning, match="a is not kept .* set MCJAX_CACHE to a folder"):
        assert_same(cache.cached("a", [source_file], built), built())


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.default_dir() == tmp_path / "cache" / "data"
    monkeypatch.delenv("MCJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_dir() == tmp_path / "mcjax" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_dir() == tmp_path / ".cache" / "mcjax" / "data"


def test_names_are_what_load_takes():
    assert set(data.names()) == {
        "digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "tfds:NAME",
    }  # fmt: skip
    assert len(idx.FILES) == 4
