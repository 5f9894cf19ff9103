"""Further data: other data sets, subsets and corrupted copies, by one text."""

import numpy as np
import pytest

from mcjax import data
from mcjax.data import corruptions, further
from tests.mcjax.data import data_sets
from tests.mcjax.data.test_own import FLOATS, IMAGES, LABELS, TEST, npz, write_images

DIGITS = data.load("digits")


def read(text, dataset=DIGITS, **options):
    return further.read(further.parse(text), dataset, **options)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("test+noise=0.1", "test+noise=0.1"),
        ("test+label=0/1", "test+label=0-1"),
        ("hard=test+label=0/1", "hard"),
        ("train+random_labels=0.5+seed=2", "train+random-labels=0.5+seed=2"),
        ("tfds:a_b/c:1.0.0", "a-b-c-1.0.0"),
        ("npz:/some where/my_own+1.npz#crc32=12345678", "my-own+1"),
        ("test+indices=/x/ha_rd.txt#crc32=12345678", "test+indices=ha-rd"),
        ("odd=npz:/a=b.npz", "odd"),
    ],
)
def test_names_can_be_parts_of_keys(text, name):
    assert further.parse(text).name == name


def test_a_subset_and_its_noise_are_those_of_the_whole(tmp_path):
    whole = read("test+noise=0.2+contrast=0.5+seed=4")
    images = corruptions.noise(DIGITS.test.images, 0.2, np.arange(360), 4)
    np.testing.assert_array_equal(whole.images, corruptions.contrast(images, 0.5))
    chosen = np.isin(DIGITS.test.labels, [3, 8])
    some = read("test+label=8/3+noise=0.2+contrast=0.5+seed=4")
    np.testing.assert_array_equal(some.images, whole.images[chosen])
    np.testing.assert_array_equal(some.labels, DIGITS.test.labels[chosen])
    rows = [17, 3, 20, 5]
    (tmp_path / "rows.txt").write_text("17 3\n20\n5\n")
    np.save(tmp_path / "rows.npy", np.array(rows))
    for suffix in ("txt", "npy"):
        file = tmp_path / f"rows.{suffix}"
        some = read(f"test+indices={file}+noise=0.2+contrast=0.5+seed=4")
        np.testing.assert_array_equal(some.images, whole.images[rows])
    both = read(f"test+indices={file}+label={DIGITS.test.labels[20]}")
    assert 1 <= len(both.labels) < 4
    assert set(both.labels) == {DIGITS.test.labels[20]}


def test_the_splits_are_those_of_the_problem():
    small = data.load("digits", train_size=50, validation_size=20, downsample=2)
    assert read("train+label=0", small).images.shape[1:] == (4, 4, 1)
    assert len(read("validation+random_labels=0.5", small).labels) == 20


def test_files_are_read_whole_and_in_their_order(tmp_path):
    problem = data.load(data.from_arrays(IMAGES, LABELS))
    whole = read(npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS), problem)
    np.testing.assert_array_equal(whole.images, IMAGES)
    np.testing.assert_array_equal(whole.labels, LABELS)
    text = npz(tmp_path / "b.npz", train_images=IMAGES, train_labels=LABELS, **TEST)
    np.testing.assert_array_equal(read(text, problem).images, TEST["test_images"])
    np.testing.assert_array_equal(read(f"{text}+split=train", problem).images, IMAGES)
    folder = f"folder:{write_images(tmp_path / 'c')}"
    np.testing.assert_array_equal(read(folder, problem).images, IMAGES)
    smaller = data.load(data.from_arrays(IMAGES, LABELS), downsample=1, pad_to=7)
    assert read(folder, smaller, pad_to=7).images.shape == (20, 7, 7, 3)


def test_any_split_of_tfds(tmp_path, monkeypatch):
    content = data_sets.prepare_tfds(tmp_path)
    problem = data.load("tfds:mcjax_shapes", data_dir=str(tmp_path))
    as_set = lambda split: {x.tobytes() for x in split.images}  # noqa: E731
    for text, part in (("", "test"), ("+split=train", "train")):
        found = read(f"tfds:mcjax_shapes{text}", problem, data_dir=str(tmp_path))
        assert as_set(found) == {image.tobytes() for image, _ in content[part]}
    again = read("tfds:mcjax_shapes", problem, data_dir=str(tmp_path))
    assert again.labels.dtype == np.int32
    with pytest.raises(ValueError, match="has no split extra: choose one of train, test"):
        read("tfds:mcjax_shapes+split=extra", problem, data_dir=str(tmp_path))


def test_a_pinned_text_reads_the_same_until_the_files_change(tmp_path):
    (tmp_path / "rows.txt").write_text("1 2")
    text = npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS) + f"+indices={tmp_path}/rows.txt"
    pinned = further.pinned(text)
    assert pinned.startswith(f"npz:{tmp_path}/a.npz#crc32=")
    assert f"+indices={tmp_path}/rows.txt#crc32=" in pinned
    assert further.parse(pinned).name == further.parse(text).name == "a+indices=rows"
    assert further.pinned(pinned) == pinned
    problem = data.load(data.from_arrays(IMAGES, LABELS))
    np.testing.assert_array_equal(read(pinned, problem).images, IMAGES[[1, 2]])
    assert further.pinned("b=test+noise=0.1") == "b=test+noise=0.1"
    (tmp_path / "rows.txt").write_text("1 3")
    with pytest.raises(ValueError, match=r"rows\.txt has changed since"):
        read(pinned, problem)
    npz(tmp_path / "a.npz", images=IMAGES[::-1], labels=LABELS)
    with pytest.raises(ValueError, match=r"a\.npz has changed since"):
        read(pinned, problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"write \[NAME=\]DATA"),
        ("test+noise", "[+]noise has no value: write [+]noise="),
        ("test+noise+blur=1", "[+]noise has no value"),
        ("test+nois=1", "no option nois: did you mean noise"),
        ("test+noise=a", "noise=a: use a standard deviation above 0"),
        ("test+noise=nan", "noise=nan: use"),
        ("test+contrast=2", "contrast=2: use a factor from 0 to 1"),
        ("test+label=1-3", "label=1-3: write a class, or several as 0/1/8"),
        ("test+seed=-1", "seed=-1: use a whole number"),
        ("test+blur=1+blur=2", "blur.blur: give each option once"),
        ("validation+split=test", "split=test: validation is a split"),
        ("tests", "dataset 'tests' is unknown: did you mean test"),
        ("npz:nowhere.npz", "there is no file"),
        ("test+indices=nowhere.txt", "nowhere.txt cannot be read"),
        ("test+indices=words.txt", "words.txt cannot be read: invalid literal"),
        ("test+indices=twice.txt", "twice.txt: use positions from 0, each once"),
        ("test+indices=mask.npy", "use a list of integers"),
    ],
)
def test_what_is_wrong_is_said_without_reading_images(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("one two")
    (tmp_path / "twice.txt").write_text("3 3")
    np.save(tmp_path / "mask.npy", np.ones((3, 1), bool))
    with pytest.raises(ValueError, match=message) as error:
        further.pinned(text)
    assert "\n" not in str(error.value)


def test_what_does_not_match_the_problem_is_refused(tmp_path):
    (tmp_path / "rows.txt").write_text("1 360")
    colour = npz(tmp_path / "a.npz", images=IMAGES[:, :4, :4], labels=LABELS)
    floats = npz(tmp_path / "b.npz", images=FLOATS[:, :4, :4, None], labels=LABELS)
    many = npz(tmp_path / "c.npz", images=IMAGES[:, :4, :4, :1], labels=LABELS * 5)
    small = data.load("digits", downsample=2)
    for text, message in (
        (f"test+indices={tmp_path}/rows.txt", "has 360: test has 360 images, numbered from 0"),
        ("test+label=10", "label=10: the classes are 0 to 9"),
        ("digits+split=tests", "digits has no split tests: did you mean test"),
        (colour, r"shape \(4, 4, 3\), but those of digits \(4, 4, 1\)"),
        (floats, "dtype float32, but those of digits uint8"),
        (many, "label 10: digits has the classes 0 to 9; choose images with label="),
    ):
        with pytest.raises(ValueError, match=message):
            read(text, small)
    mine, other = (write_images(tmp_path / n, labels=LABELS + k) for n, k in (("d", 0), ("e", 1)))
    with pytest.raises(
        ValueError, match=r"classes class1, class2, class3, but folder:.* has class0"
    ):
        read(f"folder:{other}", data.load(f"folder:{mine}"))
    lone = data.load("digits", validation_size=1)
    absent = (lone.validation.labels[0] + 1) % 10
    with pytest.raises(ValueError, match=f"label={absent}: there are no such images"):
        read(f"validation+label={absent}", lone)
