"""What a run left behind: for Python, and for the commands that show it or pass it on.

from experiments import runs
found = runs.load("runs/digits/GA@20~0.25")
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from ..cli import UsageError, configs, say
from . import points
from .arrays import load_arrays
from .folder import Run
from .names import Name, parse_name
from .status import Status

FILES = {"curve": "curve.npz", "surface": "surface.npz", "sharpness": "sharpness.npz"}
"""The arrays of a run, by its kind."""
CONFIGS = {
    "mode": configs.ModeConfig,
    "curve": configs.CurveConfig,
    "surface": configs.SurfaceConfig,
    "sharpness": configs.SharpnessConfig,
    "reproduction": configs.ReproduceConfig,
}
"""The flags of a run, by its kind."""


class Loaded(NamedTuple):
    """A run, a checkpoint of it, or a point of a curve.

    Attributes:
      params: the network's parameters, a pytree of arrays; None for a run without networks of its
        own (a surface).
      state: the network's other collections as training left them, ``{}`` where there are none;
        None without networks. At points of a curve recompute batch norm's statistics
        (`mcjax.engine.evaluation.Evaluator.statistics`).
      metrics: ``metrics.jsonl``, a dict for each epoch.
      arrays: ``curve.npz`` (``curve@EPOCH.npz``), ``surface.npz`` or ``sharpness.npz`` by name;
        empty for a mode, and where nothing was evaluated.
      config: the flags that made the run what it is, the others at their defaults.
      info: ``run.json``.
    """

    params: Any
    state: Any
    metrics: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    config: configs.Machine
    info: dict[str, Any]


def load(name: str) -> Loaded:
    """Loads what a name stands for, the same text that commands take.

    Args:
      name: ``RUN[@EPOCH][~T]``: a run's last checkpoint or that of an epoch; of a curve the point
        at ``T``, 0.5 by default.

    Raises:
      UsageError: there is no such run, checkpoint or point, it is not finished, or is damaged.
    """
    place = parse_name(name)
    run = Run(place.run)
    info, point = run.info, points.Point(None, None)
    kind = info.get("kind", "mode")
    if place.t is not None and kind != "curve":
        raise UsageError(f"{name}: {run.path} holds no curve; only a curve has points ~T")
    if kind in ("mode", "curve") or place.epoch is not None:
        point = points.load_point(place)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in info["flags"].items()}
    make: Any = CONFIGS[kind]
    config = make(**values, workdir=str(run.path))
    return Loaded(point.params, point.state, run.metrics(), _arrays(place, info), config, info)


def _arrays(place: Name, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, if it was evaluated."""
    file = _file(place, info, FILES.get(info["kind"], "none.npz"))
    return load_arrays(file) if file.exists() else {}


def _file(place: Name, info: dict[str, Any], name: str) -> Path:
    """The file of a checkpoint's arrays; the last epoch's has the bare name."""
    file = place.run / name
    if place.epoch in (None, info.get("flags", {}).get("epochs")):
        return file
    return file.with_stem(f"{file.stem}@{place.epoch}")


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


def finished(path: str, kinds: tuple[str, ...]) -> Results:
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
    if info["status"] not in (Status.DONE, Status.FAILED):
        raise UsageError(f"--run={path} is not finished: run its command again")
    file = folder.path / FILES[info["kind"]]
    if info["status"] == Status.FAILED and not file.exists():
        raise UsageError(f"--run={path} failed and left no {file.name}: {info.get('reason')}")
    if not file.exists():
        raise UsageError(f"--run={path} has no {file.name}: run its command again")
    return Results(folder, info, load_arrays(file))


def along_curve(found: Results, names: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """A surface's curve: its own profile, from its run; what that lacks, the surface's below it.

    Returns:
      ``t`` and ``curve_METRIC``, and what a reader has to know of them.
    """
    name = parse_name(found.info["flags"]["curve"])
    info = Run(name.run).info
    file = _file(name, info, FILES["curve"])
    if info and file.exists():
        return _completed(load_arrays(file), found.arrays, names)
    below = {"t": found.arrays["curve_t"]}
    below |= _below(found.arrays, "curve", names, below["t"])
    note = (
        f"There is no {file} in reach, so the curve is drawn on the surface and its numbers are "
        "the surface's below it, not its own."
    )
    say(f"note: {note}")
    return below, [note]


def _completed(
    along: dict[str, np.ndarray], surface: dict[str, np.ndarray], names: list[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """A profile with the surface's values below it for what it was not evaluated with."""
    lacking = [name for name in names if f"curve_{name}" not in along]
    if not lacking:
        return along, []
    paths = [path for path in ("curve", "segment") if any(n.startswith(f"{path}_") for n in along)]
    for path in paths:
        along |= _below(surface, path, lacking, along["t"])
    note = (
        f"The curve was not evaluated with {', '.join(lacking)}: these numbers are the surface's "
        "below it, not its own."
    )
    say(f"note: {note}")
    return along, [note]


def _below(
    surface: dict[str, np.ndarray], path: str, names: list[str], t: np.ndarray
) -> dict[str, np.ndarray]:
    """``PATH_METRIC``: the surface's values below curve or segment at ``t``; NaN off the grid."""
    if path == "curve":
        xy = np.stack([np.interp(t, surface["curve_t"], x) for x in surface["curve_xy"].T], axis=1)
    else:
        start, end = surface["curve_control_xy"][[0, -1]]
        xy = start + t[:, None] * (end - start)
    grid = (surface["y"], surface["x"])
    heights = {n: RegularGridInterpolator(grid, surface[n], bounds_error=False) for n in names}
    return {f"{path}_{name}": height(xy[:, ::-1]) for name, height in heights.items()}


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
