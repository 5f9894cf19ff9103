"""Figures of surfaces: metrics on a plane (Figs. 3, 5 and 6)."""

import itertools
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scipy
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import results
from mcjax.plots import colour_scale, label_placement, styles
from mcjax.plots.styles import plain
from mcjax.typing import Bool, Int, Num

OFF_PLANE = 0.1
"""A curve farther from the plane than this share of its extent is dotted."""
ROOM = 0.03
"""Iterates closer to others than this share of the surface's extent have small markers, and those
closer than twice as much to the surface's points."""
FIRST_NAMED = 5
"""How many iterates are labelled first: the first, the last and some between."""
FINE = 120
"""Points per side between which contours are drawn."""


def surface(
    ax: Axes,
    found: results.Surface,
    metric: str,
    labels: Sequence[str] | None = None,
    clip: float | None = None,
) -> Axes:
    """A metric on a plane, with what lies on it or is projected onto it (Figs. 3, 5 and 6).

    Values are filled contours of a monotone interpolation between the grid's points, of the log of
    losses: it meets every point, and has no minimum or maximum between them. Losses have a log
    scale if none is below zero; zero then has the lowest colour. Values above ``clip`` are grey,
    values that are not finite grey and hatched. Markers have the colour of the point's own value.
    An iterate's may differ from the colour around it: it lies off the plane, at the distance in
    parentheses. Where a curve is off the plane by more than a tenth of its extent, it is dotted on
    a white band. Markers of iterates are small where these are close together; as many are labelled
    as there is room for. The legend says if points were interpolated, or measured on a sample.

    Args:
      ax: where to draw; its aspect becomes equal.
      found: the surface, with its curve and iterates if there are any.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      labels: names of the three points; the surface's by default.
      clip: the upper end of the colour scale; by default `default_clip`.

    Raises:
      ValueError: the surface does not have the metric.

    >>> xy, names = np.array([[0.0, 0], [4, 0], [1, 3]]), np.array(["a", "b", "c"])
    >>> points = results.Points(xy, names, {"train": {"loss": np.ones(3)}})
    >>> x, y = np.linspace(-1, 5, 4), np.linspace(-1, 4, 3)
    >>> metrics = {"train": {"loss": np.arange(1.0, 13).reshape(3, 4)}}
    >>> found = results.Surface(x, y, metrics, points)
    >>> surface(Figure().subplots(), found, "train_loss").get_xlabel()
    'weight distance from a towards b'
    """
    labels = [str(name) for name in found.points.name] if labels is None else labels
    labels = [plain(name) for name in labels]
    scale = _contours(ax, found, metric, clip)
    shown = found.networks.xy
    around = found.directions is not None
    segments: list[np.ndarray] = [] if around else [found.points.xy[:2]]
    lines = list(segments)
    for xy in segments:
        ax.plot(*xy.T, "--", lw=1.1, label="segment", **_ink())
    markers = [shown]
    named = [label_placement.Label(n, xy, True) for n, xy in zip(labels, shown, strict=False)]
    if found.curve is not None:
        _curve(ax, found.curve)
        lines.append(found.curve.xy)
        markers.append(_bends(ax, found, found.curve))
    if found.iterates is not None:
        marked = _iterates(ax, found, found.iterates, metric, scale)
        lines.append(found.iterates.xy)
        markers.append(found.iterates.xy)
        named += _names(found.iterates, marked)
        for xy in segments:  # over the iterates, which may lie on it
            ax.plot(*xy.T, "--", lw=1.1, color="black", zorder=4.5)
    _points(ax, found.networks, metric, scale)
    for text in _measured(found, metric):
        ax.plot([], [], lw=0, label=text)
    ax.add_artist(label_placement.Labels(ax, named, lines, np.concatenate(markers)))
    ax.set(aspect="equal", xlim=found.x[[0, -1]], ylim=found.y[[0, -1]])
    towards = f"along {labels[1]}" if around else f"from {labels[0]} towards {labels[1]}"
    ax.set_xlabel(f"weight distance {towards}")
    second = (
        f"weight distance\nalong {labels[2]}" if around else "orthogonal distance\nin weight space"
    )
    ax.set_ylabel(second)
    ax.grid(False)
    return ax


def surface_figure(
    found: results.Surface,
    metrics: str | Sequence[str],
    labels: Sequence[str] | None = None,
    clip: float | None = None,
) -> Figure:
    """A `surface` per metric, side by side and lettered, with a legend.

    Args:
      found: the surface.
      metrics: one, such as ``train_loss``, or several.
      labels: names of the three points; the surface's by default.
      clip: the upper end of the colour scales; by default `default_clip`.

    Raises:
      ValueError: the surface does not have a metric.

    >>> xy, names = np.array([[0.0, 0], [4, 0], [1, 3]]), np.array(["a", "b", "c"])
    >>> points = results.Points(xy, names, {"train": {"loss": np.ones(3)}})
    >>> x, y = np.linspace(-1, 5, 4), np.linspace(-1, 4, 3)
    >>> metrics = {"train": {"loss": np.arange(1.0, 13).reshape(3, 4)}}
    >>> found = results.Surface(x, y, metrics, points)
    >>> surface_figure(found, ["train_loss", "test_loss"])
    Traceback (most recent call last):
    ValueError: the surface has no test_loss; it has train_loss
    """
    metrics = [metrics] if isinstance(metrics, str) else metrics
    columns = max(1, min(len(metrics), int(plt.rcParams["figure.figsize"][0] // 3)))
    aspect = np.ptp(found.y) / np.ptp(found.x)
    figure, axes = styles.grid(-(-len(metrics) // columns), columns, min(aspect, 1.5))
    for letter, ax, metric in zip(string.ascii_lowercase, axes.flat, metrics, strict=False):
        surface(ax, found, metric, labels, clip)
        if len(metrics) > 1:
            ax.set_title(f"({letter})", loc="left")
    _legend(figure, axes)
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    _fit_height(figure, axes, aspect)
    return figure


def _measured(found: results.Surface, metric: str) -> Iterator[str]:
    """What the legend says of points that were interpolated, or measured on a sample."""
    if found.refinement is not None and not found.refinement.evaluated.all():
        share = percent(found.refinement.evaluated.mean())
        yield f"{share} of the points evaluated, the others interpolated"
    if found.sampling is None:
        return
    limit = found.sampling.stop_above
    where = "" if limit is None else f" above {styles.number(limit, 3)}"
    for split, (part, whole) in found.sampling.examples.items():
        if metric.startswith(f"{split}_") and part < whole:
            yield f"{plain(split)}{where}: measured on {part:,} of {whole:,} examples"


def _legend(figure: Figure, axes: np.ndarray) -> None:
    """Adds one legend for all panels, in as many columns as fit."""
    handles: dict[str, Any] = {}  # by label: panels may have different entries
    for ax in axes.flat:
        artists, names = ax.get_legend_handles_labels()
        handles |= dict(zip(names, artists, strict=True))
    if not handles:
        return
    font = font_manager.FontProperties(size=plt.rcParams["legend.fontsize"])
    letters = figure.get_figwidth() * 72 / (0.58 * font.get_size_in_points())  # per line
    ncols = max(n for n in range(1, len(handles) + 1) if n == 1 or _letters(handles, n) < letters)
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=ncols,
        labelspacing=0.35, columnspacing=1.5, borderaxespad=0.3, borderpad=0.2,
    )  # fmt: skip


def _letters(names: Iterable[str], ncols: int) -> int:
    """About how many letters wide a legend of ``ncols`` columns is."""
    widths = [max(len(line) for line in name.split("\n")) + 6 for name in names]
    return sum(int(max(column)) for column in np.array_split(widths, ncols))


def _fit_height(figure: Figure, axes: np.ndarray, aspect: float) -> None:
    """Sets the figure's height so that panels are ``aspect`` times as high as wide.

    The layout is computed for panels that fill their cells, and then fixed: the layout engine does
    not know that an equal aspect shrinks them, and would let labels overlap.
    """
    for ax in axes.flat:
        ax.set_aspect("auto")
    layout = figure.get_layout_engine()
    assert layout is not None
    figure.set_figheight(figure.get_figheight() + 3)  # room for a legend of many lines
    for _ in range(2):  # margins depend a little on the height
        layout.execute(figure)
        width, height = figure.get_size_inches()
        place, rows = axes[0, 0].get_position(), len(axes)
        panel = np.clip(aspect * place.width * width, 1.0, 8.0 / rows)
        figure.set_figheight(height * (1 - rows * place.height) + rows * panel)
    layout.execute(figure)
    figure.set_layout_engine("none")
    for ax in axes.flat:
        ax.set_aspect("equal")


def _contours(
    ax: Axes, found: results.Surface, metric: str, clip: float | None
) -> colour_scale.Scale:
    """Draws filled contours, contour lines and the colour bar; returns the scale."""
    scale = colour_scale.make(found, metric, clip)
    values = styles.values(found.metrics, metric, "surface")
    finite, levels = np.isfinite(values), scale.levels
    clipped = bool((values[finite] > levels[-1]).any()) or not finite.all()
    above = 10 * levels[-1] if scale.log else 2 * levels[-1] - levels[0]
    shown = np.clip(np.where(finite, values, np.inf), levels[0], above)
    fine = _finer(found.x, found.y, shown, scale.log)
    filled = ax.contourf(
        *fine, levels, cmap=scale.cmap, norm=scale.norm, extend="max" if clipped else "neither"
    )
    ax.contour(*fine, levels, colors="white", linewidths=0.4, alpha=0.5, linestyles="solid")
    if not finite.all():
        with plt.rc_context({"hatch.color": "0.45", "hatch.linewidth": 0.6}):
            ax.contourf(found.x, found.y, ~finite, [0.02, 1.5], colors="none", hatches=["///"])
        ax.fill_between([], [], [], fc="0.82", ec="0.45", hatch="///", label="not finite")
    bar = ax.figure.colorbar(filled, ax=ax, label=styles.metric_label(metric), pad=0.02)
    at, texts = scale.ticks(int(np.clip(_height(ax) / 0.25, 3, 12)))
    bar.set_ticks(at.tolist(), labels=texts)
    bar.minorticks_off()
    if clipped:
        top = styles.number(levels[-1], 3)
        bar.ax.set_title(f"${{>}}$ {top}\nclipped", fontsize="small")
    return scale


def _finer(
    x: Num[np.ndarray, " x"], y: Num[np.ndarray, " y"], values: Num[np.ndarray, "y x"], log: bool
) -> tuple[Num[np.ndarray, " X"], Num[np.ndarray, " Y"], Num[np.ndarray, "Y X"]]:
    """Interpolates finite values monotonically along x, then y; the grid's points are kept."""
    for axis, at in ((1, x), (0, y)):
        parts = -(-FINE // (len(at) - 1))
        fine = np.interp(np.arange((len(at) - 1) * parts + 1) / parts, np.arange(len(at)), at)
        known = np.log(values) if log else values
        values = scipy.interpolate.PchipInterpolator(at, known, axis=axis)(fine)
        values = np.exp(values) if log else values
        x, y = (fine, y) if axis else (x, fine)
    return x, y, values


def _height(ax: Axes) -> float:
    """In inches."""
    return ax.get_window_extent().height / ax.figure.dpi


def _ink() -> dict[str, Any]:
    """The look of lines over colours."""
    return {"color": "black", "path_effects": [label_placement.halo("white", 2.8)], "zorder": 3}


def _points(ax: Axes, networks: results.Points, metric: str, scale: colour_scale.Scale) -> None:
    """Draws the points, each with a black ring inside a white one."""
    x, y = networks.xy.T
    size = plt.rcParams["lines.markersize"]
    values = scale.seen(styles.values(networks.metrics, metric, "surface's points"))
    filled = {"s": (1.33 * size) ** 2, "c": values, "zorder": 5, "cmap": scale.cmap,
              "norm": scale.norm, "plotnonfinite": True}  # fmt: skip
    ax.scatter(x, y, ec="white", lw=size / 1.5, **filled)
    ax.scatter(x, y, ec="black", lw=size / 3.8, **filled)


def off_plane(seen: results.CurveOnPlane | results.Iterates) -> Bool[np.ndarray, " points"]:
    """Where a curve, or a run, is too far from the plane for the surface's colours to apply.

    Args:
      seen: the curve or the iterates of a surface.

    >>> t, xy = np.array([0.0, 0.5, 1]), np.array([[0.0, 0], [2, 1], [4, 0]])
    >>> off_plane(results.CurveOnPlane(t, xy, np.array([0.0, 1, 0]), xy))
    array([False,  True, False])
    """
    return seen.distance > OFF_PLANE * _extent(seen)


def _extent(seen: results.CurveOnPlane | results.Iterates) -> float:
    return float(np.ptp(seen.xy, axis=0).max())


def _curve(ax: Axes, curve: results.CurveOnPlane) -> None:
    """Draws the curve: solid near the plane, dotted elsewhere."""
    xy, off, most = curve.xy, off_plane(curve), curve.distance.max()
    if not off.all():
        near = most > 1e-3 * _extent(curve) and not off.any()
        label = f"curve (up to {most:.2g} from the plane)" if near else "curve"
        ax.plot(*np.where(off[:, None], np.nan, xy).T, "-", lw=1.5, label=label, **_ink())
    if off.any():
        reach = off | np.append(off[1:], False) | np.insert(off[:-1], 0, False)
        x, y = np.where(reach[:, None], xy, np.nan).T
        ax.plot(x, y, "-", color="white", lw=5, solid_capstyle="butt", zorder=2.8)
        ax.plot(
            x, y, ":", color="black", lw=1.5, zorder=2.9,
            label=f"curve off the plane (by up to {most:.2g}):\ncolours beside it are not its own",
        )  # fmt: skip


def _bends(
    ax: Axes, found: results.Surface, curve: results.CurveOnPlane
) -> Num[np.ndarray, "marked 2"]:
    """Marks bends and ends of the curve that are not among the points; returns the marked ones."""
    size, controls = np.ptp(found.x), curve.control_xy
    apart = np.linalg.norm(found.points.xy[:, None] - controls, axis=-1).min(axis=0)
    away = apart > 0.01 * size
    inner = np.arange(len(controls)) % (len(controls) - 1) > 0
    for marker, label, which in (("s", "bend of the curve", inner), ("o", "its end", ~inner)):
        if (which & away).any():
            ax.plot(*controls[which & away].T, marker, ms=5, mfc="white", mec="black", zorder=4,
                    label=label)  # fmt: skip
    return controls[away]


def _iterates(
    ax: Axes,
    found: results.Surface,
    iterates: results.Iterates,
    metric: str,
    scale: colour_scale.Scale,
) -> Int[np.ndarray, " marked"]:
    """Draws the path through the iterates, with arrows where there is room, and their markers.

    Returns:
      Indices of the iterates that have a marker: those that are not points of the surface.
    """
    xy, ink = iterates.xy, styles.color(1)
    themselves, close = _crowded(found, iterates)
    ax.plot(*xy.T, color=ink, lw=1, zorder=2.95)
    for start, end in itertools.pairwise(xy):
        if np.linalg.norm(end - start) > 2 * ROOM * _size(found):
            ax.annotate(
                "", end, start, zorder=2.95,
                arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1, "mutation_scale": 8,
                            "shrinkA": 0, "shrinkB": 3},
            )  # fmt: skip
    values = scale.seen(styles.values(iterates.metrics, metric, "iterates"))
    point = plt.rcParams["lines.markersize"]
    share = "" if iterates.variance_share is None else percent(iterates.variance_share)
    label = _iterates_label(plain(share), bool(close.any()))
    for which, size, zorder in ((~themselves & ~close, 0.85, 4), (close, 0.45, 5.5)):
        if which.any():
            ax.scatter(
                xy[which, 0], xy[which, 1], (size * point) ** 2, values[which],
                ec=ink, lw=1.5 * size, zorder=zorder, cmap=scale.cmap, norm=scale.norm,
                plotnonfinite=True, label=label,
            )  # fmt: skip
            label = ""
    return np.flatnonzero(~themselves)


def _iterates_label(share: str, close: bool) -> str:
    """The legend's entry; ``close``: whether some are close together."""
    lines = ["iterate: epoch (distance from the plane)" + ("; small where close" if close else "")]
    if share:
        lines.append(f"the plane holds {share} of the iterates' variance")
    return "\n".join(lines)


def percent(share: float) -> str:
    """Formats a share, such as that of the iterates' variance in the plane.

    >>> percent(0.1234), percent(0.005)
    ('12 %', '0.5 %')
    """
    return f"{styles.number(100 * share, 2)} %"


def _size(found: results.Surface) -> float:
    return float(max(np.ptp(found.x), np.ptp(found.y)))


def _crowded(
    found: results.Surface, iterates: results.Iterates
) -> tuple[Bool[np.ndarray, " iterates"], Bool[np.ndarray, " iterates"]]:
    """Which iterates coincide with the surface's points, and which others have small markers.

    These are close to a point, or to an iterate with a large marker: the first, the last, or one
    before them.
    """
    xy, points, size = iterates.xy, found.networks.xy, _size(found)
    apart = np.linalg.norm(points[:, None] - xy, axis=-1).min(axis=0)
    themselves = (apart < 2e-3 * size) & (iterates.distance < 2e-3 * size)
    close, large = ~themselves & (apart < 2 * ROOM * size), np.empty((0, 2))
    for index in dict.fromkeys((0, len(xy) - 1, *range(len(xy)))):
        if not themselves[index] and not close[index]:
            room = np.linalg.norm(large - xy[index], axis=1).min(initial=np.inf)
            close[index] = room < ROOM * size
            large = large if close[index] else np.append(large, xy[index : index + 1], axis=0)
    return themselves, close


def _names(
    iterates: results.Iterates, marked: Int[np.ndarray, " marked"]
) -> list[label_placement.Label]:
    """Labels: of the first, the last and some iterates evenly along their path, then the others."""
    if not len(marked):
        return []
    steps = np.linalg.norm(np.diff(iterates.xy[marked], axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    even = [int(np.abs(way - at).argmin()) for at in np.linspace(0, way[-1], FIRST_NAMED)]
    order = dict.fromkeys((0, len(marked) - 1, *even, *range(len(marked))))
    return [
        label_placement.Label(
            f"{iterates.epoch[i]} ({iterates.distance[i]:.2g})",
            iterates.xy[i],
            optional=place not in (0, len(marked) - 1),
        )
        for place, i in ((place, marked[place]) for place in order)
    ]
