"""Exports a checkpoint's weights to PyTorch: the inverse of `experiments.import_torch`."""

from typing import NamedTuple

import numpy as np

from mcjax.data import augmentation
from mcjax.engine import parallel
from mcjax.exchange import torch_files, torch_weights
from mcjax.flax.models import vgg

from ..cli import UsageError
from ..runs import Run, find_checkpoint, load_point
from ..training import check_problem, make_problem
from .torch_layers import layers_of


class Exported(NamedTuple):
    """A network for PyTorch.

    Attributes:
      content: the file's bytes.
      mean: per channel; its images are normalized by ``(pixels / full_range - mean) / std``.
      std: per channel.
      full_range: 255, or 1 if the training images are float.
      skipped_by_garipov: whether Garipov's network of this name skips some of the layers.
    """

    content: bytes
    mean: np.ndarray
    std: np.ndarray
    full_range: int
    skipped_by_garipov: bool


def export_torch(
    name: str,
    file_format: str,
    data_dir: str | None = None,
    name_map: str | None = None,
    precision: str = "float32",
) -> Exported:
    """Encodes a checkpoint's network as a state dict.

    Batch norm keeps a mode's running averages; at a point of a curve, its statistics are recomputed
    on the training split.

    Args:
      name: the checkpoint, ``RUN[@EPOCH][~T]``.
      file_format: one of `mcjax.exchange.torch_files.FORMATS`.
      data_dir: the data set's folder.
      name_map: a file of names, as for `experiments.import_torch`; Garipov's or torchvision's
        names by default.
      precision: precision for computing the statistics.

    Raises:
      UsageError: the checkpoint does not exist, a layer has no name, or a package is not
        installed.
    """
    found = find_checkpoint(name, data_dir)
    check_problem(found.mode)
    problem = make_problem(found.mode, precision)
    point = load_point(found.name)
    params, state = point
    if Run(found.name.run).info["kind"] == "curve":
        state = problem.evaluator.statistics(*parallel.replicate(point, problem.mesh))
    try:
        layers = layers_of(problem, name_map)
        arrays = torch_weights.from_flax({"params": params, **state}, layers)
        content = torch_files.encode(arrays, file_format)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    garipovs = name_map is None and type(problem.model) is vgg.VGG
    skipped = garipovs and problem.model.batch_norm
    full_range = augmentation.full_range(problem.dataset.train.images[:1])
    return Exported(content, problem.mean, problem.std, full_range, skipped)
