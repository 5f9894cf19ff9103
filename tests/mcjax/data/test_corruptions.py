"""Corruptions against their formulas, and what their randomness depends on."""

import numpy as np
import pytest

from mcjax import data
from mcjax.data import corruptions

RNG = np.random.default_rng(8)
IMAGES = RNG.integers(60, 200, (6, 9, 7, 2), dtype=np.uint8)
FLOATS = RNG.normal(3, 5, (4, 9, 7, 1)).astype(np.float32)
ROWS = np.array([4, 0, 7, 1, 9, 2])


def test_noise_has_its_deviation_and_belongs_to_the_example():
    images = np.full((40, 16, 16, 1), 128, np.uint8)
    noisy = corruptions.noise(images, 0.1, np.arange(40), seed=3)
    noise = noisy / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 0.003
    assert np.mean(np.abs(noise) > 0.2) == pytest.approx(0.0455, abs=0.006)  # it is normal
    some = corruptions.noise(images[:3], 0.1, np.array([5, 17, 5]), seed=3)
    np.testing.assert_array_equal(some, noisy[[5, 17, 5]])
    assert (noisy[5] != noisy[17]).any()
    other = corruptions.noise(images[:1], 0.1, np.array([5]), seed=4)
    assert (other[0] != noisy[5]).any()


def test_the_noise_of_a_seed_never_changes():
    pixels = corruptions.noise(np.full((1, 1, 4, 1), 100, np.uint8), 0.2, np.array([7]), seed=1)
    assert pixels.ravel().tolist() == [128, 156, 115, 66]


def test_contrast_and_blur_are_their_formulas():
    flat = corruptions.contrast(IMAGES, 0.4)
    mean = IMAGES.mean((1, 2), keepdims=True)
    np.testing.assert_array_equal(flat, np.rint(mean + 0.4 * (IMAGES - mean)))
    assert (corruptions.contrast(IMAGES, 0.0).std((1, 2)) == 0).all()
    point = np.zeros((1, 9, 9, 2), np.float32)
    point[0, 4, 4, 0] = 1
    x = np.arange(-4, 5)
    kernel = np.exp(-(x**2) / 2)
    kernel /= kernel.sum()
    found = corruptions.blur(point, 1.0)
    np.testing.assert_allclose(found[0, ..., 0], np.outer(kernel, kernel), atol=1e-7)
    assert not found[..., 1].any()  # channels do not mix
    constant = corruptions.blur(np.full((1, 5, 5, 1), 77, np.uint8), 2.0)
    assert (constant == 77).all()  # edges are extended


def test_pixels_are_clipped_and_floats_are_not():
    bright = np.full((1, 30, 30, 1), 250, np.uint8)
    noisy = corruptions.noise(bright, 0.3, np.array([0]), 0)
    assert (noisy == 255).mean() > 0.4
    assert noisy.dtype == np.uint8
    wide = corruptions.noise(FLOATS, 2.0, np.arange(4), 0)
    assert wide.dtype == np.float32
    assert (wide - FLOATS).std() == pytest.approx(2, rel=0.1)


def test_random_labels_are_drawn_from_all_classes():
    labels, rows = np.full(4000, 3, np.int32), np.arange(4000)
    found = corruptions.random_labels(labels, 0.5, rows, 0, 5)
    assert (found != 3).mean() == pytest.approx(0.5 * 4 / 5, abs=0.03)
    assert (np.bincount(found)[[0, 1, 2, 4]] > 330).all()
    assert found.dtype == np.int32
    np.testing.assert_array_equal(
        corruptions.random_labels(labels[ROWS], 0.5, ROWS, 0, 5), found[ROWS]
    )


def test_a_split_keeps_what_is_not_corrupted():
    split = data.Split(IMAGES, np.arange(6, dtype=np.int32))
    for name, strength in (("noise", 0.1), ("blur", 1.0), ("contrast", 0.5)):
        found = corruptions.CORRUPTIONS[name].apply(split, strength, ROWS, 0, 6)
        assert found.labels is split.labels
        assert (found.images != IMAGES).any()
    found = corruptions.CORRUPTIONS["random_labels"].apply(split, 1.0, ROWS, 0, 6)
    assert found.images is IMAGES
    for name, wrong in (("noise", 0), ("blur", -1), ("contrast", 1.5), ("random_labels", np.nan)):
        assert not corruptions.CORRUPTIONS[name].allows(wrong)
