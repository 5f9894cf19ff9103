"""Formats that people already plot from: Garipov's .npz, Goldstein's .h5, ParaView's .vtp.

Each function takes the arrays of a run's ``curve.npz`` or ``surface.npz`` and writes nothing.
mcjax keeps accuracies from 0 to 1 and losses without L2; these formats differ, and each function
says what it converts.
"""

import base64
import re
from collections.abc import Mapping
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
        accuracy = 100 * arrays.get(f"{prefix}{ours}_accuracy", missing)
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
            found[f"{theirs}_acc"] = 100 * arrays[f"{ours}_accuracy"]
    if "iterate_xy" in arrays:
        found["proj_xcoord"], found["proj_ycoord"] = arrays["iterate_xy"].T
    return found


def vtp(
    arrays: Arrays,
    metric: str = "train_loss",
    log: bool = False,
    clip: float | None = None,
    note: str = "",
) -> str:
    """A surface as VTK PolyData, for ParaView: one quadrilateral a cell of the grid.

    The height, also in the array ``zvalue``, is the metric or its decimal logarithm; what is above
    ``clip`` or not finite lies at ``clip``. Every metric is a point array, unclipped, under mcjax's
    name and in its units; the values are binary, so nan and inf arrive as they are.

    Args:
      arrays: as in ``surface.npz``.
      metric: for example ``train_loss``.
      log: whether the height is ``log10``; what is not above zero is as low as the lowest that is.
        Without anything above zero the height is zero.
      clip: the greatest metric drawn; `mcjax.plots.default_clip` by default, for a loss.
      note: a comment for the file's first lines.
    """
    x, y = np.meshgrid(arrays["x"], arrays["y"])
    height = _height(arrays, metric, log, clip).ravel()
    shape = x.shape
    corner = np.arange(x.size).reshape(shape)[:-1, :-1].ravel()
    quads = corner[:, None] + np.array([0, 1, shape[1] + 1, shape[1]])
    names = [n for n in arrays if n == "l2" or n.startswith(("train_", "validation_"))]
    data = "".join(_array(n, arrays[n].ravel()) for n in names)
    return (
        f'<?xml version="1.0"?>\n<!-- {re.sub("-(?=-)", "- ", note)} -->\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n'
        f'<PolyData><Piece NumberOfPoints="{x.size}" NumberOfPolys="{len(quads)}">\n'
        f'<PointData Scalars="zvalue">\n{_array("zvalue", height)}{data}</PointData>\n'
        f"<Points>\n{_array('Points', np.stack([x.ravel(), y.ravel(), height], 1), 3)}</Points>\n"
        f"<Polys>\n{_array('connectivity', quads)}"
        f"{_array('offsets', 4 + 4 * np.arange(len(quads)))}</Polys>\n"
        "</Piece></PolyData>\n</VTKFile>\n"
    )


def _height(arrays, metric, log, clip):
    values = arrays[metric]
    if clip is None and metric.endswith("loss"):
        clip = plots.default_clip(values, plots.networks(arrays, metric))
    top = values[np.isfinite(values)].max(initial=0) if clip is None else clip
    height = np.minimum(np.where(np.isfinite(values), values, top), top)
    if not log:
        return height
    lowest = height[height > 0].min(initial=max(top, 0))
    return np.log10(np.maximum(height, lowest)) if lowest > 0 else np.zeros_like(height)


def _array(name, values, components=1):
    """A DataArray element: base64 of the number of bytes and of the bytes."""
    kind, dtype = ("Float64", "<f8") if values.dtype.kind == "f" else ("Int64", "<i8")
    raw = np.ascontiguousarray(values, dtype).tobytes()
    text = base64.b64encode(np.array(len(raw), "<u8").tobytes() + raw).decode()
    return (
        f'<DataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{components}" '
        f'format="binary">{text}</DataArray>\n'
    )
