"""Data sets of tensorflow_datasets, read without TensorFlow.

Prepared sets are read from array_record files. What is not prepared is downloaded only after a
short look whether its host answers, since tfds itself tries for minutes. The package is imported
when it is needed.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import extras
from mcjax.data import cache, reachable
from mcjax.data.reachable import DataUnavailable
from mcjax.data.splits import Source, Split

_BATCH = 512
_HOST = "https://storage.googleapis.com/"  # of sets that do not say where they come from


def find(name: str, data_dir: str | None) -> Any:
    """The builder of a data set, prepared or not.

    Args:
      name: as tfds writes it, ``NAME``, ``NAME/CONFIG`` or either with ``:VERSION``.
      data_dir: folder of prepared sets; None for tfds's own (``~/tensorflow_datasets``), where a
        set is also looked for if ``data_dir`` does not hold it.

    Raises:
      ValueError: tfds knows no such data set, or it is none of labelled images.
      DataUnavailable: tfds is not installed.
    """
    if not re.fullmatch(r"\w+(/[\w.+-]+)?(:[\d.*]+)?", name):
        raise ValueError(f"tfds:{name}: expected tfds:NAME or tfds:NAME/CONFIG")
    builders = [_builder(name, folder) for folder in dict.fromkeys((data_dir, None))]
    builders = [builder for builder in builders if builder is not None]
    if not builders:
        raise ValueError(f"tfds:{name} is no data set that tfds knows")
    builder = next(filter(is_prepared, builders), builders[0])
    _keys(builder)
    return builder


def is_prepared(builder: Any) -> bool:
    """Whether a data set is on disk; tfds's own function of that name logs warnings if not."""
    return Path(builder.data_dir, "dataset_info.json").is_file()


def known_names() -> list[str]:
    """The data sets that the installed tfds can make."""
    return _tfds().list_builders(with_community_datasets=False)


def read(builder: Any, cache_dir: str | None) -> Source:
    """A prepared data set: its ``train`` and its ``test`` (or else ``validation``) split.

    Raises:
      ValueError: a split is missing, a file is damaged, or the images are not uint8 or of different
        sizes.
    """
    info = builder.info
    held_out = next((split for split in ("test", "validation") if split in info.splits), None)
    if "train" not in info.splits or held_out is None:
        raise ValueError(
            f"tfds:{info.name} in {builder.data_dir} has the splits "
            f"{', '.join(info.splits) or 'none'}; a train and a test (or validation) split are "
            "needed"
        )
    files = [path for path in Path(builder.data_dir).iterdir() if path.is_file()]

    train, test = cache.cached(
        f"tfds {info.full_name}",
        files,
        lambda: (_read_split(builder, "train"), _read_split(builder, held_out)),
        cache_dir,
    )
    return Source(train, test, info.features[_keys(builder)[1]].num_classes)


def prepare(builder: Any) -> Any:
    """Downloads and prepares a data set, as array_record.

    Raises:
      DataUnavailable: its host does not answer, or the preparation fails.
    """
    name = builder.info.name
    remedy = (
        f"Prepare it where that works (tfds build {name} --file_format=array_record) and give the "
        f"folder that then holds {name}/ as data_dir"
    )
    reachable.check(f"tfds:{name}", next(iter(builder.url_infos or ()), _HOST), remedy)

    def run():
        builder.download_and_prepare(file_format="array_record")
        return builder

    return _or_unavailable(f"tfds:{name} cannot be prepared", run, remedy)


def download(builder: Any, remedy: str) -> dict[str, Path]:
    """Downloads the files of a data set without preparing it; tfds checks their SHA-256.

    Many preparations need TensorFlow though the files do not.

    Returns:
      Where each file is, by the last part of its address.

    Raises:
      DataUnavailable: the host does not answer, or the download fails.
    """
    name = builder.info.name
    reachable.check(name, next(iter(builder.url_infos)), remedy)
    folder = Path(builder.data_dir).parents[1] / "downloads"

    def run():
        manager = _tfds().download.DownloadManager(
            download_dir=folder, url_infos=builder.url_infos, dataset_name=name
        )
        paths = manager.download({url.split("/")[-1]: url for url in builder.url_infos})
        return {file: Path(path) for file, path in paths.items()}

    return _or_unavailable(f"{name} cannot be downloaded", run, remedy)


def _or_unavailable(what: str, run: Callable[[], Any], remedy: str) -> Any:
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


def _builder(name, folder):
    """The builder for sets in ``folder``, or None if tfds knows none of that name."""
    tfds = _tfds()
    try:
        return tfds.builder(name, data_dir=folder, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        return None
    except Exception as error:  # whatever a builder's own code raises
        raise ValueError(
            f"tfds:{name} in {folder or 'the folder of tfds'}: {error} (without TensorFlow only "
            f"array_record is read: tfds build {name} --file_format=array_record)"
        ) from error


def _keys(builder):
    """The features that are image and label; both are checked before anything is downloaded."""
    features, tfds = builder.info.features, _tfds()
    keys = tuple(builder.info.supervised_keys or ("image", "label"))
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(
        k in features and isinstance(features[k], kind) for k, kind in zip(keys, kinds, strict=True)
    ):
        raise ValueError(f"tfds:{builder.info.name} is no data set of images with one label each")
    if not is_prepared(builder) and None in features[keys[0]].shape:
        raise ValueError(
            f"tfds:{builder.info.name} has images of different sizes; one size is needed"
        )
    return keys


def _whole(builder: Any, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # whatever tfds and array_record raise at damaged files
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{builder.data_dir} is damaged ({message}); prepare it anew") from error


def _read_split(builder, split):
    image_key, label_key = _keys(builder)
    source = _whole(builder, lambda: builder.as_data_source(split=split))
    images, labels = None, np.empty(len(source), np.int32)
    for start in range(0, len(source), _BATCH):
        rows = range(start, min(start + _BATCH, len(source)))
        records = _whole(builder, lambda rows=rows: source.__getitems__(list(rows)))
        for row, record in zip(rows, records, strict=True):
            image = record[image_key]
            if images is None:
                images = np.empty((len(source), *image.shape), np.uint8)
            if image.dtype != np.uint8 or image.shape != images.shape[1:]:
                raise ValueError(
                    f"tfds:{builder.info.name}: image {row} of {split} is {image.dtype} of shape "
                    f"{image.shape}; uint8 of one shape, {images.shape[1:]}, is needed"
                )
            images[row], labels[row] = image, record[label_key]
    if images is None or labels.min() < 0:
        raise ValueError(f"tfds:{builder.info.name}: {split} is empty or has no labels")
    return Split(images, labels)
