"""Writes an interactive page of a finished surface or curve: one HTML file that needs no network.

    python -m experiments.view --run=runs/plane

The page has the surface with its curve and iterates, and the profile along the curve; a slider or
the mouse moves a marker on both. For a curve's run it has the profile alone. Needs plotly, which
is written into the page.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import plots

from .cli import UsageError, ViewConfig, main, show
from .landscapes import drawing
from .runs import Results, along_curve, check_output, finished, label, provenance, write_atomically

TEMPLATES = Path(__file__).parent / "page"
LAYERS = ("points", "curve", "segment", "iterates")
HEIGHTS = (
    "Curve, segment and iterates are drawn at their own heights: they float above or below the "
    "surface where they lie off the plane or the grid is coarser than the valley. The white line "
    "is the curve's place on the surface."
)


def run(config: ViewConfig) -> Path:
    """Writes the page.

    Raises:
      UsageError: wrong flags, a run that is not finished, plotly is missing, or a file that cannot
        be written.
    """
    found = finished(config.run, ("surface", "curve"))
    output = Path(config.output) if config.output else found.folder.path / "view.html"
    library = _plotly()
    data, notes = _surface(found) if found.info["kind"] == "surface" else (_curve(found), [])
    check_output(output)
    write_atomically(output, render(data, *_heading(found), notes, library))
    show(f"page: {output}")
    return output


def _plotly():
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UsageError(
            "plotly is not installed: pip install plotly, or mcjax's extra [view]"
        ) from None
    return get_plotlyjs()


def render(data: dict[str, Any], title: str, subtitle: str, notes: list[str], library: str) -> str:
    """The page.

    Args:
      data: ``metrics``, ``surface`` and ``profile``, as `_surface` and `_curve` make them.
      title: of the page.
      subtitle: a line below it.
      notes: sentences for its foot.
      library: plotly.js.
    """
    parts = {
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "notes": html.escape(" ".join(notes)),
        "plotly": library,
        "data": json.dumps(_plain(data), allow_nan=False).replace("<", "\\u003c"),
        "script": (TEMPLATES / "view.js").read_text(),
    }
    template = (TEMPLATES / "view.html").read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _heading(found: Results) -> tuple[str, str]:
    """Title and subtitle: what the run is of, its folder, and where it comes from."""
    if found.info["kind"] == "surface":
        first, second, third = (str(name) for name in found.arrays["point_name"])
        title = f"Plane through {first}, {second} and {third}"
        if "direction_norm" in found.arrays:
            title = f"Around {first}, along {second} and {third}"
    else:
        start, end = (label(found.info["flags"][which]) for which in ("start", "end"))
        title = f"Curve from {start} to {end}"
    return title, f"{found.folder.path.resolve().name}: {provenance(found.info)}"


def _curve(found: Results) -> dict[str, Any]:
    """The page's data for a curve's run."""
    names = plots.metric_names(found.arrays, "curve_")
    both = {n: np.concatenate([found.arrays[f"{p}_{n}"] for p in ("curve", "segment")
                               if f"{p}_{n}" in found.arrays]) for n in names}  # fmt: skip
    return {
        "metrics": [_metric(name, values) for name, values in both.items()],
        "surface": None,
        "profile": _profile(found.arrays, names),
    }


def _surface(found: Results) -> tuple[dict[str, Any], list[str]]:
    """The page's data for a surface's run, and what its reader has to know."""
    arrays = found.arrays
    names = plots.metric_names(arrays, "point_")
    networks = {f"point_{n}": plots.networks(arrays, n) for n in (*names, "xy", "name")}
    surface = {
        "x": arrays["x"],
        "y": arrays["y"],
        "values": _values(arrays, "", names),
        "points": _layer(networks, "point", names, networks["point_xy"])
        | {"name": networks["point_name"]},
    }
    profile, notes = None, []
    if "iterate_xy" in arrays:
        surface["iterates"] = _layer(arrays, "iterate", names, arrays["iterate_xy"])
        surface["iterates"] |= {k: arrays[f"iterate_{k}"] for k in ("epoch", "name", "distance")}
    if "curve_xy" in arrays:
        along, notes = along_curve(found, names)
        profile = _profile(along, names)
        surface |= _lines(arrays, along, names)
        profile["others"]["distance from the plane"] = {"curve": surface["curve"]["distance"]}
    if "iterates" in surface or "segment" in surface:
        notes = [HEIGHTS, *notes]
    notes += [f"{' '.join(line.split()).capitalize()}." for line in drawing.off_plane_words(arrays)]
    metrics = [_metric(name, _shown(surface, name), networks[f"point_{name}"], arrays[name])
               for name in names]  # fmt: skip
    return {"metrics": metrics, "surface": surface, "profile": profile}, notes


def _shown(surface, name):
    """All values of a metric on the surface: of the grid and of what is drawn on it."""
    layers = [surface[layer] for layer in LAYERS if layer in surface]
    return np.concatenate([surface["values"][name].ravel(), *(x["values"][name] for x in layers)])


def _lines(arrays, along, names):
    """Curve and segment on the surface, at the profile's t."""
    t = along["t"]
    xy = np.stack([np.interp(t, arrays["curve_t"], x) for x in arrays["curve_xy"].T], axis=1)
    found = {"curve": _layer(along, "curve", names, xy)}
    for name, values in (("distance", arrays["curve_distance"]), ("off", plots.off_plane(arrays))):
        found["curve"][name] = np.interp(t, arrays["curve_t"], values)
    if f"segment_{names[0]}" in along:
        start, end = arrays["curve_control_xy"][[0, -1]]
        found["segment"] = _layer(along, "segment", names, start + t[:, None] * (end - start))
    return found


def _profile(arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, Any]:
    """Metrics along curve and segment, and other numbers for the table."""
    paths = [p for p in ("curve", "segment") if f"{p}_{names[0]}" in arrays]
    lengths = {p: arrays[f"{p}_arc_length"] for p in paths if f"{p}_arc_length" in arrays}
    return {
        "t": arrays["t"],
        **{path: _values(arrays, f"{path}_", names) for path in paths},
        "others": {"length from the start": lengths} if lengths else {},
    }


def _layer(arrays, prefix, names, xy):
    return {"x": xy[:, 0], "y": xy[:, 1], "values": _values(arrays, f"{prefix}_", names)}


def _values(arrays, prefix, names):
    """Metrics by name, in the units of figures."""
    return {name: plots.drawn(name, arrays[prefix + name]) for name in names}


def _metric(
    name: str,
    values: np.ndarray,
    points: np.ndarray | None = None,
    grid: np.ndarray | None = None,
) -> dict[str, Any]:
    """Label, whether a logarithm suits it, and above which value a surface is cut off."""
    loss = name.endswith("_loss")
    clipped = loss and points is not None and grid is not None
    return {
        "key": name,
        "label": plots.metric_words(name),
        "log": loss and not (values < 0).any(),
        "clip": plots.default_clip(grid, points) if clipped else None,
    }


def _plain(value: Any) -> Any:
    """JSON values; None for what is not finite."""
    match value:
        case np.ndarray():
            return _plain(value.tolist())
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float():
            return value if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    main(ViewConfig, run, __doc__)
