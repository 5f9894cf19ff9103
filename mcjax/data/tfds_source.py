"""Reads data sets of tensorflow_datasets without TensorFlow.

Prepared data sets are read from array_record files. Others are downloaded only if a short check
finds that the host answers, since tfds itself retries for minutes. The package is imported lazily.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mcjax import extras
from mcjax.data import cache, reachable
from mcjax.data.reachable import DataUnavailable
from mcjax.data.splits import Source, Split

_Result = TypeVar("_Result")
_BATCH = 512
_HOST = "https://storage.googleapis.com/"  # for data sets without URLs


def find(name: str, data_dir: str | None) -> Any:
    """Returns the builder of a data set, prepared or not.

    Args:
      name: as in tfds, ``NAME``, ``NAME/CONFIG`` or either with ``:VERSION``.
      data_dir: folder of prepared data sets, searched before that of tfds
        (``~/tensorflow_datasets``); None for the latter only.

    Raises:
      ValueError: tfds does not know the data set, or it does not have labelled images.
      DataUnavailable: tfds is not installed.
    """
    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", name):
        raise ValueError(f"tfds:{name}: expected tfds:NAME or tfds:NAME/CONFIG")
    builders = [_builder(name, folder) for folder in dict.fromkeys((data_dir, None))]
    builders = [builder for builder in builders if builder is not None]
    if not builders:
        raise ValueError(f"tfds:{name} is not a data set of tfds")
    builder = next(filter(is_prepared, builders), builders[0])
    _keys(builder)
    return builder


def is_prepared(builder: Any) -> bool:
    """Whether a data set is on disk; unlike the function of tfds, logs no warning if not."""
    return Path(builder.data_dir, "dataset_info.json").is_file()


def known_names() -> list[str]:
    """Names of the data sets that the installed tfds can build."""
    return _tfds().list_builders(with_community_datasets=False)


def read(builder: Any, cache_dir: str | None) -> Source:
    """Reads a prepared data set: ``train``, and ``test`` or else ``validation``.

    Raises:
      ValueError: a split is missing, a file is damaged, or the images are not uint8 of one size.
    """
    info = builder.info
    held_out = next((split for split in ("test", "validation") if split in info.splits), None)
    if "train" not in info.splits or held_out is None:
        raise ValueError(
            f"tfds:{info.name} in {builder.data_dir} has the splits "
            f"{', '.join(info.splits) or 'none'}; it needs train and test (or validation)"
        )
    files = [path for path in Path(builder.data_dir).iterdir() if path.is_file()]

    train, test = cache.cached(
        f"tfds {info.full_name}",
        files,
        lambda: (_read_split(builder, "train"), _read_split(builder, held_out)),
        cache_dir,
    )
    return Source(train, test, info.features[_keys(builder)[1]].num_classes)


def read_part(builder: Any, part: str | None, cache_dir: str | None) -> Split:
    """Reads one split of a prepared data set; None for ``test``, or else ``validation``.

    Raises:
      ValueError: there is no such split, or as `read`.
    """
    info = builder.info
    there = [part] if part else ["test", "validation"]
    chosen = next((split for split in there if split in info.splits), None)
    if chosen is None:
        raise ValueError(
            f"tfds:{info.name} has no split {there[0]}: choose one of {', '.join(info.splits)}"
        )
    files = [path for path in Path(builder.data_dir).iterdir() if path.is_file()]

    def build() -> tuple[Split, Split]:
        whole = _read_split(builder, chosen)
        return whole, Split(whole.images[:0], whole.labels[:0])  # the cache holds pairs

    return cache.cached(f"tfds {info.full_name} {chosen}", files, build, cache_dir)[0]


def prepare(builder: Any) -> Any:
    """Downloads and prepares a data set as array_record.

    Raises:
      DataUnavailable: the host does not answer, or the preparation fails.
    """
    name = builder.info.name
    remedy = (
        f"Prepare it where that works (tfds build {name} --file_format=array_record) and pass the "
        f"folder that contains {name}/ as data_dir"
    )
    reachable.check(f"tfds:{name}", next(iter(builder.url_infos or ()), _HOST), remedy)

    def run() -> Any:
        builder.download_and_prepare(file_format="array_record")
        return builder

    return _or_unavailable(f"tfds:{name} cannot be prepared", run, remedy)


def download(builder: Any, remedy: str) -> dict[str, Path]:
    """Downloads the files of a data set without preparing it; tfds checks their SHA-256.

    Many data sets need TensorFlow to be prepared, but not to be read.

    Returns:
      Path of each file by the last part of its URL.

    Raises:
      DataUnavailable: the host does not answer, or the download fails.
    """
    name = builder.info.name
    reachable.check(name, next(iter(builder.url_infos)), remedy)
    folder = Path(builder.data_dir).parents[1] / "downloads"

    def run() -> dict[str, Path]:
        manager = _tfds().download.DownloadManager(
            download_dir=folder, url_infos=builder.url_infos, dataset_name=name
        )
        paths = manager.download({url.split("/")[-1]: url for url in builder.url_infos})
        return {file: Path(path) for file, path in paths.items()}

    return _or_unavailable(f"{name} cannot be downloaded", run, remedy)


def _or_unavailable(what: str, run: Callable[[], _Result], remedy: str) -> _Result:
    try:
        return run()
    except Exception as error:  # whatever a builder's own code raises
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise DataUnavailable(f"{what}: {message}. {remedy}") from error


def _tfds() -> Any:
    try:
        with extras.needed_by("tfds"):
            return importlib.import_module("tensorflow_datasets")
    except extras.MissingExtraError as error:
        raise DataUnavailable(str(error)) from error
    except ImportError as error:
        raise DataUnavailable(f"tensorflow_datasets cannot be imported: {error}") from error


def _builder(name: str, folder: str | None) -> Any:
    """Returns the builder for data sets in ``folder``, or None if tfds does not know the name."""
    tfds = _tfds()
    try:
        return tfds.builder(name, data_dir=folder, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        return None
    except Exception as error:  # whatever a builder's own code raises
        raise ValueError(
            f"tfds:{name} in {folder or 'the folder of tfds'}: {error} (without TensorFlow, only "
            f"array_record can be read: tfds build {name} --file_format=array_record)"
        ) from error


def _keys(builder: Any) -> tuple[str, str]:
    """Returns the names of image and label, checked before anything is downloaded."""
    features, tfds = builder.info.features, _tfds()
    keys = tuple(builder.info.supervised_keys or ("image", "label"))
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(
        k in features and isinstance(features[k], kind) for k, kind in zip(keys, kinds, strict=True)
    ):
        raise ValueError(f"tfds:{builder.info.name} does not have images with one label each")
    if not is_prepared(builder) and None in features[keys[0]].shape:
        raise ValueError(
            f"tfds:{builder.info.name} has images of different sizes; they need one size"
        )
    return keys


def _undamaged(builder: Any, read: Callable[[], _Result]) -> _Result:
    try:
        return read()
    except Exception as error:  # whatever tfds and array_record raise for damaged files
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{builder.data_dir} is damaged ({message}); prepare it again") from error


def _read_split(builder: Any, split: str) -> Split:
    image_key, label_key = _keys(builder)
    source = _undamaged(builder, lambda: builder.as_data_source(split=split))
    images, labels = None, np.empty(len(source), np.int32)
    for start in range(0, len(source), _BATCH):
        rows = range(start, min(start + _BATCH, len(source)))
        records = _undamaged(builder, lambda rows=rows: source.__getitems__(list(rows)))
        for row, record in zip(rows, records, strict=True):
            image = record[image_key]
            if images is None:
                images = np.empty((len(source), *image.shape), np.uint8)
            if image.dtype != np.uint8 or image.shape != images.shape[1:]:
                raise ValueError(
                    f"tfds:{builder.info.name}: image {row} of {split} is {image.dtype} of shape "
                    f"{image.shape}; expected uint8 of shape {images.shape[1:]}"
                )
            images[row], labels[row] = image, record[label_key]
    if images is None or labels.min() < 0:
        raise ValueError(f"tfds:{builder.info.name}: {split} is empty or has no labels")
    return Split(images, labels)
