"""Results of runs: for Python, and for the commands that show or export them.

from experiments import runs
loaded = runs.load("runs/digits/GA@20~0.25")
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from mcjax import data
from mcjax.results import (
    CurveOnPlane,
    Instability,
    Interpolation,
    Layers,
    PathMetrics,
    Profile,
    Sharpness,
    Soups,
    Surface,
    named,
    unnamed,
)

from ..cli import UsageError, configs, say
from . import points
from .arrays import as_result, load_arrays, load_result
from .folder import Run
from .names import Name, a_kind, parse_name
from .status import Status

TYPES: dict[str, Any] = {
    "curve": Profile,
    "surface": Surface,
    "interpolation": Interpolation,
    "layers": Layers,
    "instability": Instability,
    "sharpness": Sharpness,
    "soup": Soups,
}
"""The type of a run's result, by the run's kind; averages are modes with a ``soup``."""
FILES = {kind: f"{kind}.npz" for kind in TYPES}
"""The file of a run's result, by the run's kind."""
Result = Profile | Surface | Interpolation | Instability | Layers | Sharpness | Soups
CONFIGS = {
    "mode": configs.ModeConfig,
    "curve": configs.CurveConfig,
    "surface": configs.SurfaceConfig,
    "interpolation": configs.InterpolateConfig,
    "layers": configs.LayersConfig,
    "instability": configs.InstabilityConfig,
    "sharpness": configs.SharpnessConfig,
    "reproduction": configs.ReproduceConfig,
}
"""The dataclass of a run's flags, by the run's kind."""


class Loaded(NamedTuple):
    """A run, one of its checkpoints, or a point on a curve.

    Attributes:
      params: the network's parameters, a pytree of arrays; None for a run without a network of its
        own, such as a surface.
      state: the network's other collections at the end of training, ``{}`` if it has none; None
        without a network. At points on a curve, recompute batch norm's statistics
        (`mcjax.engine.evaluation.Evaluator.statistics`).
      metrics: ``metrics.jsonl``, a dict per epoch.
      arrays: the arrays of ``curve.npz`` (``curve@EPOCH.npz``), ``surface.npz``,
        ``interpolation.npz``, ``instability.npz``, ``layers.npz``, ``soup.npz`` or
        ``sharpness.npz``, by name; empty for other modes and before evaluation.
      result: the same as one of the types of `mcjax.results`; None without arrays.
      config: the run's recorded flags, all others at their defaults.
      info: ``run.json``.
    """

    params: Any
    state: Any
    metrics: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    result: Result | None
    config: configs.Machine
    info: dict[str, Any]


def load(name: str) -> Loaded:
    """Loads a run, checkpoint or point by its reference, the text that commands take.

    Args:
      name: ``RUN[@EPOCH][~T]``: the run's last checkpoint, or that of an epoch; for a curve, the
        point at ``T``, by default 0.5.

    Raises:
      UsageError: there is no such run, checkpoint or point, it is not finished, or it is damaged.
    """
    place = parse_name(name)
    run = Run(place.run)
    info, point = run.info, points.Point(None, None)
    kind = info.get("kind", "mode")
    if place.t is not None and kind != "curve":
        raise UsageError(f"{name}: {run.path} is not a curve; only a curve has points ~T")
    if kind in ("mode", "curve") or (place.epoch, place.step) != (None, None):
        point = points.load_point(place)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in info["flags"].items()}
    make: Any = CONFIGS[kind]
    config = make(**values, workdir=str(run.path))
    what = "soup" if "soup" in info else kind
    file = _file(place, info, FILES.get(what, "none.npz"))
    arrays = load_arrays(file) if file.exists() else {}
    result = as_result(TYPES[what], arrays, file) if arrays else None
    return Loaded(point.params, point.state, run.metrics(), arrays, result, config, info)


def _file(place: Name, info: dict[str, Any], name: str) -> Path:
    """The file of a checkpoint's arrays; that of the last epoch has no ``@EPOCH``."""
    file = place.run / name
    if place.step is not None:
        return file.with_stem(f"{file.stem}@s{place.step}")
    if place.epoch in (None, info.get("flags", {}).get("epochs")):
        return file
    return file.with_stem(f"{file.stem}@{place.epoch}")


class Results(NamedTuple):
    """A finished run and its result.

    Attributes:
      folder: the run.
      info: its ``run.json``.
      result: its `Profile` or `Surface`.
    """

    folder: Run
    info: dict[str, Any]
    result: Any


def finished(path: str, kinds: tuple[str, ...]) -> Results:
    """Loads the finished run that ``--run`` names.

    Args:
      path: the run folder.
      kinds: the accepted kinds, of ``curve`` and ``surface``.

    Raises:
      UsageError: there is no run, it is of another kind, is not finished, or has no arrays.
    """
    wanted = f"give the folder of a finished {' or '.join(kinds)}"
    if not path:
        raise UsageError(f"--run is missing: {wanted}")
    folder = Run(path)
    info = folder.info
    if not info:
        raise UsageError(f"--run={path}: there is no run; {wanted}")
    if info["kind"] not in kinds:
        raise UsageError(f"--run={path} holds {a_kind(info['kind'])}; {wanted}")
    if info["status"] not in (Status.DONE, Status.FAILED):
        raise UsageError(f"--run={path} is not finished: run its command again")
    file = folder.path / FILES[info["kind"]]
    if info["status"] == Status.FAILED and not file.exists():
        raise UsageError(f"--run={path} failed and has no {file.name}: {info.get('reason')}")
    if not file.exists():
        raise UsageError(f"--run={path} has no {file.name}: run its command again")
    return Results(folder, info, load_result(TYPES[info["kind"]], file))


def along_curve(
    info: dict[str, Any], surface: Surface, curve: CurveOnPlane, names: list[str]
) -> tuple[Profile, list[str]]:
    """The profile of the curve on a surface.

    It comes from the curve's own run. Metrics that this lacks are interpolated from the surface.

    Args:
      info: ``run.json`` of the surface.
      surface: the surface.
      curve: the curve on it.
      names: of the metrics, as `mcjax.results.named` gives them.

    Returns:
      The profile, and notes on where its values come from.
    """
    name = parse_name(info["flags"]["curve"])
    info = Run(name.run).info
    file = _file(name, info, FILES["curve"])
    if info and file.exists():
        return _completed(load_result(Profile, file), surface, curve, names)
    below = _below(surface, on_surface(curve, "curve", curve.t), names)
    note = (
        f"{file} was not found: the curve is drawn on the surface, and its values are those of "
        "the surface below it, not its own."
    )
    say(f"note: {note}")
    return Profile(curve.t, {"curve": PathMetrics(unnamed(below))}), [note]


def _completed(
    along: Profile, surface: Surface, curve: CurveOnPlane, names: list[str]
) -> tuple[Profile, list[str]]:
    """A profile with the surface's values for metrics that it was not evaluated with."""
    there = named(along.curve.metrics)
    lacking = [name for name in names if name not in there]
    if not lacking:
        return along, []
    paths = {}
    for path, one in along.paths.items():
        below = _below(surface, on_surface(curve, path, along.t), lacking)
        paths[path] = one._replace(metrics=unnamed(named(one.metrics) | below))
    note = (
        f"The curve was not evaluated with {', '.join(lacking)}: these values are those of the "
        "surface below it, not its own."
    )
    say(f"note: {note}")
    return along._replace(paths=paths), [note]


def _below(surface: Surface, xy: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """A surface's values at ``xy`` ``[P, 2]``, by name; NaN off the grid."""
    grid, values = (surface.y, surface.x), named(surface.metrics)
    heights = {
        n: scipy.interpolate.RegularGridInterpolator(grid, values[n], bounds_error=False)
        for n in names
    }
    return {name: height(xy[:, ::-1]) for name, height in heights.items()}


def on_surface(curve: CurveOnPlane, path: str, t: np.ndarray) -> np.ndarray:
    """Coordinates ``[P, 2]`` of a surface's curve, or of the segment between its ends, at ``t``."""
    if path == "curve":
        return np.stack([np.interp(t, curve.t, x) for x in curve.xy.T], axis=1)
    start, end = curve.control_xy[[0, -1]]
    return start + t[:, None] * (end - start)


def provenance(info: dict[str, Any]) -> str:
    """The version of mcjax, the data set and the network, in one line."""
    mode = info.get("mode", {})
    words = [f"mcjax {info.get('versions', {}).get('mcjax', 'of unknown version')}"]
    if mode.get("dataset"):
        words.append(f"data set {data.without_folder(mode['dataset'])}")
    if mode.get("model"):
        words.append(f"model {mode['model']}")
    if mode.get("width", 1) != 1:
        words.append(f"width {mode['width']:g}")
    return ", ".join(words)


def check_output(path: Path) -> None:
    """Creates the folder of ``--output``; raises UsageError if the file cannot be written."""
    own = path.suffix in (".npz", ".json", ".jsonl", ".cfg")
    if own and (path.parent / "run.json").exists():
        raise UsageError(
            f"--output={path} is in a run folder, whose {path.suffix} files belong to the run; "
            "write elsewhere"
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
