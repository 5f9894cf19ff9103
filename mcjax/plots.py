"""Figures from arrays, never from live state. Each function draws into axes and returns them.

Panels (`profile`, `surface`, `barriers`) draw into any axes, in whatever style is current; figures
(`curve_figure`, `surface_figure`, `barrier_matrix`) compose them, as wide as the style's
``figure.figsize``. mcjax's own look is the context `style`:

>>> arrays = {"t": np.linspace(0, 1, 3), "curve_train_loss": np.array([0.1, 0.3, 0.2])}
>>> with style("mcjax.one_column"):
...     figure = Figure(layout="constrained")
...     ax = profile(figure.subplots(), arrays, "train_loss", paths=["curve"])
>>> float(figure.get_figwidth()), ax.get_ylabel()
(3.25, 'training loss')
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colors, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax import labelling

STYLE = "mcjax.mcjax"
"""matplotlib's name for ``mcjax/mcjax.mplstyle``."""
FORMATS = ("pdf", "svg", "png")
"""What `save` writes, in this order."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's; used where a style has no colours of its own."""
PATH_STYLES = {"curve": {"linestyle": "-"}, "segment": {"linestyle": "--"}}
ROUND_STEPS = (
    (1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
)  # fmt: skip
"""What a colour bar may count a decade in."""
METRIC_LABELS = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy (%)",
    "validation_accuracy": "validation accuracy (%)",
}


def style(*more: str | Path) -> contextlib.AbstractContextManager[None]:
    """The look of mcjax, as a context, for drawing and saving.

    Args:
      more: matplotlib styles on top of it, by name or ``.mplstyle`` file, the last one strongest;
        ``mcjax.one_column`` makes figures one column wide.
    """
    return plt.style.context([STYLE, *more])


def color(index: int) -> str:
    """The style's n-th colour for lines."""
    cycle = plt.rcParams["axes.prop_cycle"].by_key().get("color", COLORS)
    return cycle[index % len(cycle)]


def grid(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the style says, and its axes ``[rows, columns]``.

    Args:
      rows: of panels.
      columns: likewise.
      height: of a panel, in units of its width.
      options: for ``Figure.subplots``.
    """
    width = plt.rcParams["figure.figsize"][0]
    figure = Figure(figsize=(width, rows * height * width / columns), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def profile(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    metric: str,
    paths: Sequence[str] = tuple(PATH_STYLES),
) -> Axes:
    """One metric along one or more paths.

    Args:
      ax: where to draw.
      arrays: ``t`` and ``PATH_METRIC`` as in ``curve.npz``.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      paths: which of ``curve`` and ``segment`` to draw.

    Raises:
      ValueError: the arrays do not have the metric.
    """
    for path in paths:
        _check_metric(arrays, metric, f"{path}_")
    scale = 100 if metric.endswith("accuracy") else 1
    for path in paths:
        values = scale * arrays[f"{path}_{metric}"]
        look = {"color": color(list(PATH_STYLES).index(path)), **PATH_STYLES[path]}
        ax.plot(arrays["t"], values, label=path, **look)
    ax.set_xlabel("t")
    ax.set_ylabel(metric_label(metric))
    ax.set_xlim(0, 1)
    if scale == 100:  # no axis up to 105 %
        ax.set_ylim(top=min(ax.get_ylim()[1], 101), auto=True)
    return ax


def metric_names(arrays: Mapping[str, np.ndarray], prefix: str = "") -> list[str]:
    """Names of the metrics in the order of their panels: the library's own, then all others.

    >>> three, one = np.ones(3), np.ones(())
    >>> metric_names({"curve_train_F1": three, "curve_train_loss": three, "curve_l2": three,
    ...               "curve_train_loss_mean": one}, "curve_")
    ['train_loss', 'train_F1']
    """
    splits = (f"{prefix}train_", f"{prefix}validation_")
    names = [n.removeprefix(prefix) for n, x in arrays.items() if n.startswith(splits) and x.ndim]
    known = [name for name in METRIC_LABELS if name in names]
    metrics = list(dict.fromkeys(name.partition("_")[2] for name in names))
    own = [name for name in names if name not in known]  # a metric's splits side by side
    return known + sorted(own, key=lambda name: metrics.index(name.partition("_")[2]))


def metric_label(name: str) -> str:
    """What a metric is called in figures; accuracies are drawn in percent.

    >>> metric_label("validation_F1"), metric_label("train_top5_accuracy")
    ('validation F1', 'training top5 accuracy (%)')
    """
    if name in METRIC_LABELS:
        return METRIC_LABELS[name]
    split, _, metric = name.partition("_")
    words = f"{'training' if split == 'train' else split} {metric.replace('_', ' ')}".strip()
    return f"{words} (%)" if name.endswith("accuracy") else words


def _check_metric(arrays, metric, prefix):
    if f"{prefix}{metric}" not in arrays:
        there = metric_names(arrays, prefix)
        raise ValueError(f"there is no {prefix}{metric}; of metrics there are {', '.join(there)}")


def curve_figure(arrays: Mapping[str, np.ndarray], title: str) -> Figure:
    """All metrics of a curve and its segment, one panel each."""
    metrics = metric_names(arrays, "curve_")
    height = 0.72 if plt.rcParams["figure.figsize"][0] > 5 else 0.9
    columns = min(len(metrics), 2)
    figure, axes = grid(-(-len(metrics) // 2), columns, height * columns / 2, sharex=True)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        profile(ax, arrays, metric)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    axes.flat[0].legend()
    figure.suptitle(title)
    return figure


def surface(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    metric: str,
    labels: Sequence[str] | None = None,
    clip: float | None = None,
) -> Axes:
    """A metric on a plane, with what lies on it or was projected onto it (Figs. 3, 5 and 6).

    Losses are drawn on a logarithmic scale if none is below zero, as filled contours. Whatever is
    above ``clip`` is grey, whatever is not finite is grey and hatched. Markers are filled with the
    colour of the point's own loss; the colour around an iterate is not its loss, for it lies as far
    from the plane as the number in parentheses says.

    Args:
      ax: where to draw; its aspect becomes equal.
      arrays: as in ``surface.npz``: ``x``, ``y``, ``METRIC``, ``point_xy``, ``point_METRIC`` and,
        if there are any, ``curve_xy``, ``curve_control_xy``, ``iterate_xy``, ``iterate_epoch`` and
        ``iterate_distance``.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      labels: names of the three points; ``point_name`` by default.
      clip: the upper end of the colour scale; `default_clip` by default.

    Raises:
      ValueError: the arrays do not have the metric.
    """
    _check_metric(arrays, metric, "")
    labels = [str(name) for name in arrays["point_name"]] if labels is None else labels
    colours = _contours(ax, arrays, metric, clip)
    lines = {"color": "black", "path_effects": [labelling.halo("white", 2.8)], "zorder": 3}
    shown = networks(arrays, "xy")
    around = len(shown) < 3
    segment = arrays["point_xy"][[0, 0 if around else 1]]
    if not around:
        ax.plot(*segment.T, "--", lw=1.1, label="segment", **lines)
    if "curve_xy" in arrays:
        ax.plot(*arrays["curve_xy"].T, "-", lw=1.5, label="curve", **lines)
        _bends(ax, arrays)
    texts = []
    if "iterate_xy" in arrays:
        texts = _iterates(ax, arrays, metric, colours)
    x, y = shown.T
    size = plt.rcParams["lines.markersize"]
    losses = networks(arrays, metric)
    filled = {"s": (1.33 * size) ** 2, "c": losses, "zorder": 5, **colours}
    ax.scatter(x, y, ec="white", lw=size / 1.5, **filled)
    ax.scatter(x, y, ec="black", lw=size / 3.8, **filled)
    named = [(str(n), xy, True) for n, xy in zip(labels, shown, strict=False)]
    lines = [arrays[k] for k in ("curve_xy", "iterate_xy") if k in arrays]
    ax.add_artist(labelling.Labels(ax, named + texts, [segment, *lines]))
    ax.set(aspect="equal", xlim=arrays["x"][[0, -1]], ylim=arrays["y"][[0, -1]])
    towards = f"along {labels[1]}" if around else f"from {labels[0]} towards {labels[1]}"
    ax.set_xlabel(f"weight distance {towards}")
    ax.set_ylabel(f"weight distance\n{f'along {labels[2]}' if around else 'at a right angle'}")
    ax.grid(False)
    return ax


def surface_figure(
    arrays: Mapping[str, np.ndarray],
    metrics: str | Sequence[str],
    labels: Sequence[str] | None = None,
    clip: float | None = None,
) -> Figure:
    """A `surface` of each metric, side by side where there is room, with a legend."""
    metrics = [metrics] if isinstance(metrics, str) else metrics
    columns = max(1, min(len(metrics), int(plt.rcParams["figure.figsize"][0] // 3)))
    aspect = np.ptp(arrays["y"]) / np.ptp(arrays["x"])
    figure, axes = grid(-(-len(metrics) // columns), columns, min(aspect, 1.5))
    for ax, metric in zip(axes.flat, metrics, strict=False):
        surface(ax, arrays, metric, labels, clip)
    handles = {}  # by label: a panel alone may have points that are not finite
    for ax in axes.flat:
        artists, names = ax.get_legend_handles_labels()
        handles |= dict(zip(names, artists, strict=True))
    wide = figure.get_figwidth() > 5
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(handles) if wide else 2
    )
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    _fit_height(figure, axes, aspect)
    return figure


def _fit_height(figure, axes, aspect):
    """Makes the figure as high as its panels, ``aspect`` times their width, and what is around.

    The layout is found for panels that fill their places, and then kept: it does not know that an
    aspect makes them smaller, and would let labels overlap.
    """
    for ax in axes.flat:
        ax.set_aspect("auto")
    for _ in range(2):  # what is around depends a little on the height
        figure.get_layout_engine().execute(figure)
        width, height = figure.get_size_inches()
        place, rows = axes[0, 0].get_position(), len(axes)
        panel = np.clip(aspect * place.width * width, 1.0, 8.0 / rows)
        figure.set_figheight(height * (1 - rows * place.height) + rows * panel)
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    for ax in axes.flat:
        ax.set_aspect("equal")


def sharpness(ax: Axes, arrays: Mapping[str, np.ndarray]) -> Axes:
    """The Hessian's largest eigenvalues along a curve, logarithmic where all are above zero.

    Args:
      ax: where to draw.
      arrays: ``t`` ``[P]`` and ``eigenvalues`` ``[P, k]``, falling, as in ``sharpness.npz``.
    """
    values = arrays["eigenvalues"]
    for index, column in enumerate(values.T):
        label = f"$\\lambda_{{{index + 1}}}$"
        ax.plot(arrays["t"], column, ".-", color=color(index), label=label)
    if (values[np.isfinite(values)] > 0).all():
        ax.set_yscale("log")
        for write in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            write(ticker.FuncFormatter(lambda x, _: f"{x:.3g}"))
        ax.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
    ax.set(xlabel="t", ylabel="eigenvalue of the Hessian", xlim=(0, 1))
    return ax


def sharpness_figure(arrays: Mapping[str, np.ndarray], title: str) -> Figure:
    """A `sharpness` profile above the training loss at the same points."""
    figure, axes = grid(2, 1, 0.45, sharex=True)
    above, below = axes.flat
    sharpness(above, arrays).set_xlabel("")
    if arrays["eigenvalues"].shape[1] > 1:
        above.legend()
    below.plot(arrays["t"], arrays["train_loss"], ".-", color=color(0))
    below.set(xlabel="t", ylabel=METRIC_LABELS["train_loss"])
    figure.suptitle(title)
    return figure


def barrier_matrix(
    curves: Sequence[tuple[str, str, float]], segments: Sequence[tuple[str, str, float]]
) -> Figure:
    """A figure of `barriers`, as large as its cells ask for."""
    count = len({name for pair in (*curves, *segments) for name in pair[:2]})
    side = min(2.6 + 0.62 * count, plt.rcParams["figure.figsize"][0])
    figure = Figure(figsize=(side, 0.85 * side), layout="constrained")
    barriers(figure.subplots(), curves, segments)
    return figure


def barriers(
    ax: Axes,
    curves: Sequence[tuple[str, str, float]],
    segments: Sequence[tuple[str, str, float]],
) -> Axes:
    """The barriers between every two modes: curves below the diagonal, segments above it.

    Args:
      ax: where to draw.
      curves: mode, mode and the curve's height over the higher end; several of one pair (seeds)
        are averaged.
      segments: likewise the segment's.
    """
    names = list(dict.fromkeys(name for pair in (*curves, *segments) for name in pair[:2]))
    heights = _heights(names, curves, segments)
    positive = heights[np.isfinite(heights) & (heights > 0)]
    low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
    norm = colors.LogNorm(low, max(high, 1.01 * low))
    cmap = plt.get_cmap().reversed()
    image = ax.imshow(np.where(heights > 0, heights, np.nan), norm=norm, cmap=cmap)
    for (row, column), height in np.ndenumerate(heights):
        if not np.isnan(height):
            dark = height > 0 and norm(height) > 0.55
            text = f"{height:.2g}" if height > 0 else "none"
            ax.text(column, row, text, ha="center", va="center", fontsize="small",
                    color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.set_title("barriers: segments above\nthe diagonal, curves below it")
    ax.figure.colorbar(image, ax=ax, label="training loss over the higher end")
    return ax


def _heights(names, curves, segments):
    """Mean heights ``[modes, modes]``, not a number where there is no path."""
    cells: dict[tuple[int, int], list[float]] = {}
    for below, pairs in ((True, curves), (False, segments)):
        for start, end, height in pairs:
            low, high = sorted((names.index(start), names.index(end)))
            cells.setdefault((high, low) if below else (low, high), []).append(height)
    heights = np.full((len(names), len(names)), np.nan)
    for cell, values in cells.items():
        heights[cell] = np.mean(values)
    return heights


def default_clip(values: np.ndarray, points: np.ndarray) -> float:
    """An upper end of the colour scale that keeps the colours for the part that matters.

    Args:
      values: losses on the grid.
      points: losses at the points that are networks (see `networks`), which are never clipped.

    Returns:
      The largest finite loss; or, where that is smaller, the larger of the losses' third quartile
      and ten times the highest of these points, rounded up to one digit.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    highest = max([0.0, *points[np.isfinite(points)]])
    enough = max(np.quantile(finite, 0.75), 10 * highest, 1e-30)
    digit = 10 ** np.floor(np.log10(enough))
    return float(min(finite.max(), digit * np.ceil(enough / digit)))


def networks(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """``point_NAME`` of a surface's points that are networks.

    All three; or, of a surface along directions, only the first: the others are their tips.
    """
    return arrays[f"point_{name}"][: 1 if "direction_norm" in arrays else 3]


def _contours(ax, arrays, metric, clip):
    """Filled contours, contour lines and the colour bar; returns ``cmap`` and ``norm``."""
    loss = metric.endswith("loss")
    values = (1 if loss else 100) * np.asarray(arrays[metric], np.float64)
    finite = np.isfinite(values)
    top = values[finite].max() if finite.any() else 1.0
    if clip is None:
        clip = default_clip(values, networks(arrays, metric)) if loss else top
    log = loss and clip > 0 and not (values[finite] < 0).any()
    low = values[finite & ((values > 0) | (not log))].min(initial=clip)
    levels = _levels(max(low, 1e-9 * clip), clip) if log else np.linspace(low, clip + 1e-9, 12)
    clipped = not finite.all() or top > levels[-1]
    shown = np.clip(np.where(finite, values, np.inf), levels[0], 10 * levels[-1])
    norm = (colors.LogNorm if log else colors.Normalize)(levels[0], levels[-1])
    cmap = plt.get_cmap().with_extremes(over="0.82", bad="0.82")
    filled = ax.contourf(
        arrays["x"], arrays["y"], shown, levels, cmap=cmap, norm=norm,
        extend="max" if clipped else "neither",
    )  # fmt: skip
    ax.contour(arrays["x"], arrays["y"], shown, levels, colors="white", linewidths=0.4, alpha=0.5)
    if not finite.all():
        with plt.rc_context({"hatch.color": "0.45", "hatch.linewidth": 0.6}):
            ax.contourf(
                arrays["x"], arrays["y"], ~finite, [0.02, 1.5], colors="none", hatches=["///"]
            )
        ax.fill_between([], [], [], fc="0.82", ec="0.45", hatch="///", label="not finite")
    bar = ax.figure.colorbar(filled, ax=ax, label=metric_label(metric), pad=0.02)
    most = int(np.clip(ax.get_window_extent().height / ax.figure.dpi / 0.25, 3, 12))
    bar.set_ticks(levels[:: -(-len(levels) // most)] if log else ticker.MaxNLocator(min(most, 8)))
    bar.minorticks_off()
    bar.ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:.3g}"))
    if clipped:
        bar.ax.set_title(f"> {levels[-1]:.3g}\nclipped", fontsize="small")
    return {"cmap": cmap, "norm": norm}


def _levels(low, high):
    """Round levels from at most ``low`` to exactly ``high``, equally spaced in order of size."""
    if high < 1.05 * low:
        return np.geomspace(0.95 * low, 1.05 * low, 9)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ROUND_STEPS:
        levels = np.array([s * 10.0**d for d in decades for s in steps])
        inside = levels[(levels > 1.001 * low) & (levels < 0.97 * high)]
        if len(inside) >= 8:
            first = levels[levels <= 1.001 * low].max(initial=0) or low
            return np.concatenate([[first], inside, [high]])
    return np.geomspace(low, high, 11)


def _bends(ax, arrays):
    """Marks the curve's bends, except where they are among the three points."""
    size = np.ptp(arrays["x"])
    for xy in arrays["curve_control_xy"]:
        if np.linalg.norm(arrays["point_xy"] - xy, axis=1).min() > 0.01 * size:
            ax.plot(*xy, "s", ms=5, mfc="white", mec="black", zorder=4)


def _iterates(ax, arrays, metric, colours):
    """Markers, and arrows from each iterate to the next; returns what to write beside them."""
    xy, ink = arrays["iterate_xy"], color(1)
    for start, end in itertools.pairwise(xy):
        ax.annotate(
            "", end, start, zorder=3.5,
            arrowprops={"arrowstyle": "-|>", "color": ink, "lw": 1, "mutation_scale": 8,
                        "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
    ax.scatter(
        *xy.T, (0.85 * plt.rcParams["lines.markersize"]) ** 2, arrays[f"iterate_{metric}"],
        ec=ink, lw=1.3, zorder=4, **colours,
        label="iterate: epoch (distance from the plane)",
    )  # fmt: skip
    small = 2e-3 * np.ptp(arrays["x"])
    apart = np.linalg.norm(arrays["point_xy"][:, None] - xy, axis=-1).min(axis=0)
    hidden = (apart < small) & (arrays["iterate_distance"] < small)  # the three points themselves
    return [
        (f"{epoch} ({distance:.2g})", at, False)
        for epoch, distance, at, skip in zip(
            arrays["iterate_epoch"], arrays["iterate_distance"], xy, hidden, strict=True
        )
        if not skip
    ]


def save(figure: Figure, stem: Path | str) -> Path:
    """Saves a figure as PDF, SVG and PNG; returns the PNG's path.

    The same figure gives the same bytes: no dates, no random names. The PNG comes last.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    for suffix in FORMATS:
        temporary = stem.with_name(f".{stem.name}.tmp.{suffix}")
        with plt.rc_context({"svg.hashsalt": "mcjax"}):
            figure.savefig(temporary, metadata=undated[suffix])
        temporary.replace(stem.with_name(f"{stem.name}.{suffix}"))
    return stem.with_name(f"{stem.name}.png")


def is_whole(stem: Path) -> bool:
    """Whether `save` wrote the figure in every format, and nothing cut it short since."""
    ends = {"png": b"IEND\xaeB`\x82", "pdf": b"%%EOF\n", "svg": b"</svg>\n"}
    try:
        return all(
            stem.with_name(f"{stem.name}.{suffix}").read_bytes().endswith(ends[suffix])
            for suffix in FORMATS
        )
    except FileNotFoundError:
        return False
