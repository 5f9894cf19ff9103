"""What is drawn depends on key and example alone, and does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcjax.data import augmentation, batches
from mcjax.data.augmentation import Augmentation
from mcjax.data.splits import Split

PADDING = 2
augment = jax.jit(augmentation.augment, static_argnums=0)
random_crop = jax.jit(augmentation.random_crop, static_argnums=3)
random_flip = jax.jit(augmentation.random_flip)


def coded_images(n, height=6, width=5, channels=2):
    """Every pixel of an image has a value of its own, none of them zero."""
    values = 1 + np.arange(height * width * channels, dtype=np.uint8)
    image = values.reshape(1, height, width, channels)
    return jnp.asarray(np.repeat(image, n, axis=0))


def offsets_of(images, cropped):
    """Finds each crop in its padded image by comparing with every possible one."""
    margin = (PADDING, PADDING)
    padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
    height, width = images.shape[1:3]
    found = []
    for i, crop in enumerate(np.asarray(cropped)):
        found.append(
            [
                (y, x)
                for y in range(2 * PADDING + 1)
                for x in range(2 * PADDING + 1)
                if (padded[i, y : y + height, x : x + width] == crop).all()
            ]
        )
    return found


def test_every_crop_is_a_window_and_all_offsets_appear_equally_often():
    n = 2000
    images = coded_images(n)
    cropped = random_crop(jax.random.key(3), images, jnp.arange(n), PADDING)
    assert cropped.dtype == jnp.uint8
    assert cropped.shape == images.shape
    found = offsets_of(np.asarray(images), cropped)
    assert all(len(places) == 1 for places in found)
    _, counts = np.unique([places[0] for places in found], axis=0, return_counts=True)
    assert len(counts) == (2 * PADDING + 1) ** 2
    expected = n / len(counts)
    assert np.square(counts - expected).sum() / expected < 52  # chi-squared, 24 degrees, p = 1e-3


def test_flip_mirrors_left_and_right_half_of_the_time():
    n = 1000
    images = coded_images(n)
    flipped = np.asarray(random_flip(jax.random.key(3), images, jnp.arange(n)))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == np.asarray(images)[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 0.06


def test_flip_and_crop_of_one_key_are_independent():
    n = 4000
    images = coded_images(n, 4, 4, 1)
    key, examples = jax.random.key(8), jnp.arange(n)
    flips = (random_flip(key, images, examples) != images).any(axis=(1, 2, 3))
    crops = random_crop(key, images, examples, PADDING)
    places = np.array([places[0] for places in offsets_of(np.asarray(images), crops)])
    table = np.zeros((2, 5, 5))
    np.add.at(table, (np.asarray(flips).astype(int), *places.T), 1)
    expected = table.sum(axis=(1, 2), keepdims=True) * table.sum(axis=0) / n
    assert (np.square(table - expected) / expected).sum() < 52


def test_an_example_is_augmented_alike_in_any_batch():
    chosen = Augmentation(PADDING, flip=True)
    rng = np.random.default_rng(4)
    images = jnp.asarray(rng.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8))
    examples = jnp.asarray(rng.permutation(1000)[:40].astype(np.int32))
    key = jax.random.key(6)
    whole = augment(chosen, key, images, examples)
    order = rng.permutation(40)[:13]
    part = augment(chosen, key, images[order], examples[order])
    np.testing.assert_array_equal(part, whole[order])
    other_key = augment(chosen, jax.random.key(7), images, examples)
    other_examples = augment(chosen, key, images, examples + 1)
    assert (other_key != whole).any()
    assert (other_examples != whole).any()


def test_jit_and_scan_change_nothing():
    images = coded_images(12)
    chosen, key = Augmentation(PADDING, flip=True), jax.random.key(1)
    parts = (images.reshape(3, 4, *images.shape[1:]), jnp.arange(12).reshape(3, 4))

    @jax.jit
    def scanned(key, parts):
        return jax.lax.scan(lambda c, part: (c, augment(chosen, key, *part)), 0, parts)[1]

    whole = augment(chosen, key, images, jnp.arange(12))
    np.testing.assert_array_equal(scanned(key, parts).reshape(images.shape), whole)


def test_no_augmentation_changes_nothing():
    images = coded_images(3)
    same = augment(Augmentation(), jax.random.key(0), images, jnp.arange(3))
    np.testing.assert_array_equal(same, images)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding=-1"):
        augmentation.random_crop(jax.random.key(0), coded_images(1), jnp.arange(1), -1)


def test_statistics_and_normalize():
    rng = np.random.default_rng(5)
    images = rng.integers(0, 200, (33, 4, 5, 3), dtype=np.uint8)
    images[..., 1] //= 3
    mean, std = augmentation.statistics(Split(images, np.zeros(33, np.int32)), chunk=10)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-6)
    normal = augmentation.normalize(jnp.asarray(images), mean, std)
    assert normal.dtype == jnp.float32
    np.testing.assert_allclose(normal, (images / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.mean(normal, axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(normal, axis=(0, 1, 2)), 1, atol=1e-5)


def test_float_images_are_normalized_in_their_own_units():
    images = np.random.default_rng(5).normal([3, -20], [2, 5], (9, 4, 5, 2)).astype(np.float32)
    mean, std = augmentation.statistics(Split(images, np.zeros(9, np.int32)))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, images.mean((0, 1, 2), np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2), np.float64), rtol=1e-6)
    normal = augmentation.normalize(images, mean, std)
    np.testing.assert_allclose(normal, (images - mean) / std, rtol=1e-5, atol=1e-6)


def test_a_constant_channel_becomes_zero():
    images = np.full((3, 2, 2, 1), 77, np.uint8)
    mean, std = augmentation.statistics(Split(images, np.zeros(3, np.int32)))
    np.testing.assert_allclose(augmentation.normalize(images, mean, std), 0, atol=1e-6)


def test_batches_are_looked_up_by_row_and_augmented_by_example():
    rng = np.random.default_rng(6)
    data = Split(rng.integers(0, 256, (9, 6, 5, 2), dtype=np.uint8), np.arange(9, dtype=np.int32))
    mean, std = np.float32([0.3, 0.6]), np.float32([0.2, 0.5])
    rows, examples = jnp.array([4, 1, 7]), jnp.array([90, 71, 82])
    weight, key = jnp.array([1.0, 0.0, 1.0]), jax.random.key(4)
    chosen = Augmentation(PADDING, flip=True)
    for done, images in (
        (None, data.images[rows]),
        (chosen, np.asarray(augment(chosen, key, jnp.asarray(data.images[rows]), examples))),
    ):
        found = batches.image_batches(mean, std, done)(data, rows, examples, weight, key)
        np.testing.assert_allclose(found["images"], (images / 255 - mean) / std, atol=1e-5)
        np.testing.assert_array_equal(found["labels"], rows)
        np.testing.assert_array_equal(found["weight"], weight)
