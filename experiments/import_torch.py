r"""Imports a network that was trained in PyTorch as a run folder, for use in curves and surfaces.

    python -m experiments.import_torch --file=checkpoint-200.pt --workdir=runs/theirs \
        --model=vgg16 --dataset=cifar10 --data_dir=DIR --normalization=imagenet
    python -m experiments.import_torch --file=epoch=9.ckpt --weights=swa_state_dict \
        --workdir=runs/averaged --model=resnet18 --dataset=cifar100 --data_dir=DIR \
        --normalization=imagenet

The file is a state dict, alone or inside a dict like those of Garipov, Lightning and most others,
or a safetensors file. If it holds several sets of weights, the plain ones are imported and the
others are listed; `--weights` imports one of those. Garipov's networks (vgg16, preresnet20,
wrn28x10) and torchvision's (resnet18, torchvision_vgg16) are known by their names there; others
need a `--name_map`. At the end, the command prints the network's accuracy on clean data: compare it
with the known one. It is lower, often only a little, if `--normalization` is not that of the
training.

For JAX checkpoints (Flax msgpack, .npz, orbax), use `python -m experiments.import_params`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcjax import spelling
from mcjax.exchange import torch_files, torch_weights
from mcjax.exchange.mismatch import Mismatch

from .cli import ImportConfig, UsageError, launch, main
from .exchange import importing, torch_layers
from .runs import Run
from .training import Problem

JAX_SUFFIXES = (".npz", ".msgpack")
"""Suffixes of files for `experiments.import_params`."""


def run(config: ImportConfig) -> Run:
    """Imports the checkpoint, unless the run folder already has it.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    return importing.run(config, importing.Format(_read, _fit))


def _read(config: ImportConfig) -> torch_files.Weights:
    """Reads the file's arrays."""
    if Path(config.file).is_dir() or config.file.endswith(JAX_SUFFIXES):
        raise UsageError(
            f"--file={config.file} is not a PyTorch file: for Flax msgpack, .npz and orbax, use "
            f"`{launch.usage('import_params')}` with the same flags"
        )
    found = torch_files.load(config.file, config.weights)
    importing.note_weights(config, found.name, found.others)
    _check_norms(config, torch_weights.unused_norms(found.arrays))
    return found


def _fit(config: ImportConfig, found: torch_files.Weights, problem: Problem, template: Any) -> Any:
    """Fits the arrays to the network's variables."""
    layers = torch_layers.layers_of(problem, config.name_map)
    try:
        return torch_weights.to_flax(found.arrays, template, layers)
    except Mismatch as error:
        raise importing.misfit(config, error, _remedy(config, found)) from None


def _remedy(config: ImportConfig, found: torch_files.Weights) -> str:
    """Suggests the networks that have exactly these names, or what else to try."""
    models = torch_weights.networks_of(found.arrays)
    if models and config.model not in models:
        return f"its names are those of --model={' or '.join(models)}"
    return (
        "check --model, --width and --dataset, import part of the file with --weights=PREFIX, or "
        "map the names with --name_map=FILE"
    )


def _check_norms(config: ImportConfig, unused: Sequence[str]) -> None:
    """Raises UsageError if parts of the network were never run, because here they would run."""
    if unused:
        raise UsageError(
            f"--file={config.file}: no batch ever went through {spelling.listed(unused, 3)}, "
            "unlike other layers: its code skips layers that --model would run, so it is another "
            "network (so do Garipov's VGG16BN and VGG19BN, "
            "https://github.com/timgaripov/dnn-mode-connectivity/issues/2)"
        )


if __name__ == "__main__":
    main(ImportConfig, run, __doc__)
