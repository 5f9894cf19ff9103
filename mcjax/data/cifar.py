"""CIFAR-10 and CIFAR-100 as Krizhevsky publishes them: binary or Python, archive or folder.

Archives are read member by member in memory and nothing is unpacked to disk, so a member's name
can do no harm. Of the pickles of the Python version, `mcjax.data.pickles` reads what they should
hold and nothing else.
"""

import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mcjax.data import pickles
from mcjax.data.splits import Source, Split

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
    """One published form of one of the sets.

    Attributes:
      archive: name of the archive.
      folder: folder in the archive.
      train: files of the training set, in order.
      test: file of the test set.
      num_classes: number of classes.
      label: binary: number of labels before each image (the last is taken); Python: the key.
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


def find(name: str, folder: Path) -> tuple[Path, Layout] | None:
    """The first of the published forms that a folder holds: extracted, else an archive."""
    for attribute in ("folder", "archive"):
        for layout in LAYOUTS[name]:
            path = folder / getattr(layout, attribute)
            if path.exists():
                return path, layout
    return None


def read(path: Path, layout: Layout) -> Source:
    """The data set in an archive or in its extracted folder.

    Raises:
      ValueError: it is damaged, lacks a file, or holds something else.
    """
    wanted = (*layout.train, layout.test)
    files = (_read_folder if path.is_dir() else _read_archive)(path, layout.folder, wanted)
    missing = [name for name in wanted if name not in files]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; replace it by the official one")

    def split(names):
        parts = [_parse(f"{path}: {name}", files.pop(name), layout) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        images = images.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)
        return Split(np.ascontiguousarray(images), labels.astype(np.int32))

    return Source(split(layout.train), split((layout.test,)), layout.num_classes)


def _read_folder(path, folder, wanted):
    del folder
    return {name: (path / name).read_bytes() for name in wanted if (path / name).is_file()}


def _read_archive(path, folder, wanted):
    members = {f"{prefix}{folder}/{name}": name for name in wanted for prefix in ("", "./")}
    files = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.name not in members or not member.isfile():
                    continue
                if content := archive.extractfile(member):
                    files[members[member.name]] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from None
    return files


def _parse(where, content, layout):
    """Pixels ``[n, 3072]`` and labels ``[n]`` of one file."""
    try:
        parse = _parse_binary if isinstance(layout.label, int) else _parse_python
        images, labels = parse(content, layout)
        if images.shape != (len(labels), PIXELS) or not len(labels):
            raise ValueError(f"{len(labels)} labels for pixels of shape {images.shape}")
        if labels.min() < 0 or labels.max() >= layout.num_classes:
            raise ValueError(f"a label is not in 0..{layout.num_classes - 1}")
    except ValueError as error:
        raise ValueError(f"{where}: {error}; replace it by the official one") from None
    return images, labels


def _parse_binary(content, layout):
    length = layout.label + PIXELS
    if len(content) % length:
        raise ValueError(f"{len(content)} bytes are no whole number of records of {length}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return records[:, layout.label :], records[:, layout.label - 1]


def _parse_python(content, layout):
    batch = pickles.loads(content)
    if not isinstance(batch, dict) or not {b"data", layout.label} <= batch.keys():
        raise ValueError(f"a dict with the keys b'data' and {layout.label} is expected")
    images, labels = pickles.array(batch[b"data"]), batch[layout.label]
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{layout.label} should be a list of integers")
    return images, np.asarray(labels, np.int64)
