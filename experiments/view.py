"""Writes an interactive page of a finished surface or curve: one HTML file that works offline.

    python -m experiments.view --run=runs/plane

The page shows the surface with its curve and iterates, and the profile along the curve; a slider or
the mouse moves a marker on both. For a curve's run, it shows only the profile. Needs plotly, which
is embedded in the page.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.results import CurveOnPlane, Metrics, Profile, Surface, named

from .cli import UsageError, ViewConfig, main, show
from .landscapes import drawing
from .runs import (
    Results,
    along_curve,
    check_output,
    finished,
    label,
    on_surface,
    provenance,
    write_atomically,
)

TEMPLATES = Path(__file__).parent / "page"
LAYERS = ("points", "curve", "segment", "iterates")
HEIGHTS = (
    "Curve, segment and iterates are drawn at their own heights: they float above or below the "
    "surface where they lie off the plane, or where the grid is coarser than the valley. The white "
    "line is the curve projected onto the surface."
)


def run(config: ViewConfig) -> Path:
    """Writes the page.

    Raises:
      UsageError: a flag is wrong, the run is not finished, plotly is missing, or the file cannot be
        written.
    """
    found = finished(config.run, ("surface", "curve"))
    output = Path(config.output) if config.output else found.folder.path / "view.html"
    library = _plotly()
    data, notes = _surface(found) if found.info["kind"] == "surface" else (_curve(found), [])
    check_output(output)
    write_atomically(output, render(data, *_heading(found), notes, library))
    show(f"page: {output}")
    return output


def _plotly() -> str:
    """The text of plotly.js."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UsageError(
            "plotly is not installed: pip install plotly, or mcjax's extra [view]"
        ) from None
    return get_plotlyjs()


def render(data: dict[str, Any], title: str, subtitle: str, notes: list[str], library: str) -> str:
    """Fills the page's template.

    Args:
      data: ``metrics``, ``surface`` and ``profile``, from `_surface` or `_curve`.
      title: the page's title.
      subtitle: the line below the title.
      notes: sentences for the footer.
      library: the text of plotly.js.
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
    """Title and subtitle: the run's networks, its folder, and its provenance."""
    if found.info["kind"] == "surface":
        surface: Surface = found.result
        first, second, third = (str(name) for name in surface.points.name)
        title = f"Plane through {first}, {second} and {third}"
        if surface.directions is not None:
            title = f"Around {first}, along {second} and {third}"
    else:
        start, end = (label(found.info["flags"][which]) for which in ("start", "end"))
        title = f"Curve from {start} to {end}"
    return title, f"{found.folder.path.resolve().name}: {provenance(found.info)}"


def _curve(found: Results) -> dict[str, Any]:
    """The page's data for a curve's run."""
    profile: Profile = found.result
    names = plots.metric_names(profile.curve.metrics)
    paths = [named(path.metrics) for path in profile.paths.values()]
    both = {n: np.concatenate([path[n] for path in paths if n in path]) for n in names}
    return {
        "metrics": [_metric(name, values) for name, values in both.items()],
        "surface": None,
        "profile": _profile(profile, names),
    }


def _surface(found: Results) -> tuple[dict[str, Any], list[str]]:
    """The page's data for a surface's run, and notes for the footer."""
    surface: Surface = found.result
    networks, iterates = surface.networks, surface.iterates
    names = plots.metric_names(networks.metrics)
    page: dict[str, Any] = {
        "x": surface.x,
        "y": surface.y,
        "values": _values(surface.metrics, names),
        "points": _layer(networks.metrics, names, networks.xy) | {"name": networks.name},
    }
    profile: dict[str, Any] | None = None
    notes: list[str] = []
    if iterates is not None:
        page["iterates"] = _layer(iterates.metrics, names, iterates.xy)
        page["iterates"] |= {k: getattr(iterates, k) for k in ("epoch", "name", "distance")}
    if surface.curve is not None:
        along, notes = along_curve(found.info, surface, surface.curve, names)
        profile = _profile(along, names)
        page |= _lines(surface.curve, along, names)
        profile["others"]["distance from the plane"] = {"curve": page["curve"]["distance"]}
    if "iterates" in page or "segment" in page:
        notes = [HEIGHTS, *notes]
    losses = [name for name in names if plots.is_loss(name) and name in named(surface.metrics)]
    words = [*drawing.off_plane_words(surface), *drawing.measured_words(surface, losses)]
    notes += [f"{' '.join(line.split()).capitalize()}." for line in words]
    own, grid = named(networks.metrics), named(surface.metrics)
    metrics = [_metric(name, _shown(page, name), own[name], grid[name]) for name in names]
    return {"metrics": metrics, "surface": page, "profile": profile}, notes


def _shown(page: dict[str, Any], name: str) -> np.ndarray:
    """All values of a metric: on the grid, and of the layers drawn on it."""
    layers = [page[layer] for layer in LAYERS if layer in page]
    return np.concatenate([page["values"][name].ravel(), *(x["values"][name] for x in layers)])


def _lines(curve: CurveOnPlane, along: Profile, names: list[str]) -> dict[str, Any]:
    """Layers of the curve and the segment, at the profile's t."""
    found = {
        path: _layer(one.metrics, names, on_surface(curve, path, along.t))
        for path, one in along.paths.items()
    }
    for name, values in (("distance", curve.distance), ("off", plots.off_plane(curve))):
        found["curve"][name] = np.interp(along.t, curve.t, values)
    return found


def _profile(profile: Profile, names: list[str]) -> dict[str, Any]:
    """Metrics along the curve and the segment, and further rows of the table."""
    paths = profile.paths
    lengths = {p: x.arc_length for p, x in paths.items() if x.arc_length is not None}
    return {
        "t": profile.t,
        **{path: _values(one.metrics, names) for path, one in paths.items()},
        "others": {"length from the start": lengths} if lengths else {},
    }


def _layer(metrics: Metrics, names: list[str], xy: np.ndarray) -> dict[str, Any]:
    """Coordinates and metrics of points on the surface."""
    return {"x": xy[:, 0], "y": xy[:, 1], "values": _values(metrics, names)}


def _values(metrics: Metrics, names: list[str]) -> dict[str, np.ndarray]:
    """Metrics by name, in the units of figures."""
    by_name = named(metrics)
    return {name: plots.drawn(name, by_name[name]) for name in names}


def _metric(
    name: str,
    values: np.ndarray,
    points: np.ndarray | None = None,
    grid: np.ndarray | None = None,
) -> dict[str, Any]:
    """A metric's label, whether its scale can be logarithmic, and where a surface is clipped."""
    loss = plots.is_loss(name)
    clipped = loss and points is not None and grid is not None
    return {
        "key": name,
        "label": plots.metric_words(name),
        "log": loss and not (values < 0).any(),
        "clip": plots.default_clip(grid, points) if clipped else None,
    }


def _plain(value: Any) -> Any:
    """Converts to JSON values; None for numbers that are not finite."""
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
