r"""Imports a network that was trained in JAX as a run folder, for use in curves and surfaces.

    python -m experiments.import_params --file=state.msgpack --workdir=runs/theirs \
        --model=my.package:factory --dataset=cifar10 --data_dir=DIR --normalization=cifar

The file is Flax msgpack (`flax.serialization.to_bytes`), an `.npz` of arrays, or an orbax folder (a
checkpoint, a step, or a manager's folder, whose last step is read). It holds a TrainState, the
variables, or only the parameters if the network has no other variables; nested, or with flattened
names (params/Dense_0/kernel, Dense_0.kernel). The optimizer's state is ignored. If the file holds
several sets of parameters, `params` are imported and the others are listed; `--weights=ema_params`
imports one of those. `--model` is the network, a Flax linen module; a `--name_map` maps names that
differ, by layer or array. At the end, the command prints the network's accuracy on clean data:
compare it with the known one. It is lower if `--normalization` is not that of the training.

For PyTorch checkpoints, use `python -m experiments.import_torch`.
"""

from typing import Any

from mcjax.exchange import jax_files, torch_names
from mcjax.exchange.mismatch import Mismatch

from .cli import ImportConfig, ImportParamsConfig, UsageError, launch, main
from .exchange import importing
from .runs import Run
from .training import Problem

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
PICKLES = (".pkl", ".pickle")


def run(config: ImportParamsConfig) -> Run:
    """Imports the checkpoint, unless the run folder already has it.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    return importing.run(config, importing.Format(_read, _fit))


def _read(config: ImportConfig) -> dict[str, Any]:
    """Reads the file's arrays."""
    if config.file.endswith(TORCH_SUFFIXES):
        raise UsageError(
            f"--file={config.file} looks like a PyTorch file: use "
            f"`{launch.usage('import_torch')}` with the same flags"
        )
    if config.file.endswith(PICKLES):
        raise UsageError(
            f"--file={config.file} is a pickle, which could run any code: save its arrays with "
            "flax.serialization.to_bytes, numpy.savez or orbax instead"
        )
    return jax_files.read(config.file)


def _fit(config: ImportConfig, arrays: dict[str, Any], _: Problem, template: Any) -> Any:
    """Fits the arrays to the network's variables."""
    layers = torch_names.read_map(config.name_map) if config.name_map else ()
    try:
        found = jax_files.to_variables(arrays, template, layers, config.weights)
    except Mismatch as error:
        raise importing.misfit(config, error, _remedy(error)) from None
    except ValueError as error:
        raise UsageError(f"--file={config.file}: {error}") from None
    importing.note_weights(config, found.name, found.others)
    return found.variables


def _remedy(error: Mismatch) -> str:
    if error.missing and all(name.startswith("batch_stats/") for name in error.missing):
        return "save the network's batch_stats with its params, for example in a TrainState"
    return (
        "check --model, --width and --dataset, or map the names with --name_map=FILE, lines "
        "THEIRS = OURS"
    )


if __name__ == "__main__":
    main(ImportParamsConfig, run, __doc__)
