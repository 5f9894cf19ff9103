"""What a finished curve or surface left behind, for the commands that show it or pass it on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from experiments.arrays import load_arrays
from experiments.config import UsageError
from experiments.progress import say
from experiments.runs import Run, parse_name
from mcjax import plots

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


metrics = plots.metric_names


def along_curve(found: Results, names: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """A surface's curve: its own profile, from its run; where that is gone, the surface's below it.

    Returns:
      ``t`` and ``curve_METRIC``, and what a reader has to know of them.
    """
    name = parse_name(found.info["flags"]["curve"])
    info = Run(name.run).info
    last = name.epoch is None or name.epoch == info.get("flags", {}).get("epochs")
    file = name.run / ("curve.npz" if last else f"curve@{name.epoch}.npz")
    if info and file.exists():
        return load_arrays(file), []
    arrays = found.arrays
    below = {"t": arrays["curve_t"]}
    for metric in names:
        grid = (arrays["y"], arrays["x"])
        height = RegularGridInterpolator(grid, arrays[metric], bounds_error=False)
        below[f"curve_{metric}"] = height(arrays["curve_xy"][:, ::-1])
    note = (
        f"There is no {file} in reach, so the curve is drawn on the surface and its numbers are "
        "the surface's below it, not its own."
    )
    say(f"note: {note}")
    return below, [note]


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
