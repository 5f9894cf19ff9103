"""Imports a network that was trained elsewhere as the run folder of a mode."""

import dataclasses
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mcjax.engine import parallel
from mcjax.exchange.mismatch import Mismatch

from ..cli import ImportConfig, ModeConfig, Network, UsageError, say, show, to_flags
from ..runs import Run, Status, at, open_checkpoints, write_atomically
from ..training import Problem, check_problem, make_problem, modes, pin_data, shapes

OWN = "own"
"""The `--normalization` by the training split's own mean and deviation."""
LISTED = 10
"""How many names of each kind are printed; a file has all of them."""
FEW = 3
"""Up to this many names in all fit into the error message."""

Content = TypeVar("Content")
_Read = TypeVar("_Read", covariant=True)
_Fitted = TypeVar("_Fitted", contravariant=True)


class Read(Protocol[_Read]):
    """Reads a kind of checkpoint."""

    def __call__(self, config: ImportConfig, /) -> _Read:
        """Returns the content of --file; raises ValueError or UsageError if it cannot."""
        ...


class Fit(Protocol[_Fitted]):
    """Fits a file's content to the network."""

    def __call__(
        self, config: ImportConfig, content: _Fitted, problem: Problem, template: Any, /
    ) -> Any:
        """Returns variables like the template, on the host; raises ValueError or UsageError."""
        ...


class Format(NamedTuple, Generic[Content]):
    """A kind of checkpoint.

    Attributes:
      read: reads the file.
      fit: fits its content to the network.
    """

    read: Read[Content]
    fit: Fit[Content]


class Imported(NamedTuple):
    """A checkpoint that fits the network.

    Attributes:
      mode: the flags of the mode that it becomes.
      problem: the mode's data, network and evaluator.
      variables: the network's variables, on the host.
      facts: the entry of ``run.json`` on the file.
    """

    mode: ModeConfig
    problem: Problem
    variables: Any
    facts: dict[str, Any]


def check_flags(config: ImportConfig) -> ModeConfig:
    """Checks the flags of an import, without reading data.

    Returns:
      The flags of the mode with this network and data.

    Raises:
      UsageError: a flag is wrong.
    """
    for name, what in (
        ("workdir", "the run's folder"),
        ("file", "the checkpoint"),
        (
            "normalization",
            "how the network's images were normalized: imagenet (torchvision, Garipov's VGG), "
            f"cifar (his ResNets), M,M,M/S,S,S, or {OWN} for the training split's own mean and "
            "deviation",
        ),
    ):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing: {what}")
    if config.epoch < 1:
        raise UsageError(f"--epoch={config.epoch}: use 1 or more")
    if not Path(config.file).exists():
        raise UsageError(f"--file={config.file}: there is no file {config.file}")
    mode = _mode(config)
    check_problem(mode)
    return pin_data(mode)


def load(config: ImportConfig, mode: ModeConfig, form: Format[Any]) -> Imported:
    """Reads the file, then the data; writes nothing.

    Raises:
      UsageError: the file or the data cannot be read, or the file does not fit the network.
    """
    try:
        content = form.read(config)
        problem = make_problem(mode)
        params, state = shapes(problem, mode)
        variables = form.fit(config, content, problem, {"params": params, **state})
    except ValueError as error:
        raise UsageError(str(error)) from None
    facts = {"file": Path(config.file).resolve().name, "crc32": _crc32(Path(config.file))}
    if config.weights is not None:
        facts["weights"] = config.weights
    return Imported(mode, problem, variables, facts)


def _mode(config: ImportConfig) -> ModeConfig:
    """The flags of the mode with this network and data."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(Network)}
    if config.normalization == OWN:
        values["normalization"] = None
    return ModeConfig(**values, epochs=config.epoch)


def _crc32(path: Path) -> int:
    """The checksum of a file, or of all files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = 0
    for file in files:
        total = zlib.crc32(file.read_bytes(), total)
    return total


def note_weights(config: ImportConfig, name: str, others: Collection[str]) -> None:
    """Prints which weights are imported, if a file holds several sets."""
    if others:
        say(
            f"{config.file}: importing the weights {config.weights or name!r}; --weights=NAME "
            f"imports others: {', '.join(others)}"
        )


def run(config: ImportConfig, form: Format[Any]) -> Run:
    """Imports the checkpoint, unless the run folder already has it.

    Raises:
      UsageError: wrong flags, or a file that does not fit.
      RunFailed: the network is at chance on these data, or not finite.
    """
    mode = check_flags(config)
    folder = Run(config.workdir)
    folder.check_same("mode", mode)
    found = load(config, mode, form)
    there = folder.info.get("imported")
    if folder.info and there != found.facts:
        raise UsageError(
            f"{folder.path} holds {'another file, ' + there['file'] if there else 'a trained mode'}"
            "; use another --workdir, or delete it"
        )
    with folder.locked():
        folder.open("mode", found.mode, steps_per_epoch=1, imported=found.facts)
        pinned = dataclasses.replace(config, dataset=mode.dataset)
        write_atomically(folder.path / "flags.cfg", to_flags(pinned))
        if folder.status != Status.DONE:
            _import(folder, found)
    show(modes.result(folder))
    if averages := folder.info.get("final_with_running_averages"):
        show(f"with its own running averages: {modes.describe(averages)}")
    return folder


def _import(folder: Run, found: Imported) -> None:
    """Saves and evaluates the network; each epoch counts as one step."""
    variables = dict(found.variables)
    params, state = parallel.replicate((variables.pop("params"), variables), found.problem.mesh)
    step = found.mode.epochs
    if folder.status == Status.FAILED:
        folder.move_to(Status.RUNNING)
    with open_checkpoints(folder, keep=(step,)) as checkpoints:
        checkpoints.save(step, {"params": params, "model_state": state})
    hint = ", or not on these images: look at --dataset, --normalization"
    modes.finish(folder, found.problem, params, state, "the imported network", hint)


def misfit(config: ImportConfig, error: Mismatch, remedy: str) -> UsageError:
    """Returns the error for a file that does not fit the network.

    If many names do not fit, the first of each kind are printed on standard error, and all are
    written to a file next to the run's folder.
    """
    kinds = {
        "of the file's arrays have no place in the network": error.unplaced,
        "of the network's arrays have no value in the file": error.missing,
        "arrays have another shape": error.misshapen,
    }
    if sum(map(len, kinds.values())) <= FEW:
        return UsageError(f"--file={config.file}: {error}; {remedy}")
    for title, names in kinds.items():
        if names:
            more = [f"... and {len(names) - LISTED} more"] if len(names) > LISTED else []
            say("\n  ".join([f"{len(names)} {title}:", *names[:LISTED], *more]))
    if max(map(len, kinds.values())) > LISTED:
        remedy += f"; all names are in {_write_names(config, kinds)}"
    counts = ", ".join(f"{len(names)} {title}" for title, names in kinds.items() if names)
    return UsageError(
        f"--file={config.file} does not fit --model={config.model}: {counts}; {remedy}"
    )


def _write_names(config: ImportConfig, kinds: Mapping[str, Collection[str]]) -> Path:
    """Writes all names to a file next to the run's folder, and returns its path."""
    path = at(f"{Run(config.workdir).path.absolute()}.names.txt")
    lines = [
        f"{len(names)} {title}:\n  " + "\n  ".join(names) + "\n"
        for title, names in kinds.items()
        if names
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines))
    except OSError as error:
        raise UsageError(
            f"--workdir={config.workdir} cannot be written: {error.strerror}"
        ) from None
    return path
