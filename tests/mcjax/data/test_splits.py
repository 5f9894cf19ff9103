"""The digits, splits, and the names of data sets."""

import numpy as np
import pytest

from mcjax import data
from mcjax.data import idx, splits

RNG = np.random.default_rng(11)


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


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    bunch, digits = load_digits(), data.load("digits", use_test=True)
    order = splits.fixed_order(1797)
    images = np.concatenate([digits.train.images, digits.test.images])[..., 0]
    np.testing.assert_array_equal(images, np.rint(bunch.images[order] * 255 / 16))
    labels = np.concatenate([digits.train.labels, digits.test.labels])
    np.testing.assert_array_equal(labels, bunch.target[order])


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
        ("tfds:glue", "does not have images"),
        ("tfds:stanford_dogs", "different sizes"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        data.load(name)


def test_a_folder_that_is_not_there():
    with pytest.raises(ValueError, match="data_dir='/no/where'"):
        data.load("mnist", data_dir="/no/where")


def test_names_are_what_load_takes():
    assert set(data.names()) == {
        "digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "tfds:NAME",
        "npz:FILE", "folder:DIR",
    }  # fmt: skip
    assert len(idx.FILES) == 4
