r"""Makes a run folder of a network that was trained in PyTorch: curves and surfaces take it then.

    python -m experiments.import_torch --file=checkpoint-200.pt --workdir=runs/theirs \
        --model=vgg16 --dataset=cifar10 --data_dir=DIR --normalization=imagenet
    python -m experiments.import_torch --file=epoch=9.ckpt --weights=swa_state_dict \
        --workdir=runs/averaged --model=resnet18 --dataset=cifar100 --data_dir=DIR \
        --normalization=imagenet

The file is a state dict, alone or in a dict as Garipov's, Lightning's and most checkpoints have it,
or a safetensors file. Where it holds several sets of weights, the plain ones are taken, and what
else there is is said: `--weights` takes it. Networks are Garipov's (vgg16, preresnet20, wrn28x10)
and torchvision's (resnet18, torchvision_vgg16) under the names that they have there; others need a
`--name_map`. What the import shows at the end, on clean data, is to be what the network was known
for. Where `--normalization` is not that of its training, the numbers are lower: often only a
little.

Checkpoints of JAX (Flax msgpack, .npz, orbax) go into `python -m experiments.import_params`.
"""

from pathlib import Path
from typing import Any

from mcjax import spelling
from mcjax.exchange import torch_files, torch_weights
from mcjax.exchange.mismatch import Mismatch

from .cli import ImportConfig, UsageError, main
from .exchange import importing, torch_layers
from .runs import Run
from .training import Problem

JAX_SUFFIXES = (".npz", ".msgpack")
"""Of files for `experiments.import_params`."""


def run(config: ImportConfig) -> Run:
    """Imports the checkpoint, or finds it imported.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    return importing.run(config, importing.Format(_read, _fit))


def _read(config: ImportConfig) -> torch_files.Weights:
    """The file's arrays."""
    if Path(config.file).is_dir() or config.file.endswith(JAX_SUFFIXES):
        raise UsageError(
            f"--file={config.file} is not a file of PyTorch's: for Flax msgpack, .npz and orbax "
            "there is python -m experiments.import_params, with the same flags"
        )
    found = torch_files.load(config.file, config.weights)
    importing.say_taken(config, found.name, found.others)
    _check_norms(config, torch_weights.unused_norms(found.arrays))
    return found


def _fit(config: ImportConfig, found: torch_files.Weights, problem: Problem, template: Any) -> Any:
    """The network's variables from the arrays."""
    layers = torch_layers.layers_of(problem, config.name_map)
    try:
        return torch_weights.to_flax(found.arrays, template, layers)
    except Mismatch as error:
        raise importing.misfit(config, error, _remedy(config, found)) from None


def _remedy(config, found):
    """What to try: the networks that have exactly these names, or another part of the file."""
    models = torch_weights.networks_of(found.arrays)
    if models and config.model not in models:
        return f"its names are those of --model={' or '.join(models)}"
    return (
        "check --model, --width and --dataset, take part of the file with --weights=PREFIX, or say "
        "which name is which with --name_map=FILE"
    )


def _check_norms(config, unused):
    """Refuses a network of which parts were never run: here they would run."""
    if unused:
        raise UsageError(
            f"--file={config.file}: no batch ever went through {spelling.listed(unused, 3)}, "
            "though through others: its code skips layers that --model would run (as Garipov's "
            "VGG16BN and VGG19BN do, https://github.com/timgaripov/dnn-mode-connectivity/issues/2) "
            "and is another network"
        )


if __name__ == "__main__":
    main(ImportConfig, run, __doc__)
