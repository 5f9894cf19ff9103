"""IDX files: MNIST's and Fashion-MNIST's format."""

import time

import numpy as np
import pytest

from mcjax import data
from mcjax.data import sources
from tests.mcjax.data import data_sets

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("inside", ["", "mnist"])
def test_idx_round_trip(tmp_path, compress, inside):
    arrays = data_sets.write_idx(tmp_path / inside, compress)
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
    data_sets.write_idx(tmp_path, compress, **{kind: change})
    with pytest.raises(ValueError, match=message):
        data.load("mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b"PK" + b[2:], lambda b: b[:-8]])
def test_damaged_gzip_is_named(tmp_path, damage):
    data_sets.write_idx(tmp_path, compress=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        data.load("mnist", data_dir=str(tmp_path))


def test_missing_idx_files_are_named(tmp_path):
    data_sets.write_idx(tmp_path)
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
