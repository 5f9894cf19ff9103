"""What a finished curve or surface left behind, for the commands that show it or pass it on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.arrays import load_arrays
from experiments.config import UsageError
from experiments.runs import Run

FILES = {"curve": "curve.npz", "surface": "surface.npz"}
"""The arrays of a run, by its kind."""


class Results(NamedTuple):
    """A finished run.

    Attributes:
      folder: its folder.
      info: what its ``run.json`` says.
      arrays: its ``curve.npz`` or ``surface.npz``.
    """

    folder: Run
    info: dict[str, Any]
    arrays: dict[str, np.ndarray]


def load(path: str, kinds: tuple[str, ...]) -> Results:
    """Reads what ``--run`` names.

    Args:
      path: a run folder.
      kinds: what it may hold, of ``curve`` and ``surface``.

    Raises:
      UsageError: there is no run, it holds something else, it is not finished, or left no arrays.
    """
    wanted = f"give the folder of a finished {' or '.join(kinds)}"
    if not path:
        raise UsageError(f"--run is missing: {wanted}")
    folder = Run(path)
    info = folder.info
    if not info:
        raise UsageError(f"--run={path}: there is no run; {wanted}")
    if info["kind"] not in kinds:
        raise UsageError(f"--run={path} holds a {info['kind']}; {wanted}")
    if info["status"] not in ("done", "failed"):
        raise UsageError(f"--run={path} is not finished: run its command again")
    file = folder.path / FILES[info["kind"]]
    if info["status"] == "failed" and not file.exists():
        raise UsageError(f"--run={path} failed and left no {file.name}: {info.get('reason')}")
    return Results(folder, info, load_arrays(file))


def provenance(info: dict[str, Any]) -> str:
    """Version, data set and network in one line."""
    mode = info.get("mode", {})
    words = [f"mcjax {info.get('versions', {}).get('mcjax', 'of unknown version')}"]
    words += [f"{title} {mode[key]}" for title, key in
              (("data set", "dataset"), ("model", "model")) if mode.get(key)]  # fmt: skip
    if mode.get("width", 1) != 1:
        words.append(f"width {mode['width']:g}")
    return ", ".join(words)


def check_output(path: Path) -> None:
    """Makes the folder of an output file; raises UsageError where the file cannot be written."""
    own = path.suffix in (".npz", ".json", ".jsonl", ".cfg")
    if own and (path.parent / "run.json").exists():
        raise UsageError(
            f"--output={path}: the {path.suffix} files of a run folder are its own; write elsewhere"
        )
    if path.is_dir():
        raise UsageError(f"--output={path} is a folder; give a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.writable")
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--output={path} cannot be written: {error.strerror}") from None
