"""Formats that people already plot from: Garipov's .npz, Goldstein's .h5, ParaView's .vtp.

Each function takes the arrays of a run's ``curve.npz`` or ``surface.npz`` and writes nothing.
mcjax keeps accuracies from 0 to 1 and losses without L2; these formats differ, and each function
says what it converts.
"""

import base64
import re
from collections.abc import Mapping
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from mcjax import plots

Arrays = Mapping[str, np.ndarray]
SPLITS = {"tr": "train", "te": "validation"}


def garipov_curve(arrays: Arrays, weight_decay: float) -> dict[str, np.ndarray]:
    """The keys that ``eval_curve.py`` of timgaripov/dnn-mode-connectivity writes, of the curve.

    ``tr_nll`` is mcjax's training loss, ``tr_loss`` is that plus ``0.5 * weight_decay *
    ||phi(t)||^2``; accuracies and errors are percents; ``te_`` is mcjax's validation split;
    ``_avg`` is the mean over the points and ``_int`` the mean over the curve's length. ``dl`` is
    the length of the curve between neighbouring points, of which theirs takes the chord: the same
    on straight pieces. A metric that the run does not have is nan.

    Args:
      arrays: as in ``curve.npz``.
      weight_decay: of the L2 penalty.
    """
    length = arrays["curve_arc_length"]
    dl = np.diff(length, prepend=length[0])
    found = {"ts": arrays["t"], "dl": dl}
    for name, values in _garipov_metrics(arrays, "curve_", weight_decay).items():
        found[name] = values
        if not name.endswith("_acc"):
            middles = 0.5 * (values[:-1] + values[1:])
            integral = (middles * dl[1:]).sum() / dl.sum() if dl.sum() else values[0]
            found |= {f"{name}_min": values.min(), f"{name}_max": values.max(),
                      f"{name}_avg": values.mean(), f"{name}_int": integral}  # fmt: skip
    return {name: np.asarray(value) for name, value in found.items()}


def garipov_plane(arrays: Arrays, weight_decay: float) -> dict[str, np.ndarray]:
    """The keys that ``plane.py`` of timgaripov/dnn-mode-connectivity writes.

    Metrics are ``[x, y]`` (mcjax's are ``[y, x]``), converted as in `garipov_curve`; the L2 term of
    ``tr_loss`` is that of their ``eval_curve.py`` and of training, not the sum of the tensors'
    unsquared norms that their ``plane.py`` adds. ``bend_coordinates`` are the first, third and
    second of the plane's points: their ends are rows 0 and 2. ``alphas`` and ``betas`` count in the
    second point's x and the third's y. Without a curve ``ts`` and ``curve_coordinates`` are empty.

    Args:
      arrays: as in ``surface.npz``.
      weight_decay: of the L2 penalty.
    """
    x, y, points = arrays["x"], arrays["y"], arrays["point_xy"]
    found = {
        "ts": arrays.get("curve_t", np.zeros(0)),
        "bend_coordinates": points[[0, 2, 1]],
        "curve_coordinates": arrays.get("curve_xy", np.zeros((0, 2))),
        "alphas": x / points[1, 0],
        "betas": y / points[2, 1],
        "grid": np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1),
    }
    metrics = _garipov_metrics(arrays, "", weight_decay)
    return found | {name: values.T for name, values in metrics.items()}


def _garipov_metrics(arrays, prefix, weight_decay):
    l2 = arrays[f"{prefix}l2"]
    missing = np.full(l2.shape, np.nan)
    found = {}
    for theirs, ours in SPLITS.items():
        nll = arrays.get(f"{prefix}{ours}_loss", missing)
        accuracy = plots.drawn("accuracy", arrays.get(f"{prefix}{ours}_accuracy", missing))
        found |= {f"{theirs}_loss": nll + 0.5 * weight_decay * l2, f"{theirs}_nll": nll,
                  f"{theirs}_acc": accuracy, f"{theirs}_err": 100 - accuracy}  # fmt: skip
    return found


def goldstein(arrays: Arrays) -> dict[str, np.ndarray]:
    """The names of a surface file of tomgoldstein/loss-landscape.

    ``train_loss``, ``train_acc``, ``test_loss`` and ``test_acc`` have shape
    ``[len(ycoordinates), len(xcoordinates)]``, as their plots read them; losses are without L2, as
    theirs; accuracies are percents; "test" is mcjax's validation split; metrics that the run does
    not have are left out. Coordinates are weight distances from the first point. Iterates, if any,
    are ``proj_xcoord`` and ``proj_ycoord``, as in their trajectory files.

    Args:
      arrays: as in ``surface.npz``.
    """
    found = {"xcoordinates": arrays["x"], "ycoordinates": arrays["y"]}
    for theirs, ours in (("train", "train"), ("test", "validation")):
        if f"{ours}_loss" in arrays:
            found[f"{theirs}_loss"] = arrays[f"{ours}_loss"]
        if f"{ours}_accuracy" in arrays:
            found[f"{theirs}_acc"] = plots.drawn("accuracy", arrays[f"{ours}_accuracy"])
    if "iterate_xy" in arrays:
        found["proj_xcoord"], found["proj_ycoord"] = arrays["iterate_xy"].T
    return found


def vtp(
    arrays: Arrays,
    metric: str = "train_loss",
    log: bool = False,
    clip: float | None = None,
    note: str = "",
    along: Arrays | None = None,
) -> str:
    """A surface as VTK PolyData, for ParaView: one quadrilateral a cell of the grid.

    The points that are networks, the iterates and the curve are vertices and lines at their own
    heights, over their places on the plane; the array ``layer`` tells them apart (0 surface,
    1 curve, 2 points, 3 iterates) and ``distance`` says how far from the plane they are. The
    height, also in the array ``zvalue``, is the metric or its decimal logarithm; what is above
    ``clip`` or not finite lies at ``clip``. Every metric is a point array, unclipped, under mcjax's
    name; accuracies are percents, as in figures; the values are binary, so nan and inf arrive as
    they are.

    Args:
      arrays: as in ``surface.npz``.
      metric: for example ``train_loss``.
      log: whether the height is ``log10``; what is not above zero is as low as the lowest that is.
        Without anything above zero the height is zero.
      clip: the greatest metric drawn; `mcjax.plots.default_clip` by default, for a loss.
      note: a comment for the file's first lines.
      along: the curve's own metrics, ``t`` and ``curve_METRIC``; without them it is left out.
    """
    scale = _scale(arrays, metric, log, clip)
    names = [n for n in arrays if n == "l2" or n.startswith(("train_", "validation_"))]
    layers = [_grid_layer(arrays, names), _network_layer(arrays, names)]
    if "iterate_xy" in arrays:
        layers.append(_iterate_layer(arrays, names))
    if along is not None and "curve_xy" in arrays:
        layers.append(_curve_layer(arrays, along, names))
    pieces = "".join(_piece(layer, names, scale(layer.data[metric])) for layer in layers)
    return (
        f'<?xml version="1.0"?>\n<!-- {re.sub("-(?=-)", "- ", note)} -->\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
        f"<PolyData>\n{pieces}</PolyData>\n</VTKFile>\n"
    )


def clipped(arrays: Arrays, metric: str, clip: float | None) -> tuple[float, int, int]:
    """Where `vtp` clips the grid, and how many of its heights are over that or not finite."""
    values, top = plots.drawn(metric, arrays[metric]), _top(arrays, metric, clip)
    return top, int((np.isfinite(values) & (values > top)).sum()), int((~np.isfinite(values)).sum())


class _Layer(NamedTuple):
    """What one piece of a .vtp file holds: places ``[N, 2]``, metrics by name, and cells."""

    number: int
    xy: np.ndarray
    data: dict[str, np.ndarray]
    distance: np.ndarray
    cells: dict[str, list[np.ndarray]]


def _grid_layer(arrays, names):
    x, y = np.meshgrid(arrays["x"], arrays["y"])
    corner = np.arange(x.size).reshape(x.shape)[:-1, :-1].ravel()
    quads = corner[:, None] + np.array([0, 1, x.shape[1] + 1, x.shape[1]])
    data = {n: plots.drawn(n, arrays[n].ravel()) for n in names}
    return _Layer(
        0, np.stack([x.ravel(), y.ravel()], 1), data, np.zeros(x.size), {"Polys": list(quads)}
    )


def _network_layer(arrays, names):
    xy = plots.networks(arrays, "xy")
    missing = np.full(len(arrays["point_xy"]), np.nan)
    found = {f"point_{n}": arrays.get(f"point_{n}", missing) for n in names}
    if "direction_norm" in arrays:
        found["direction_norm"] = arrays["direction_norm"]
    data = {n: plots.drawn(n, plots.networks(found, n)) for n in names}
    return _Layer(2, xy, data, np.zeros(len(xy)), {"Verts": list(np.arange(len(xy))[:, None])})


def _iterate_layer(arrays, names):
    xy = arrays["iterate_xy"]
    missing = np.full(len(xy), np.nan)
    data = {n: plots.drawn(n, arrays.get(f"iterate_{n}", missing)) for n in names}
    order = np.arange(len(xy))
    cells = {"Verts": list(order[:, None]), "Lines": [order]}
    return _Layer(3, xy, data, arrays["iterate_distance"], cells)


def _curve_layer(arrays, along, names):
    t, missing = along["t"], np.full(len(along["t"]), np.nan)
    at = lambda values: np.interp(t, arrays["curve_t"], values)  # noqa: E731
    data = {n: plots.drawn(n, along.get(f"curve_{n}", missing)) for n in names}
    xy = np.stack([at(side) for side in arrays["curve_xy"].T], axis=1)
    return _Layer(1, xy, data, at(arrays["curve_distance"]), {"Lines": [np.arange(len(t))]})


def _piece(layer, names, height):
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


def _top(arrays, metric, clip):
    values = plots.drawn(metric, arrays[metric])
    if clip is None and metric.endswith("loss"):
        clip = plots.default_clip(values, plots.networks(arrays, metric))
    return values[np.isfinite(values)].max(initial=0) if clip is None else clip


def _scale(arrays, metric, log, clip):
    """The function from a metric's values to heights."""
    top = _top(arrays, metric, clip)

    def clip_to_top(values):
        return np.minimum(np.where(np.isfinite(values), values, top), top)

    grid = clip_to_top(plots.drawn(metric, arrays[metric]))
    if not log:
        return clip_to_top
    if not (grid > 0).any():
        return lambda values: np.zeros(np.shape(values))
    lowest = grid[grid > 0].min()
    return lambda values: np.log10(np.maximum(clip_to_top(values), lowest))


def _array(name, values, components=1):
    """A DataArray element: base64 of the number of bytes and of the bytes."""
    kind, dtype = ("Float64", "<f8") if values.dtype.kind == "f" else ("Int64", "<i8")
    raw = np.ascontiguousarray(values, dtype).tobytes()
    text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode()
    return (
        f'<DataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{components}" '
        f'format="binary">{text}</DataArray>\n'
    )
