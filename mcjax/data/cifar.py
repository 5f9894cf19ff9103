"""CIFAR-10 and CIFAR-100 as Krizhevsky publishes them: binary or Python, archive or folder.

Archives are read member by member in memory; nothing is unpacked to disk, so a member's name can do
no harm. Pickles of the Python version are read by `mcjax.data.pickles`, which accepts only what
they should hold.
"""

import tarfile
import zlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mcjax.data import pickles
from mcjax.data.splits import Source, Split
from mcjax.paths import AnyPath

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32

_Parsed = tuple[np.ndarray, np.ndarray]
"""Pixels ``[n, PIXELS]`` and labels ``[n]``."""


class Layout(NamedTuple):
    """A published version of one of the data sets.

    Attributes:
      archive: name of the archive.
      folder: folder in the archive.
      train: files of the training set, in order.
      test: file of the test set.
      num_classes: number of classes.
      label: in the binary version, the number of labels before each image, of which the last is
        used; in the Python version, the key of the labels.
    """

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    num_classes: int
    label: int | bytes


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_BINARY = tuple(f"{name}.bin" for name in _BATCHES)
LAYOUTS = {
    "cifar10": (
        Layout("cifar-10-binary.tar.gz", "cifar-10-batches-bin", _BINARY, "test_batch.bin", 10, 1),
        Layout(
            "cifar-10-python.tar.gz", "cifar-10-batches-py", _BATCHES, "test_batch", 10, b"labels"
        ),
    ),
    "cifar100": (
        Layout("cifar-100-binary.tar.gz", "cifar-100-binary", ("train.bin",), "test.bin", 100, 2),
        Layout(
            "cifar-100-python.tar.gz", "cifar-100-python", ("train",), "test", 100, b"fine_labels"
        ),
    ),
}


def find(name: str, folder: AnyPath) -> tuple[AnyPath, Layout] | None:
    """Finds the first published version in a folder: extracted if possible, else an archive."""
    for attribute in ("folder", "archive"):
        for layout in LAYOUTS[name]:
            path = folder / getattr(layout, attribute)
            if path.exists():
                return path, layout
    return None


def read(path: AnyPath, layout: Layout) -> Source:
    """Reads the data set from an archive or an extracted folder.

    Raises:
      ValueError: it is damaged, lacks a file, or holds something else.
    """
    wanted = (*layout.train, layout.test)
    files = (_read_folder if path.is_dir() else _read_archive)(path, layout.folder, wanted)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; replace it with the official one")

    def split(names: Sequence[str]) -> Split:
        parts = [_parse(f"{path}: {name}", files.pop(name), layout) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        images = images.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
        return Split(np.ascontiguousarray(images), labels.astype(np.int32))

    return Source(split(layout.train), split((layout.test,)), layout.num_classes)


def _read_folder(path: AnyPath, folder: str, wanted: Collection[str]) -> dict[str, bytes]:
    del folder
    return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}


def _read_archive(path: AnyPath, folder: str, wanted: Collection[str]) -> dict[str, bytes]:
    members = {f"{prefix}{folder}/{name}": name for name in wanted for prefix in ("", "./")}
    files: dict[str, bytes] = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                if member.name not in members or not member.isfile():
                    continue
                if content := archive.extractfile(member):
                    files[members[member.name]] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from None
    return files


def _parse(where: str, content: bytes, layout: Layout) -> _Parsed:
    """Parses one file and checks it."""
    try:
        parse = _parse_binary if isinstance(layout.label, int) else _parse_python
        images, labels = parse(content, layout)
        if images.shape != (len(labels), PIXELS) or not len(labels):
            raise ValueError(f"{len(labels)} labels for pixels of shape {images.shape}")
        if labels.min() < 0 or labels.max() >= layout.num_classes:
            raise ValueError(f"a label is not in 0..{layout.num_classes - 1}")
    except ValueError as error:
        raise ValueError(f"{where}: {error}; replace it with the official one") from None
    return images, labels


def _parse_binary(content: bytes, layout: Layout) -> _Parsed:
    labels = int(layout.label)
    length = labels + PIXELS
    if len(content) % length:
        raise ValueError(f"{len(content)} bytes are not a whole number of {length}-byte records")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return records[:, labels:], records[:, labels - 1]


def _parse_python(content: bytes, layout: Layout) -> _Parsed:
    batch = pickles.loads(content)
    if not isinstance(batch, dict) or not {b"data", layout.label} <= batch.keys():
        raise ValueError(f"expected a dict with the keys b'data' and {layout.label!r}")
    images, labels = pickles.array(batch[b"data"]), batch[layout.label]
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{layout.label!r} should be a list of integers")
    return images, np.asarray(labels, np.int64)
