"""A checkpoint's weights as a file for PyTorch: the inverse of `experiments.import_torch`."""

from typing import NamedTuple

import numpy as np

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
      mean: what its images are normalized by, ``(pixels / 255 - mean) / std``, a channel each.
      std: likewise.
      skipped_by_garipov: whether Garipov's network of this name runs only some of the layers.
    """

    content: bytes
    mean: np.ndarray
    std: np.ndarray
    skipped_by_garipov: bool


def export_torch(
    name: str,
    file_format: str,
    data_dir: str | None = None,
    name_map: str | None = None,
    precision: str = "float32",
) -> Exported:
    """The network that a checkpoint's name stands for, as a state dict.

    Batch norm has the running averages of a mode, and at a point of a curve statistics recomputed
    on the training split.

    Args:
      name: ``RUN[@EPOCH][~T]``.
      file_format: one of `mcjax.exchange.torch_files.FORMATS`.
      data_dir: where the data set is.
      name_map: a file as `experiments.import_torch` takes it; by default Garipov's or
        torchvision's names.
      precision: in which the statistics are computed.

    Raises:
      UsageError: there is no such checkpoint, the network's layers have no names, or a package is
        not installed.
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
    return Exported(content, problem.mean, problem.std, skipped)
