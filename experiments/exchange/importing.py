"""What the imports share: a network that was trained elsewhere becomes the run folder of a mode."""

import dataclasses
import os
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mcjax.engine import parallel
from mcjax.exchange.mismatch import Mismatch

from ..cli import ImportConfig, ModeConfig, Network, UsageError, say, show, to_flags
from ..runs import Run, Status, open_checkpoints, write_atomically
from ..training import Problem, check_problem, make_problem, modes, shapes

OWN = "own"
"""The `--normalization` by the training split's own numbers."""
LISTED = 10
"""So many names of a kind are shown; all are in a file."""
FEW = 3
"""Up to so many names, of all kinds, the error's own line has them."""


class Format(NamedTuple):
    """How a kind of checkpoint is read.

    Attributes:
      read: ``config -> content`` of the file.
      fit: ``(config, content, problem, template) -> variables``, which fit the template.
    """

    read: Callable[[ImportConfig], Any]
    fit: Callable[[ImportConfig, Any, Problem, Any], Any]


class Imported(NamedTuple):
    """A checkpoint that fits.

    Attributes:
      mode: the flags of the run that it becomes.
      problem: its data, network and evaluator.
      variables: the network's, on the host.
      facts: what ``run.json`` says of the file.
    """

    mode: ModeConfig
    problem: Problem
    variables: Any
    facts: dict[str, Any]


def check_flags(config: ImportConfig) -> ModeConfig:
    """Checks the flags of an import; no data are read.

    Returns:
      The flags of a mode that has this network and data.

    Raises:
      UsageError: something is wrong with them.
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
    return mode


def load(config: ImportConfig, mode: ModeConfig, form: Format) -> Imported:
    """Reads the file and then the data, before anything is written.

    Raises:
      UsageError: one of them cannot be read, or the file does not fit the network.
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
    """The flags of a mode that has this network and data."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(Network)}
    if config.normalization == OWN:
        values["normalization"] = None
    return ModeConfig(**values, epochs=config.epoch)


def _crc32(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = 0
    for file in files:
        total = zlib.crc32(file.read_bytes(), total)
    return total


def say_taken(config: ImportConfig, name: str, others: Collection[str]) -> None:
    """Says which weights of a file are taken, where it holds several sets."""
    if others:
        say(
            f"{config.file}: the weights {config.weights or name!r} are taken; --weights=NAME "
            f"takes others: {', '.join(others)}"
        )


def run(config: ImportConfig, form: Format) -> Run:
    """Imports the checkpoint, or finds it imported.

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
        write_atomically(folder.path / "flags.cfg", to_flags(config))
        if folder.status != Status.DONE:
            _import(folder, found)
    show(modes.result(folder))
    if averages := folder.info.get("final_with_running_averages"):
        show(f"with its own running averages: {modes.describe(averages)}")
    return folder


def _import(folder: Run, found: Imported) -> None:
    """Saves and evaluates; an epoch is a step, for there were none."""
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
    """The error for a file that does not fit the network.

    Where many names do not fit, a table on standard error has the first of each kind, and a file
    beside the run's folder has all.
    """
    kinds = {
        "of the file's arrays without a place in the network": error.unplaced,
        "of the network's arrays without a value in the file": error.missing,
        "of another shape": error.misshapen,
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
    """Writes all names beside the run's folder; returns the file."""
    path = Path(f"{os.path.abspath(config.workdir)}.names.txt")
    lines = [f"{title}:\n  " + "\n  ".join(names) + "\n" for title, names in kinds.items() if names]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines))
    except OSError as error:
        raise UsageError(
            f"--workdir={config.workdir} cannot be written: {error.strerror}"
        ) from None
    return path
