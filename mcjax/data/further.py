"""Further data to measure a problem's networks on: other data sets, subsets, corrupted copies.

One text describes them, ``[NAME=]DATA[+OPTION=VALUE]...``:

* ``DATA`` is ``train``, ``validation`` or ``test`` of the problem, or the name of a data set for
  `mcjax.data.load`.
* ``split=NAME`` chooses a split of another data set: ``train``, ``test``, or any that tfds has. By
  default it is the test images; files without test images are taken whole.
* ``label=3`` or ``label=0/1/8`` keeps the images of these classes; ``indices=FILE`` those at the
  positions in a file: integers from 0 in lines of text, or a ``.npy``. Images of one's own are
  numbered as in their file, or by sorted names.
* ``noise=0.1``, ``blur=1``, ``contrast=0.5``, ``random_labels=0.2`` corrupt the images as the
  network gets them, or the labels, in the order given (`mcjax.data.corruptions`); ``seed=1`` draws
  other random numbers.

Further data are prepared as those of the problem (``downsample``, ``pad_to``). Each image's noise
depends on its position in the split alone, so it is the same in every subset.

>>> from mcjax import data
>>> digits = data.load("digits")
>>> found = read(parse("noisy=test+label=0/1+noise=0.1"), digits)
>>> found.images.shape, sorted(set(found.labels.tolist()))
((80, 8, 8, 1), [0, 1])
"""

import re
from typing import Any, NamedTuple

import numpy as np

from mcjax import spelling
from mcjax.data import indices, own, sources, splits
from mcjax.data.corruptions import CORRUPTIONS
from mcjax.data.splits import Dataset, Split
from mcjax.typing import Integer

SPLITS = ("train", "validation", "test")
OPTIONS = ("split", "label", "indices", *CORRUPTIONS, "seed")
"""What may follow the data in a description."""


class Further(NamedTuple):
    """Further data, described.

    Attributes:
      name: names them in files and figures.
      data: ``train``, ``validation`` or ``test`` of the problem, or another data set's name.
      options: the values of some of `OPTIONS`, in their order.

    >>> parse("noisy=test+noise=0.1+seed=1")
    Further(name='noisy', data='test', options={'noise': 0.1, 'seed': 1})
    """

    name: str
    data: str
    options: dict[str, Any]


def parse(text: str) -> Further:
    """Parses a description; see the module.

    By default the name is the text, with hyphens for what is not a letter, a digit or one of
    ``.+=-``, and without folders.

    Raises:
      ValueError: it is not such a text.

    >>> parse("test+noise=0.1").name, parse("tfds:svhn_cropped+split=extra").name
    ('test+noise=0.1', 'svhn-cropped+split=extra')
    """
    name, data, given = _parts(text)
    options = {key: _value(key, value) for key, value in given}
    if len(options) < len(given):
        raise ValueError(f"{'+'.join(key for key, _ in given)}: give each option once")
    if "split" in options and data in SPLITS:
        raise ValueError(f"split={options['split']}: {data} is a split, which has none")
    found = own.parse(data)
    short = found.path.stem if found else data.removeprefix(sources.TFDS)
    words = [short, *(f"{k}={indices.stem(v) if k == 'indices' else v}" for k, v in given)]
    return Further(name or _named("+".join(words)), data, options)


def check(further: Further, data_dir: str | None = None) -> None:
    """Checks that the data and the indices are there, without reading images.

    Raises:
      ValueError: the data set is unknown, or files are missing or damaged.
      ImportError: Pillow, which reads a folder of images, is not installed.

    >>> check(parse("test+noise=0.1"))
    >>> check(parse("other"))
    Traceback (most recent call last):
    ValueError: dataset 'other' is unknown: There are train, validation, test, digits, ...
    """
    if further.data not in SPLITS:
        sources.check(further.data, data_dir, SPLITS)
    if "indices" in further.options:
        indices.read(further.options["indices"])


def pinned(text: str, data_dir: str | None = None) -> str:
    """Returns the text as a run should record it, with paths and checksums of files.

    Raises:
      ValueError: as `parse` and `check`.

    >>> pinned("noisy=test+noise=0.1")
    'noisy=test+noise=0.1'
    """
    check(parse(text), data_dir)
    name, data, given = _parts(text)
    if data not in SPLITS:
        data = own.pinned(data, data_dir)
    options = [(k, indices.pinned(v) if k == "indices" else v) for k, v in given]
    head = data if name is None else f"{name}={data}"
    return "+".join([head, *(f"{k}={v}" for k, v in options)])


def read(
    further: Further,
    dataset: Dataset,
    *,
    data_dir: str | None = None,
    cache_dir: str | None = None,
    downsample: int = 1,
    pad_to: int | None = None,
) -> Split:
    """Reads the data.

    Args:
      further: from `parse`.
      dataset: the problem's data, whose images and classes they must match.
      data_dir: as in `mcjax.data.load`.
      cache_dir: likewise.
      downsample: likewise, for data sets other than the problem's.
      pad_to: likewise.

    Raises:
      ValueError: nothing is left, or the images or classes do not match; or as `mcjax.data.load`.

    >>> from mcjax import data
    >>> dataset = data.load(data.from_arrays(np.zeros((20, 8, 8)), np.arange(20) % 2))
    >>> read(parse("test+label=1"), dataset).labels
    array([1, 1], dtype=int32)
    """
    options, is_own = further.options, further.data in SPLITS
    if is_own:
        found: Split = getattr(dataset, further.data)
    else:
        found = sources.read_part(further.data, options.get("split"), data_dir, cache_dir)
    rows = _rows(further, found, dataset.num_classes)
    found = Split(found.images[rows], found.labels[rows])
    if not is_own:
        found = Split(splits.pad(splits.downsample(found.images, downsample), pad_to), found.labels)
        _check_matching(found, dataset)
        _check_classes(further.data, dataset.name, data_dir)
    for name in options:
        if name in CORRUPTIONS:
            seed, change = options.get("seed", 0), CORRUPTIONS[name].apply
            found = change(found, options[name], rows, seed, dataset.num_classes)
    return found


def _parts(text: str) -> tuple[str | None, str, list[tuple[str, str]]]:
    """Name, data, and options with their values, as texts."""
    head, *options = re.split(r"\+(?=\w+=)", text)
    match = re.fullmatch(r"(?:([^:=]+)=)?(.+)", head)
    if match is None:
        raise ValueError(f"{text!r}: write [NAME=]DATA[+OPTION=VALUE], such as test+noise=0.1")
    before, _, last = match[2].rpartition("+")
    if before and last in OPTIONS and own.parse(before) is None:
        raise ValueError(f"+{last} has no value: write +{last}=...")
    pairs = [option.split("=", 1) for option in options]
    for key, _ in pairs:
        if key not in OPTIONS:
            raise ValueError(f"no option {key}: {spelling.hint(key, OPTIONS)}")
    return match[1], match[2], [(key, value) for key, value in pairs]


def _named(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+=-]+", "-", text).strip("-")


def _value(key: str, text: str) -> Any:
    """An option's value from its text."""
    if key == "label":
        if not re.fullmatch(r"\d+(/\d+)*", text):
            raise ValueError(f"label={text}: write a class, or several as 0/1/8")
        return [int(x) for x in text.split("/")]
    if key == "seed":
        if not re.fullmatch(r"\d+", text):
            raise ValueError(f"seed={text}: use a whole number, 0 or more")
        return int(text)
    if key not in CORRUPTIONS:
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not CORRUPTIONS[key].allows(number):
        raise ValueError(f"{key}={text}: use {CORRUPTIONS[key].words}")
    return number


def _rows(further: Further, split: Split, num_classes: int) -> Integer[np.ndarray, " n"]:
    """Positions of the examples to keep."""
    rows, options = np.arange(len(split.labels)), further.options
    if "indices" in options:
        rows = indices.read(options["indices"])
        if rows.max() >= len(split.labels):
            raise ValueError(
                f"indices={options['indices']} has {rows.max()}: {further.data} has "
                f"{len(split.labels)} images, numbered from 0"
            )
    if "label" in options:
        text, last = "/".join(map(str, options["label"])), num_classes - 1
        if max(options["label"]) > last:
            raise ValueError(f"label={text}: the classes are 0 to {last}")
        rows = rows[np.isin(split.labels[rows], options["label"])]
        if not rows.size:
            raise ValueError(f"label={text}: there are no such images")
    return rows


def _check_matching(found: Split, dataset: Dataset) -> None:
    """Raises ValueError if images or labels are not such as the problem's network expects."""
    for what, here, there in (
        ("shape", found.images.shape[1:], dataset.train.images.shape[1:]),
        ("dtype", found.images.dtype, dataset.train.images.dtype),
    ):
        if here != there:
            raise ValueError(
                f"the images have {what} {here}, but those of {dataset.name} {there}; they are "
                "prepared with the same downsample and pad_to"
            )
    if found.labels.max() >= dataset.num_classes:
        raise ValueError(
            f"label {found.labels.max()}: {dataset.name} has the classes 0 to "
            f"{dataset.num_classes - 1}; choose images with label="
        )


def _check_classes(here: str, there: str, data_dir: str | None) -> None:
    """Raises ValueError if two folders of images number their classes differently."""
    ours, theirs = (own.classes(name, data_dir) for name in (here, there))
    if ours and theirs and ours != theirs:
        raise ValueError(
            f"the folder has the classes {', '.join(ours)}, but {there} has {', '.join(theirs)}: "
            "they are numbered by their sorted names, so both need the same"
        )
