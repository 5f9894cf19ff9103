"""Small data sets in the official formats, for the tests of their readers."""

import functools
import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcjax.data import cifar


def cifar_content(name, test=False):
    rng = np.random.default_rng(test)
    layouts = cifar.LAYOUTS[name]
    counts = [3] if test else [4] * len(layouts[0].train)
    return [
        (
            rng.integers(0, 256, (n, 3072), dtype=np.uint8),
            rng.integers(0, layouts[0].num_classes, n, dtype=np.uint8),
            rng.integers(0, 20, n, dtype=np.uint8),
        )
        for n in counts
    ]


def batch_bytes(layout, images, labels, coarse):
    if layout.label == 1:
        return np.hstack([labels[:, None], images]).tobytes()
    if layout.label == 2:
        return np.hstack([coarse[:, None], labels[:, None], images]).tobytes()
    batch = {b"data": images, layout.label: labels.tolist(), b"batch_label": b"of a test"}
    if layout.label == b"fine_labels":
        batch[b"coarse_labels"] = coarse.tolist()
    return pickle.dumps(batch, protocol=2)


def cifar_files(name, layout):
    content = cifar_content(name) + cifar_content(name, True)
    parts = zip((*layout.train, layout.test), content, strict=True)
    return {f"{layout.folder}/{file}": batch_bytes(layout, *part) for file, part in parts}


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


LAYOUTS = [(name, layout) for name, pair in cifar.LAYOUTS.items() for layout in pair]


def prepare_tfds(folder: Path) -> dict[str, Any]:
    """A tfds data set, ``mcjax_shapes``, as array_record without TensorFlow; what it holds."""
    make, content = _shapes()
    builder = make(data_dir=folder, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return content


@functools.cache
def _shapes():
    """The builder, of which tfds takes one of a name in a process, and what it makes."""
    tfds = pytest.importorskip("tensorflow_datasets")
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(3)
    content = {
        s: [
            (rng.integers(0, 256, (5, 4, 3), dtype=np.uint8), int(rng.integers(7)))
            for _ in range(n)
        ]
        for s, n in (("train", 20), ("test", 6))
    }

    class McjaxShapes(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(5, 4, 3)),
                "label": tfds.features.ClassLabel(num_classes=7),
                "number": np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in content}

        def _generate_examples(self, split):
            for i, (pixels, label) in enumerate(content[split]):
                file = io.BytesIO()
                image.fromarray(pixels).save(file, "PNG")
                file.seek(0)
                yield i, {"image": file, "label": label, "number": i}

    return McjaxShapes, content


RNG = np.random.default_rng(11)


def idx_bytes(array):
    header = (0x0800 + array.ndim).to_bytes(4, "big")
    return header + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx(folder, compress=False, **changes):
    """Four small files (with ``changes``: by the first word and kind, other contents)."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "train-images-idx3-ubyte": RNG.integers(0, 256, (20, 5, 4), dtype=np.uint8),
        "train-labels-idx1-ubyte": RNG.integers(0, 10, 20, dtype=np.uint8),
        "t10k-images-idx3-ubyte": RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": RNG.integers(0, 10, 7, dtype=np.uint8),
    }
    for name, array in arrays.items():
        content = changes.get("_".join(name.split("-")[:2]), lambda x: x)(idx_bytes(array))
        path = folder / (name + ".gz" * compress)
        path.write_bytes(gzip.compress(content) if compress else content)
    return list(arrays.values())


def assert_is_cifar(dataset, name):
    for split, test in ((dataset.train, False), (dataset.test, True)):
        images, labels, _ = (
            np.concatenate(x) for x in zip(*cifar_content(name, test), strict=True)
        )
        assert split.images.shape == (len(labels), 32, 32, 3)
        # channel by channel, row by row, as the official description has it
        np.testing.assert_array_equal(split.images[:, 2, 5, 1], images[:, 1024 + 2 * 32 + 5])
        np.testing.assert_array_equal(split.images[:, 31, 0, 2], images[:, 2048 + 31 * 32])
        np.testing.assert_array_equal(split.labels, labels)
        assert split.labels.dtype == np.int32
    assert dataset.num_classes == cifar.LAYOUTS[name][0].num_classes
