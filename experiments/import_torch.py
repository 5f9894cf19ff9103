r"""Makes a run folder of a network that was trained in PyTorch: curves and surfaces take it then.

    python -m experiments.import_torch --file=checkpoint-200.pt --workdir=runs/theirs \
        --model=vgg16 --dataset=cifar10 --data_dir=DIR --normalization=imagenet

The file is a state dict, alone or in a dict as Garipov's checkpoints have it, or a safetensors
file. What it shows at the end, on clean data, is to be what the network was known for. Where
`--normalization` is not that of its training, the numbers are lower: often only a little.
"""

import dataclasses
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import command, loop, train_mode
from experiments import problem as problems
from experiments.config import ImportConfig, ModeConfig, Network, UsageError, to_flags
from experiments.progress import say, show
from experiments.runs import Run, write_atomically
from mcjax import choices, parallel, torch_checkpoints, torch_files, torch_names

OWN = "own"
"""The `--normalization` by the training split's own numbers."""


class Imported(NamedTuple):
    """A checkpoint that fits.

    Attributes:
      mode: the flags of the run that it becomes.
      problem: its data, network and evaluator.
      variables: the network's, on the host.
      facts: what ``run.json`` says of the file.
    """

    mode: ModeConfig
    problem: problems.Problem
    variables: Any
    facts: dict[str, Any]


def check(config: ImportConfig) -> Imported:
    """Everything that can be wrong, before anything is written.

    Raises:
      UsageError: something is.
    """
    for name, what in (
        ("workdir", "the run's folder"),
        ("file", "a .pt, .pth or .safetensors file"),
        (
            "normalization",
            "how the network's images were normalized: imagenet (Garipov's VGG), cifar (his "
            f"ResNets), M,M,M/S,S,S, or {OWN} for the training split's own mean and deviation",
        ),
    ):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing: {what}")
    if config.epoch < 1:
        raise UsageError(f"--epoch={config.epoch}: use 1 or more")
    mode = mode_of(config)
    try:
        arrays = torch_files.read(config.file)
        _check_norms(config, torch_checkpoints.unused_norms(arrays))
        problem = problems.make_problem(mode)
        layers = layers_of(problem, config.name_map)
        variables = torch_checkpoints.to_flax(arrays, template(problem, mode), layers)
    except torch_checkpoints.Mismatch as error:
        _list(error)
        raise UsageError(
            f"--file={config.file}: {error}; check --model, --width and --dataset, or say which "
            "name is which with --name_map=FILE"
        ) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    crc32 = zlib.crc32(Path(config.file).read_bytes())
    return Imported(mode, problem, variables, {"file": Path(config.file).name, "crc32": crc32})


def _check_norms(config, unused):
    """Refuses a network of which parts were never run: here they would run."""
    if unused:
        raise UsageError(
            f"--file={config.file}: no batch ever went through {choices.listed(unused, 3)}, though "
            "through others: "
            "its code skips layers that --model would run (as Garipov's VGG16BN and VGG19BN do, "
            "https://github.com/timgaripov/dnn-mode-connectivity/issues/2), and that is another "
            "network"
        )


def mode_of(config: ImportConfig) -> ModeConfig:
    """The flags of a mode that has this network and data."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(Network)}
    if config.normalization == OWN:
        values["normalization"] = None
    return ModeConfig(**values, epochs=config.epoch)


def layers_of(problem: problems.Problem, name_map: str | None) -> tuple[torch_names.Layer, ...]:
    """Which layer is which: Garipov's names, or those of a file.

    Raises:
      ValueError: the network has no names there, or the file is wrong.
    """
    try:
        known = torch_names.layers_of(problem.model)
    except ValueError as error:
        if not name_map:
            raise ValueError(f"{error}, --name_map=FILE with lines THEIRS = OURS") from None
        known = ()
    return torch_names.read_map(name_map, known) if name_map else known


def template(problem: problems.Problem, mode: ModeConfig) -> Any:
    """The shapes of the network's variables."""
    shapes = jax.eval_shape(lambda k: problems.init(problem, mode, k), jax.random.key(0))
    return {"params": shapes[0], **shapes[1]}


def run(config: ImportConfig) -> Run:
    """Imports the checkpoint, or finds it imported.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    found = check(config)
    folder = Run(config.workdir)
    folder.check_same("mode", found.mode)
    there = folder.info.get("imported")
    if folder.info and there != found.facts:
        raise UsageError(
            f"{folder.path} holds {'another file, ' + there['file'] if there else 'a trained mode'}"
            "; use another --workdir, or delete it"
        )
    with folder.locked():
        folder.open("mode", found.mode, steps_per_epoch=1, imported=found.facts)
        write_atomically(folder.path / "flags.cfg", to_flags(config))
        if folder.status != "done":
            _import(folder, found)
    show(train_mode.result(folder))
    if averages := folder.info.get("final_with_running_averages"):
        show(f"with its own running averages: {train_mode.describe(averages)}")
    return folder


def _import(folder, found):
    """Saves and evaluates; an epoch is a step, for there were none."""
    variables = dict(found.variables)
    params, state = parallel.replicate((variables.pop("params"), variables), found.problem.mesh)
    step = found.mode.epochs
    with folder.checkpoints(keep=(step,)) as saved:
        saved.save(step, {"params": params, "model_state": state})
    facts = train_mode.evaluate(found.problem, params, state)
    folder.update(**facts)
    reason = train_mode.failure(found.problem, facts["final"], "the imported network")
    if reason:
        loop.fail(folder, f"{reason}, or not on these images: look at --dataset, --normalization")
    folder.update(status="done")


def _list(error: torch_checkpoints.Mismatch) -> None:
    """Every name that does not fit, a line each, where the error's own line has not all of them."""
    kinds = {
        "in the file, without a place in the network": error.unplaced,
        "in the network, without a value in the file": error.missing,
        "of another shape": error.misshapen,
    }
    if max(map(len, kinds.values())) > torch_checkpoints.SHOWN:
        for title, names in kinds.items():
            if names:
                say("\n  ".join([f"{title}:", *names]))


if __name__ == "__main__":
    command.main(ImportConfig, run, __doc__)
