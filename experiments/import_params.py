r"""Makes a run folder of a network that was trained in JAX: curves and surfaces take it then.

    python -m experiments.import_params --file=state.msgpack --workdir=runs/theirs \
        --model=my.package:factory --dataset=cifar10 --data_dir=DIR --normalization=cifar

The file is Flax msgpack (`flax.serialization.to_bytes`), an `.npz` of arrays, or a folder of
orbax's (a checkpoint, a step, or a manager's, whose last step is read). It holds a TrainState, the
variables, or the parameters alone where the network has no others; nested, or with flattened names
(params/Dense_0/kernel, Dense_0.kernel). The optimizer's state is left out. Where it holds several
sets of parameters, `params` are taken, and what else there is is said: `--weights=ema_params` takes
it. The network is `--model`'s, a Flax linen module; names that differ stand in a `--name_map`, by
layer or array. What the import shows at the end, on clean data, is to be what the network was known
for. Where `--normalization` is not that of its training, the numbers are lower.

Checkpoints of PyTorch go into `python -m experiments.import_torch`.
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
    """Imports the checkpoint, or finds it imported.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    return importing.run(config, importing.Format(_read, _fit))


def _read(config: ImportConfig) -> dict[str, Any]:
    """The file's arrays."""
    if config.file.endswith(TORCH_SUFFIXES):
        raise UsageError(
            f"--file={config.file} looks like PyTorch's: use "
            f"`{launch.usage('import_torch')}` with the same flags"
        )
    if config.file.endswith(PICKLES):
        raise UsageError(
            f"--file={config.file} is a pickle, and running what it holds is not safe: save its "
            "arrays, by flax.serialization.to_bytes, numpy.savez or orbax"
        )
    return jax_files.read(config.file)


def _fit(config: ImportConfig, arrays: dict[str, Any], _: Problem, template: Any) -> Any:
    """The network's variables from the arrays."""
    layers = torch_names.read_map(config.name_map) if config.name_map else ()
    try:
        found = jax_files.to_variables(arrays, template, layers, config.weights)
    except Mismatch as error:
        raise importing.misfit(config, error, _remedy(error)) from None
    except ValueError as error:
        raise UsageError(f"--file={config.file}: {error}") from None
    importing.say_taken(config, found.name, found.others)
    return found.variables


def _remedy(error):
    if error.missing and all(name.startswith("batch_stats/") for name in error.missing):
        return "save the network's batch_stats beside its params, as a TrainState may have them"
    return (
        "check --model, --width and --dataset, or say which name is which with --name_map=FILE, "
        "lines THEIRS = OURS"
    )


if __name__ == "__main__":
    main(ImportParamsConfig, run, __doc__)
