"""Figures of profiles: metrics along a curve and its segment, and sharpness beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcjax.plots.styles import (
    check_metric,
    color,
    drawn,
    grid,
    is_percent,
    metric_label,
    metric_names,
    plain,
)

FORMATS = ("pdf", "svg", "png")
"""What `save` writes, in this order."""
PATH_STYLES = {"curve": {"linestyle": "-"}, "segment": {"linestyle": "--"}}


def profile(
    ax: Axes,
    arrays: Mapping[str, np.ndarray],
    metric: str,
    paths: Sequence[str] | None = None,
) -> Axes:
    """One metric along one or more paths.

    Args:
      ax: where to draw.
      arrays: ``t`` and ``PATH_METRIC`` as in ``curve.npz``.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      paths: which of ``curve`` and ``segment`` to draw; by default those that there are.

    Raises:
      ValueError: the arrays do not have the metric.
    """
    if paths is None:
        paths = _paths(arrays, metric) or tuple(PATH_STYLES)
    for path in paths:
        check_metric(arrays, metric, f"{path}_")
    for path in paths:
        look = {"color": color(list(PATH_STYLES).index(path)), **PATH_STYLES[path]}
        ax.plot(arrays["t"], drawn(metric, arrays[f"{path}_{metric}"]), label=path, **look)
    ax.set_xlabel("t")
    ax.set_ylabel(metric_label(metric))
    ax.set_xlim(0, 1)
    if is_percent(metric):  # no axis up to 105 %
        ax.set_ylim(top=min(ax.get_ylim()[1], 101), auto=True)
    return ax


def _paths(arrays, metric):
    return [path for path in PATH_STYLES if f"{path}_{metric}" in arrays]


def curve_figure(arrays: Mapping[str, np.ndarray], title: str) -> Figure:
    """All metrics of a curve and its segment, or of one of them, one panel each.

    Raises:
      ValueError: the arrays have no metric along a path.
    """
    found = [name for path in PATH_STYLES for name in metric_names(arrays, f"{path}_")]
    metrics = list(dict.fromkeys(found))
    if not metrics:
        raise ValueError("the arrays have no PATH_SPLIT_METRIC, such as curve_train_loss")
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
    figure.suptitle(plain(title))
    return figure


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
    below.set(xlabel="t", ylabel=metric_label("train_loss"))
    figure.suptitle(plain(title))
    return figure


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
