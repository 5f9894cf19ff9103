"""Converts results to established plot formats: Garipov's .npz, Goldstein's .h5, ParaView's .vtp.

Each function takes a profile or surface of `mcjax.results`, and writes no file. mcjax has
accuracies from 0 to 1 and losses without the L2 penalty; each function states what it converts.
"""

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from mcjax import plots
from mcjax.results import (
    CurveOnPlane,
    Iterates,
    PathMetrics,
    Points,
    Profile,
    Surface,
    named,
)

SPLITS = {"tr": "train", "te": "validation"}


def garipov_curve(found: Profile, weight_decay: float) -> dict[str, np.ndarray]:
    """Converts a curve to the keys of ``eval_curve.py`` in timgaripov/dnn-mode-connectivity.

    ``tr_nll`` is mcjax's training loss; ``tr_loss`` adds ``0.5 * weight_decay * ||phi(t)||^2``.
    Accuracies and errors are in percent. ``te_`` is mcjax's validation split. ``_avg`` is the mean
    over the points, ``_int`` the mean over the curve's length. ``dl`` is the length of the curve
    between neighbouring points; theirs is the chord, which is the same on straight pieces. Metrics
    that the run does not have are NaN.

    Args:
      found: metrics along a curve.
      weight_decay: coefficient of the L2 penalty.
    """
    length: Any = found.curve.arc_length
    dl = np.diff(length, prepend=length[0])
    theirs = {"ts": found.t, "dl": dl}
    for name, values in _garipov_metrics(found.curve, weight_decay).items():
        theirs[name] = values
        if not name.endswith("_acc"):
            middles = 0.5 * (values[:-1] + values[1:])
            integral = (middles * dl[1:]).sum() / dl.sum() if dl.sum() else values[0]
            theirs |= {f"{name}_min": values.min(), f"{name}_max": values.max(),
                       f"{name}_avg": values.mean(), f"{name}_int": integral}  # fmt: skip
    return {name: np.asarray(value) for name, value in theirs.items()}


def garipov_plane(found: Surface, weight_decay: float) -> dict[str, np.ndarray]:
    """Converts a surface to the keys of ``plane.py`` in timgaripov/dnn-mode-connectivity.

    Metrics are ``[x, y]`` (mcjax's are ``[y, x]``) and converted as in `garipov_curve`. The L2 term
    of ``tr_loss`` is that of training and of their ``eval_curve.py``, not the sum of the tensors'
    unsquared norms that their ``plane.py`` adds. ``bend_coordinates`` are the first, third and
    second of the plane's points, since their ends are rows 0 and 2. The units of ``alphas`` and
    ``betas`` are the second point's x and the third's y. Without a curve, ``ts`` and
    ``curve_coordinates`` are empty.

    Args:
      found: a surface.
      weight_decay: coefficient of the L2 penalty.
    """
    x, y, points, curve = found.x, found.y, found.points.xy, found.curve
    theirs = {
        "ts": np.zeros(0) if curve is None else curve.t,
        "bend_coordinates": points[[0, 2, 1]],
        "curve_coordinates": np.zeros((0, 2)) if curve is None else curve.xy,
        "alphas": x / points[1, 0],
        "betas": y / points[2, 1],
        "grid": np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1),
    }
    metrics = _garipov_metrics(found, weight_decay)
    return theirs | {name: values.T for name, values in metrics.items()}


def _garipov_metrics(measured: PathMetrics | Surface, weight_decay: float) -> dict[str, np.ndarray]:
    l2: Any = measured.l2
    missing = np.full(l2.shape, np.nan)
    found: dict[str, np.ndarray] = {}
    for theirs, ours in SPLITS.items():
        metrics = measured.metrics.get(ours, {})
        nll = metrics.get("loss", missing)
        accuracy = plots.drawn("accuracy", metrics.get("accuracy", missing))
        found |= {f"{theirs}_loss": nll + 0.5 * weight_decay * l2, f"{theirs}_nll": nll,
                  f"{theirs}_acc": accuracy, f"{theirs}_err": 100 - accuracy}  # fmt: skip
    return found


def goldstein(found: Surface) -> dict[str, np.ndarray]:
    """Converts a surface to the names of tomgoldstein/loss-landscape's surface files.

    ``train_loss``, ``train_acc``, ``test_loss`` and ``test_acc`` have shape
    ``[len(ycoordinates), len(xcoordinates)]``, as their plots expect. Losses are without L2, like
    theirs; accuracies are in percent; "test" is mcjax's validation split; metrics that the run does
    not have are left out. Coordinates are weight distances from the first point. Iterates, if any,
    are ``proj_xcoord`` and ``proj_ycoord``, as in their trajectory files.

    Args:
      found: a surface.
    """
    theirs = {"xcoordinates": found.x, "ycoordinates": found.y}
    for name, ours in (("train", "train"), ("test", "validation")):
        metrics = found.metrics.get(ours, {})
        if "loss" in metrics:
            theirs[f"{name}_loss"] = metrics["loss"]
        if "accuracy" in metrics:
            theirs[f"{name}_acc"] = plots.drawn("accuracy", metrics["accuracy"])
    if found.iterates is not None:
        theirs["proj_xcoord"], theirs["proj_ycoord"] = found.iterates.xy.T
    return theirs


def vtp(
    found: Surface,
    metric: str = "train_loss",
    log: bool = False,
    clip: float | None = None,
    note: str = "",
    along: Profile | None = None,
) -> str:
    """Converts a surface to VTK PolyData for ParaView: one quadrilateral per cell of the grid.

    Networks, iterates and the curve are vertices and lines at their own heights, above their places
    on the plane. The array ``layer`` distinguishes them (0 surface, 1 curve, 2 points, 3 iterates);
    ``distance`` is their distance from the plane. The height, also in the array ``zvalue``, is the
    metric or its decimal logarithm; values above ``clip`` or not finite are drawn at ``clip``.
    Every metric is an unclipped point array under mcjax's name, accuracies in percent as in
    figures. Values are binary, so NaN and inf are preserved.

    Args:
      found: a surface.
      metric: the metric that is the height, such as ``train_loss``.
      log: whether the height is ``log10``; values that are not positive are drawn at the lowest
        positive one. If no value is positive, the height is zero.
      clip: the greatest metric drawn; for a loss, `mcjax.plots.default_clip` by default.
      note: a comment for the file's first lines.
      along: the curve's own metrics; without them, the curve is left out.
    """
    scale = _scale(found, metric, log, clip)
    names = list(_by_name(found))
    layers = [_grid_layer(found), _network_layer(found.networks, names)]
    if found.iterates is not None:
        layers.append(_iterate_layer(found.iterates, names))
    if along is not None and found.curve is not None:
        layers.append(_curve_layer(found.curve, along, names))
    pieces = "".join(_piece(layer, names, scale(layer.data[metric])) for layer in layers)
    return (
        f'<?xml version="1.0"?>\n<!-- {re.sub("-(?=-)", "- ", note)} -->\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
        f"<PolyData>\n{pieces}</PolyData>\n</VTKFile>\n"
    )


def clipped(found: Surface, metric: str, clip: float | None) -> tuple[float, int, int]:
    """Where `vtp` clips the grid, how many heights are above that, and how many are not finite."""
    values, top = plots.drawn(metric, _by_name(found)[metric]), _top(found, metric, clip)
    return top, int((np.isfinite(values) & (values > top)).sum()), int((~np.isfinite(values)).sum())


class _Layer(NamedTuple):
    """A piece of a .vtp file: places ``[N, 2]``, metrics by name, and cells."""

    number: int
    xy: np.ndarray
    data: dict[str, np.ndarray]
    distance: np.ndarray
    cells: dict[str, list[np.ndarray]]


def _by_name(
    measured: Surface | Points | Iterates | PathMetrics,
) -> dict[str, np.ndarray]:
    """Metrics and squared norms, by the names of the file's arrays."""
    return named(measured.metrics) | ({} if measured.l2 is None else {"l2": measured.l2})


def _data(
    measured: Points | Iterates | PathMetrics, names: list[str], count: int
) -> dict[str, np.ndarray]:
    """A layer's values in the units of figures; NaN for metrics that it does not have."""
    there, missing = _by_name(measured), np.full(count, np.nan)
    return {name: plots.drawn(name, there.get(name, missing)) for name in names}


def _grid_layer(found: Surface) -> _Layer:
    x, y = np.meshgrid(found.x, found.y)
    corner = np.arange(x.size).reshape(x.shape)[:-1, :-1].ravel()
    quads = corner[:, None] + np.array([0, 1, x.shape[1] + 1, x.shape[1]])
    data = {n: plots.drawn(n, values.ravel()) for n, values in _by_name(found).items()}
    return _Layer(
        0, np.stack([x.ravel(), y.ravel()], 1), data, np.zeros(x.size), {"Polys": list(quads)}
    )


def _network_layer(networks: Points, names: list[str]) -> _Layer:
    count = len(networks.xy)
    cells = {"Verts": list(np.arange(count)[:, None])}
    return _Layer(2, networks.xy, _data(networks, names, count), np.zeros(count), cells)


def _iterate_layer(iterates: Iterates, names: list[str]) -> _Layer:
    order = np.arange(len(iterates.xy))
    cells = {"Verts": list(order[:, None]), "Lines": [order]}
    data = _data(iterates, names, len(order))
    return _Layer(3, iterates.xy, data, iterates.distance, cells)


def _curve_layer(curve: CurveOnPlane, along: Profile, names: list[str]) -> _Layer:
    t, count = along.t, len(along.t)
    xy = np.stack([np.interp(t, curve.t, side) for side in curve.xy.T], axis=1)
    distance = np.interp(t, curve.t, curve.distance)
    data = _data(along.curve, names, count)
    return _Layer(1, xy, data, distance, {"Lines": [np.arange(count)]})


def _piece(layer: _Layer, names: list[str], height: np.ndarray) -> str:
    """A Piece element: points, cells and data of a layer."""
    count = len(layer.xy)
    number = np.full(count, layer.number)
    data = {"zvalue": height, "layer": number, "distance": layer.distance}
    data |= {name: layer.data[name] for name in names}
    sizes = "".join(f' NumberOf{kind}="{len(cells)}"' for kind, cells in layer.cells.items())
    cells = "".join(
        f"<{kind}>\n{_array('connectivity', np.concatenate(cells))}"
        f"{_array('offsets', np.cumsum([len(cell) for cell in cells]))}</{kind}>\n"
        for kind, cells in layer.cells.items()
    )
    points = np.column_stack([layer.xy, height])
    return (
        f'<Piece NumberOfPoints="{count}"{sizes}>\n<PointData Scalars="zvalue">\n'
        f"{''.join(_array(name, values) for name, values in data.items())}</PointData>\n"
        f"<Points>\n{_array('Points', points, 3)}</Points>\n{cells}</Piece>\n"
    )


def _top(found: Surface, metric: str, clip: float | None) -> float:
    values = plots.drawn(metric, _by_name(found)[metric])
    if clip is None and plots.is_loss(metric):
        clip = plots.default_clip(values, _by_name(found.networks)[metric])
    return values[np.isfinite(values)].max(initial=0) if clip is None else clip


def _scale(
    found: Surface, metric: str, log: bool, clip: float | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from a metric's values to heights."""
    top = _top(found, metric, clip)

    def clip_to_top(values: np.ndarray) -> np.ndarray:
        return np.minimum(np.where(np.isfinite(values), values, top), top)

    grid = clip_to_top(plots.drawn(metric, _by_name(found)[metric]))
    if not log:
        return clip_to_top
    if not (grid > 0).any():
        return lambda values: np.zeros(np.shape(values))
    lowest = grid[grid > 0].min()
    return lambda values: np.log10(np.maximum(clip_to_top(values), lowest))


def _array(name: str, values: np.ndarray, components: int = 1) -> str:
    """A DataArray element: base64 of the number of bytes, then of the bytes."""
    kind, dtype = ("Float64", "<f8") if values.dtype.kind == "f" else ("Int64", "<i8")
    raw = np.ascontiguousarray(values, dtype).tobytes()
    text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode()
    return (
        f'<DataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{components}" '
        f'format="binary">{text}</DataArray>\n'
    )
