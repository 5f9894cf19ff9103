"""Data of one's own: arrays, ``npz:FILE`` and ``folder:DIR``."""

import os
import sys

import numpy as np
import pytest

from mcjax import data, extras
from mcjax.data import folder, own, splits

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
LABELS = np.sort(np.arange(20) % 3)
TEST = {"test_images": IMAGES[:6][::-1].copy(), "test_labels": LABELS[:6][::-1].copy()}
FLOATS = RNG.normal(size=(20, 4, 6))


def write_images(path, images=IMAGES, labels=LABELS):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = path / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(place / f"{i:02}.png")
    return path


def npz(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_arrays_are_shuffled_and_a_fifth_is_held_out():
    source = data.from_arrays(IMAGES, LABELS)
    order = splits.fixed_order(20)
    assert len(set(order)) == 20
    np.testing.assert_array_equal(source.train.images, IMAGES[order[:16]])
    np.testing.assert_array_equal(source.train.labels, LABELS[order[:16]])
    np.testing.assert_array_equal(source.test.images, IMAGES[order[16:]])
    np.testing.assert_array_equal(source.test.labels, LABELS[order[16:]])
    assert source.train.labels.dtype == np.int32
    assert source.num_classes == 3


def test_test_images_keep_their_order_and_count_among_the_classes():
    source = data.from_arrays(IMAGES, LABELS[:, None], TEST["test_images"], np.arange(6))
    np.testing.assert_array_equal(source.train.labels, LABELS[splits.fixed_order(20)])
    np.testing.assert_array_equal(source.test.images, TEST["test_images"])
    assert source.num_classes == 6


def test_a_source_is_divided_like_any_data_set():
    dataset = data.load(data.from_arrays(FLOATS, LABELS), validation_fraction=0.25, downsample=2)
    assert (dataset.name, len(dataset.train.labels), len(dataset.validation.labels)) == (
        "arrays", 12, 4,
    )  # fmt: skip
    first = FLOATS[splits.fixed_order(20)[0]]
    expected = first.reshape(2, 2, 3, 2).mean((1, 3), dtype=np.float32)[..., None]
    np.testing.assert_allclose(dataset.train.images[0], expected, rtol=1e-6)
    assert dataset.train.images.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES.astype(int)}, "images are int64: use uint8"),
        ({"images": IMAGES[0, 0]}, r"images have shape \(5, 3\)"),
        ({"images": np.zeros((20, 3, 8, 8))}, r"images.transpose\(0, 2, 3, 1\)"),
        (
            {"images": np.where(np.arange(20) == 7, np.nan, FLOATS.T).T},
            r"images\[7\] is not finite",
        ),
        ({"images": IMAGES[:19]}, "19 images but 20 labels"),
        ({"labels": LABELS.astype(float)}, "labels are float64: use integers"),
        ({"labels": LABELS - 1}, r"labels\[0\] is -1: use classes from 0"),
        ({"labels": LABELS + 2**32}, "label 4294967298 with 20 images"),
        ({"labels": np.eye(3)[LABELS]}, r"labels have shape \(20, 3\): use \[n\] \(of one-hot"),
        ({"images": IMAGES[:1], "labels": LABELS[:1]}, "one image cannot be split"),
        ({"test_images": IMAGES[:, 1:], "test_labels": LABELS}, r"uint8 of shape \(3, 5, 3\) each"),
        ({"test_images": IMAGES[:3], "test_labels": LABELS}, "3 test_images but 20 test_labels"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes, message, tmp_path):
    arrays = {"images": IMAGES, "labels": LABELS} | changes
    with pytest.raises(ValueError, match=message):
        data.from_arrays(**arrays)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(npz(tmp_path / "mine.npz", **arrays))
    assert str(caught.value).startswith(str(tmp_path / "mine.npz"))


def test_an_npz_holds_one_pair_of_arrays_or_two(tmp_path):
    for prefix, more in (("", {}), ("train_", TEST)):
        arrays = {f"{prefix}images": IMAGES, f"{prefix}labels": LABELS}
        name = npz(tmp_path / "mine.npz", **arrays, **more, val_images=IMAGES[:1])
        read, made = data.load(name), data.load(data.from_arrays(IMAGES, LABELS, **more))
        for split in ("train", "validation", "test"):
            for a, b in zip(getattr(read, split), getattr(made, split), strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("split", ["", "train"])
def test_a_folder_holds_a_folder_per_class(split, tmp_path):
    write_images(tmp_path / split)
    (tmp_path / split / "class0" / "notes.txt").write_text("not an image")
    (tmp_path / split / ".hidden").mkdir()
    more = {}
    if split:
        write_images(tmp_path / "val", IMAGES[:6], LABELS[:6])
        more = {"test_images": IMAGES[:6], "test_labels": LABELS[:6]}
    read = data.load(f"folder:{tmp_path}", use_test=True)
    made = data.load(data.from_arrays(IMAGES, LABELS, **more), use_test=True)
    for a, b in zip((*read.train, *read.test), (*made.train, *made.test), strict=True):
        np.testing.assert_array_equal(a, b)
    assert read.num_classes == 3


def test_decoded_images_are_cached(tmp_path, monkeypatch):
    name = f"folder:{write_images(tmp_path / 'a')}"
    before = data.load(name)
    monkeypatch.setattr(folder, "read", lambda path: 1 / 0)
    again = data.load(name)
    np.testing.assert_array_equal(again.train.images, before.train.images)
    assert again.num_classes == 3
    next((tmp_path / "a").rglob("*.png")).write_bytes(b"other")
    with pytest.raises(ZeroDivisionError):
        data.load(name)


def grey(path):
    Image.fromarray(IMAGES[0, ..., 0]).save(path)


def transparent(path):
    Image.fromarray(np.concatenate([IMAGES[0], IMAGES[0, ..., :1]], -1)).save(path)


def palette(path):
    Image.fromarray(IMAGES[0]).quantize().save(path, transparency=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (grey, "05.png has 4x5 grey pixels, but .*00.png has 4x5 colour pixels"),
        (lambda path: Image.fromarray(IMAGES[0, 1:]).save(path), "05.png has 3x5 colour"),
        (transparent, "05.png has Pillow's mode RGBA or transparency"),
        (palette, "05.png has Pillow's mode P or transparency"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "05.png cannot be read"),
        (lambda path: path.write_bytes(b"text"), "05.png cannot be read"),
    ],
)
def test_images_that_do_not_fit_are_named(change, message, tmp_path):
    write_images(tmp_path)
    change(tmp_path / "class0" / "05.png")
    with pytest.raises(ValueError, match=message):
        data.load(f"folder:{tmp_path}")


def test_wrong_layouts_are_named_before_images_are_read(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*none"):
        data.check(f"folder:{tmp_path / 'none'}")
    with pytest.raises(ValueError, match="has no folders of classes: use DIR/CLASS"):
        data.check(f"folder:{tmp_path}")
    write_images(tmp_path / "train")
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no images"):
        data.check(f"folder:{tmp_path}")
    (tmp_path / "train" / "empty").rmdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="test has no folders of classes; add them or remove"):
        data.check(f"folder:{tmp_path}")
    write_images(tmp_path / "test", IMAGES[:1], ["Other"])
    with pytest.raises(ValueError, match="classOther: the training images do not have this class"):
        data.check(f"folder:{tmp_path}")


def test_missing_files_and_arrays_are_named_before_they_are_read(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*none.npz; if it was moved"):
        data.check(f"npz:{tmp_path / 'none.npz'}")
    name = npz(tmp_path / "keras.npz", x_train=IMAGES, y_train=LABELS)
    with pytest.raises(
        ValueError, match="lacks images, labels: it has x_train, y_train, and needs"
    ):
        data.check(name)
    name = npz(tmp_path / "half.npz", train_images=IMAGES, train_labels=LABELS, test_labels=LABELS)
    with pytest.raises(ValueError, match="lacks test_images: it has"):
        data.check(name)
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(ValueError, match=r"one.npy cannot be read .*write it with numpy.savez"):
        data.check(f"npz:{tmp_path / 'one.npy'}")


def test_pillow_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    folder._pillow.cache_clear()
    with pytest.raises(
        extras.MissingExtraError, match=r"folder of images needs PIL: .*mcjax\[data\]"
    ):
        data.check(f"folder:{tmp_path}")


def test_a_pinned_name_depends_on_the_content_alone(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "deep").mkdir(parents=True)
    there.mkdir()
    npz(here / "mine.npz", images=IMAGES, labels=LABELS)
    np.savez_compressed(there / "mine.npz", labels=LABELS, images=IMAGES, more=LABELS)
    monkeypatch.chdir(here)
    name = data.pinned("npz:mine.npz")
    monkeypatch.chdir(here / "deep")
    assert name == data.pinned("npz:../mine.npz") == data.pinned(name)
    assert name == data.pinned("npz:mine.npz", data_dir="..")
    assert name.startswith(f"npz:{here / 'mine.npz'}#crc32=")
    other = data.pinned(f"npz:{there / 'mine.npz'}")
    assert other != name
    assert data.without_folder(other) == data.without_folder(name)
    (here / "mine.npz").unlink()
    assert own.parse(name, str(there)).path == there / "mine.npz"
    assert len(data.load(name, data_dir=str(there)).test.labels) == 4
    assert data.pinned("digits") == "digits"


def test_changed_data_are_refused(tmp_path):
    plain = npz(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    name = data.pinned(plain)
    npz(tmp_path / "mine.npz", images=IMAGES, labels=LABELS[::-1])
    data.check(name)
    with pytest.raises(ValueError, match=r"mine.npz has changed since the run recorded it"):
        data.load(name)
    assert data.pinned(plain) != name


@pytest.mark.parametrize("change", ["pixels", "name"])
def test_a_changed_folder_is_refused(change, tmp_path):
    name = data.pinned(f"folder:{write_images(tmp_path)}")
    file = tmp_path / "class0" / "06.png"  # the last of its class: a new name keeps the order
    if change == "name":
        os.rename(file, tmp_path / "class1" / "06.png")
    else:
        Image.fromarray(255 - IMAGES[6]).save(file)
    with pytest.raises(ValueError, match="has changed"):
        data.load(name)
