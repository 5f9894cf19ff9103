"""Finds each data set: local files first, downloads last."""

import difflib
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import extras, paths, spelling
from mcjax.data import cache, cifar, idx, own, tfds_source
from mcjax.data.reachable import DataUnavailable
from mcjax.data.splits import Source, Split, fixed_order
from mcjax.paths import AnyPath

DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
TFDS = "tfds:"
_LOCAL = "these files are read from local folders only; copy them, or use npz:FILE at the bucket"
_IDX = ("fashion_mnist", "mnist")
_DIGITS_TRAIN = 1437


def names() -> tuple[str, ...]:
    """Names for `mcjax.data.load`, which describes the last three.

    >>> names()[:3]
    ('digits', 'fashion_mnist', 'mnist')
    """
    return (*_plain(), "tfds:NAME", "npz:FILE", "folder:DIR")


def _plain() -> tuple[str, ...]:
    return ("digits", *_IDX, *cifar.LAYOUTS)


def read(name: str, data_dir: str | None = None, cache_dir: str | None = None) -> Source:
    """Reads a data set; for arguments and errors see `mcjax.data.load`."""
    check(name, data_dir)
    if name == "digits":
        return _digits()
    if found := own.parse(name, data_dir):
        return own.read(found, cache_dir)
    if name.startswith(TFDS):
        return tfds_source.read(_prepared(name, data_dir), cache_dir)
    return _official(name, data_dir, cache_dir)


def check(name: str, data_dir: str | None = None, others: tuple[str, ...] = ()) -> None:
    """Checks the name of a data set and its folder without reading any images.

    Args:
      name: of the data set.
      data_dir: as in `mcjax.data.load`.
      others: what else the caller accepts; for hints.

    Raises:
      ValueError: the data set is unknown, or the folder does not exist; or data of one's own do
        not exist or have other names than expected.
      ImportError: Pillow, which reads a folder of images, is not installed.

    >>> check("digits")
    >>> check("digit")
    Traceback (most recent call last):
    ValueError: dataset 'digit' is unknown: did you mean digits? There are digits, ...
    """
    found = own.parse(name, data_dir)
    if not (found or name in _plain() or (name.startswith(TFDS) and name != TFDS)):
        raise ValueError(f"dataset {name!r} is unknown: {spelling.hint(name, (*others, *names()))}")
    if name != "digits" and data_dir is not None and not paths.at(data_dir).is_dir():
        raise ValueError(f"data_dir={data_dir!r} is not a folder; create it or omit data_dir")
    if name.startswith(TFDS) and data_dir is not None and paths.is_url(data_dir):
        raise ValueError(f"{name} with data_dir={data_dir}: {_LOCAL}")
    if found:
        if found.kind == "folder" and paths.is_url(found.path):
            raise ValueError(f"{name} at {found.path}: {_LOCAL}")
        own.check(found)


def read_part(
    name: str, part: str | None, data_dir: str | None = None, cache_dir: str | None = None
) -> Split:
    """Reads one official split of a data set, in the order of its files.

    Args:
      name: as in `mcjax.data.load`.
      part: ``train``, ``test``, or any split of a tfds data set; None for the test images, or for
        all images of files of one's own that have no test images.
      data_dir: as in `mcjax.data.load`.
      cache_dir: likewise.

    Raises:
      ValueError: there is no such split; or as `mcjax.data.load`.
    """
    check(name, data_dir)
    if name.startswith(TFDS):
        return tfds_source.read_part(_prepared(name, data_dir), part, cache_dir)
    if found := own.parse(name, data_dir):
        parts = own.read_in_order(found, cache_dir)
    else:
        parts = read(name, data_dir, cache_dir)._asdict()
        del parts["num_classes"]
    part = part or list(parts)[-1]
    if part not in parts:
        raise ValueError(f"{name} has no split {part}: {spelling.hint(part, parts)}")
    return parts[part]


def _digits() -> Source:
    """The 1,797 digits of scikit-learn, 8x8 with 17 grey levels, in `fixed_order`."""
    with extras.needed_by("the data set digits"):
        path = extras.folder("sklearn") / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",")  # an image a row; importing scikit-learn takes a second
    order = fixed_order(len(table))
    images = table[order, :-1].reshape(-1, 8, 8, 1)
    images = np.rint(images * 255 / 16).astype(np.uint8)
    labels = table[order, -1].astype(np.int32)
    here, there = np.split(images, [_DIGITS_TRAIN]), np.split(labels, [_DIGITS_TRAIN])
    train, test = map(Split, here, there)
    return Source(train, test, num_classes=10)


def _prepared(text: str, data_dir: str | None) -> Any:
    """The builder of ``tfds:NAME``, prepared."""
    name = text.removeprefix(TFDS)
    try:
        builder = tfds_source.find(name, data_dir)
    except DataUnavailable:
        raise
    except ValueError as error:
        known = tfds_source.known_names()
        close = difflib.get_close_matches(name, known) if name not in known else None
        hint = f"; did you mean {', '.join(f'tfds:{c}' for c in close)}?" if close else ""
        raise ValueError(f"{error}{hint}") from None
    return builder if tfds_source.is_prepared(builder) else tfds_source.prepare(builder)


def _official(name: str, data_dir: str | None, cache_dir: str | None) -> Source:
    """Reads files in ``data_dir`` or Debian's folder, else what tfds prepared or downloads."""
    folders = [paths.at(data_dir) / name, paths.at(data_dir)] if data_dir else []
    if name in DEBIAN:
        folders.append(DEBIAN[name])
    for folder in folders:
        if name in _IDX:
            if files := idx.find(folder):
                return idx.read(files)
        elif archive := cifar.find(name, folder):
            return _cifar(name, *archive, cache_dir)
    remedy = _remedy(name)
    if data_dir and paths.is_url(data_dir):
        data_dir = None  # tfds prepares and reads local data sets only
    try:
        builder = tfds_source.find(name, data_dir)
    except ValueError as error:
        raise DataUnavailable(f"{name} is not on this machine, and {error}. {remedy}") from error
    if tfds_source.is_prepared(builder):
        return tfds_source.read(builder, cache_dir)
    files = tfds_source.download(builder, remedy)
    if name in _IDX:
        return idx.read({file.removesuffix(".gz"): path for file, path in files.items()})
    layout = cifar.LAYOUTS[name][0]
    return _cifar(name, files[layout.archive], layout, cache_dir)


def _remedy(name: str) -> str:
    if name in _IDX:
        files = f"the files {', '.join(idx.FILES)} (plain or with .gz)"
    else:
        files = " or ".join(layout.archive for layout in cifar.LAYOUTS[name])
    debian = ", or install Debian's dataset-fashion-mnist" if name in DEBIAN else ""
    return f"Put {files} into a folder and pass it as data_dir{debian}"


def _cifar(name: str, path: AnyPath, layout: cifar.Layout, cache_dir: str | None) -> Source:
    """Reads CIFAR, through the cache if it is an archive, which takes seconds to decompress."""
    if path.is_dir():
        return cifar.read(path, layout)
    build = lambda: cifar.read(path, layout)[:2]  # noqa: E731
    return Source(*cache.cached(name, [path], build, cache_dir), layout.num_classes)
