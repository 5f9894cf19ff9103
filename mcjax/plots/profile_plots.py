"""Figures of profiles and sharpness along a curve, and saving figures."""

import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from mcjax import results
from mcjax.paths import AnyPath, at, is_url
from mcjax.plots.styles import (
    color,
    drawn,
    grid,
    is_percent,
    metric_label,
    metric_names,
    of_class,
    plain,
    values,
)

FORMATS = ("pdf", "svg", "png")
"""The formats that `save` writes, in this order."""
PATH_STYLES = {"curve": {"linestyle": "-"}, "segment": {"linestyle": "--"}}
ALIGNED_STYLES = {
    "before": {"linestyle": "--"}, "after": {"linestyle": "-"}, "repaired": {"linestyle": "-."},
}  # fmt: skip
"""The line styles of `mcjax.results.ALIGNED_PATHS`."""
_POINTS: dict[str, Any] = {
    "marker": ".",
    "clip_on": False,
    "zorder": 3,
}  # whole markers at t = 0 and 1, too


def profile(
    ax: Axes,
    found: results.Profile,
    metric: str,
    paths: Sequence[str] | None = None,
) -> Axes:
    """One metric along one or more paths.

    Args:
      ax: where to draw.
      found: metrics along a curve and segment.
      metric: for example ``train_loss``; accuracies are drawn in percent.
      paths: which of the profile's paths to draw; by default those that have the metric.

    Raises:
      ValueError: a path does not have the metric.

    >>> curve = results.PathMetrics({"train": {"accuracy": np.array([0.9, 0.8, 0.9])}})
    >>> found = results.Profile(np.linspace(0, 1, 3), {"curve": curve})
    >>> ax = profile(Figure().subplots(), found, "train_accuracy")
    >>> ax.get_ylabel(), ax.lines[0].get_ydata()
    ('training accuracy (%)', array([90., 80., 90.]))
    >>> profile(Figure().subplots(), found, "train_loss")
    Traceback (most recent call last):
    ValueError: the curve has no train_loss; it has train_accuracy
    """
    if paths is None:
        having = [p for p, one in found.paths.items() if metric in results.named(one.metrics)]
        paths = having or tuple(found.paths)
    lines = {path: values(found.paths[path].metrics, metric, path) for path in paths}
    for path, line in lines.items():
        styles = PATH_STYLES if path in PATH_STYLES else ALIGNED_STYLES
        look = {"color": color(list(styles).index(path)), **styles[path]}
        ax.plot(found.t, line, label=path, **look)
    ax.set_xlabel("t")
    ax.set_ylabel(metric_label(metric))
    ax.set_xlim(0, 1)
    if is_percent(metric):
        _percent_axis(ax)
    return ax


def _percent_axis(ax: Axes) -> None:
    """No axis up to 105 %."""
    ax.set_ylim(top=min(ax.get_ylim()[1], 101), auto=True)


def classes(ax: Axes, found: results.Profile, split: str) -> Axes:
    """The accuracy of each class of a split along the curve, or else the first path.

    Args:
      ax: where to draw.
      found: metrics along a path.
      split: such as ``train``.

    Raises:
      ValueError: there is none: measure ``class_accuracy``.

    >>> own = {f"class_{k}_accuracy": np.array([0.9, 0.8]) for k in range(3)}
    >>> curve = results.PathMetrics({"train": own})
    >>> found = results.Profile(np.array([0.0, 1.0]), {"curve": curve})
    >>> ax = classes(Figure().subplots(), found, "train")
    >>> len(ax.lines), ax.get_ylabel().splitlines()
    (3, ['training class accuracy (%)', 'curve'])
    """
    path, one = next(iter(found.paths.items()))
    numbers = {name: of_class(name) for name in one.metrics[split]}
    of_classes = {name: k for name, k in numbers.items() if k is not None}
    if not of_classes:
        raise ValueError(f"the {path} has no accuracies of single classes on {split}")
    norm, cmap = Normalize(0, max(of_classes.values())), plt.get_cmap("viridis")
    for name, k in of_classes.items():
        ax.plot(found.t, drawn(name, one.metrics[split][name]), color=cmap(norm(k)), lw=1)
    words = metric_label(f"{split}_class_accuracy")
    ax.set(xlabel="t", ylabel=f"{words}\n{path}", xlim=(0, 1))
    _percent_axis(ax)
    ax.figure.colorbar(
        ScalarMappable(norm, cmap), ax=ax, label="class", ticks=ticker.MaxNLocator(5, integer=True)
    )
    return ax


def curve_figure(found: results.Profile, title: str) -> Figure:
    """All metrics of a profile, one panel each; those of single classes share one.

    Args:
      found: metrics along a curve and segment.
      title: above the panels.

    Raises:
      ValueError: the profile has no metrics.

    >>> metrics = {"train": {"loss": np.array([0.1, 0.2]), "accuracy": np.array([0.9, 0.8])}}
    >>> found = results.Profile(np.array([0.0, 1.0]), {"curve": results.PathMetrics(metrics)})
    >>> [ax.get_ylabel() for ax in curve_figure(found, "a curve").axes]
    ['training loss', 'training accuracy (%)']
    """
    names = [m for path in found.paths.values() for m in metric_names(path.metrics, False)]
    panels = {metric: partial(profile, metric=metric) for metric in dict.fromkeys(names)}
    first = next(iter(found.paths), None)
    for split, own in found.paths[first].metrics.items() if first else ():
        if any(of_class(name) is not None for name in own):
            panels[split] = partial(classes, split=split)
    if not panels:
        raise ValueError("the profile has no metric along a curve or segment")
    height = 0.72 if plt.rcParams["figure.figsize"][0] > 5 else 0.9
    columns = min(len(panels), 2)
    figure, axes = grid(-(-len(panels) // 2), columns, height * columns / 2, sharex=True)
    for ax, draw in zip(axes.flat, panels.values(), strict=False):
        draw(ax, found)
    for index, ax in enumerate(axes.flat):
        if index + columns < len(panels):  # there is a panel below
            ax.set_xlabel("")
        elif index < len(panels):
            ax.tick_params(labelbottom=True)
        else:
            ax.set_axis_off()
    axes.flat[0].legend()
    figure.suptitle(plain(title))
    return figure


def sharpness(ax: Axes, found: results.Sharpness) -> Axes:
    """The Hessian's largest eigenvalues along a curve, on a log scale if all are above zero.

    Args:
      ax: where to draw.
      found: sharpness along a curve.

    >>> rows = np.array([[9.0, 1.0], [20.0, 2.0]])  # two eigenvalues at two points
    >>> found = results.Sharpness(np.array([0.0, 1.0]), rows, 1e-4 * rows, np.array([0.1, 0.2]))
    >>> sharpness(Figure().subplots(), found).get_yscale()
    'log'
    """
    eigenvalues, label = found.eigenvalues, "eigenvalue of the Hessian"
    for index, column in enumerate(eigenvalues.T):
        name = f"$\\lambda_{{{index + 1}}}$"
        ax.plot(found.t, column, color=color(index), label=name, **_POINTS)
    if (eigenvalues[np.isfinite(eigenvalues)] > 0).all():
        ax.set_yscale("log")
        for write in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            write(ticker.FuncFormatter(lambda x, _: f"{x:.3g}"))
        ax.yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
        label += "\n(log scale)"
    ax.set(xlabel="t", ylabel=label, xlim=(0, 1))
    return ax


def sharpness_figure(found: results.Sharpness, title: str) -> Figure:
    """A `sharpness` profile above the training loss at the same points.

    Args:
      found: sharpness along a curve.
      title: above the panels.

    >>> rows = np.array([[9.0, 1.0], [20.0, 2.0]])
    >>> found = results.Sharpness(np.array([0.0, 1.0]), rows, 1e-4 * rows, np.array([0.1, 0.2]))
    >>> [ax.get_ylabel().splitlines()[0] for ax in sharpness_figure(found, "a curve").axes]
    ['eigenvalue of the Hessian', 'training loss']
    """
    figure, axes = grid(2, 1, 0.45, sharex=True)
    above, below = axes.flat
    sharpness(above, found).set_xlabel("")
    if found.eigenvalues.shape[1] > 1:
        above.legend()
    below.plot(found.t, found.loss, color=color(0), **_POINTS)
    below.set(xlabel="t", ylabel=metric_label("train_loss"))
    figure.suptitle(plain(title))
    return figure


def save(figure: Figure, stem: AnyPath | str) -> AnyPath:
    """Saves a figure as PDF, SVG and PNG, in this order; returns the PNG's path.

    The same figure gives the same bytes: there are no dates or random names.

    Args:
      figure: to be saved in the current style.
      stem: the files' path without a suffix; its folder is made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(Figure(figsize=(1, 1)), f"{folder}/empty")
    ...     path.name, is_whole(path.with_suffix(""))
    ('empty.png', True)
    """
    stem = at(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    undated: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
        "png": {},
    }
    for suffix in FORMATS:
        with plt.rc_context({"svg.hashsalt": "mcjax"}):
            _save_atomically(figure, stem.with_name(f"{stem.name}.{suffix}"), undated[suffix])
    return stem.with_name(f"{stem.name}.png")


def _save_atomically(figure: Figure, path: AnyPath, metadata: dict[str, Any]) -> None:
    if is_url(path):
        content = io.BytesIO()
        figure.savefig(content, format=path.suffix[1:], metadata=metadata)
        path.write_bytes(content.getvalue())
        return
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    figure.savefig(temporary, metadata=metadata)
    temporary.replace(path)


def is_whole(stem: AnyPath) -> bool:
    """Whether the figure's files exist in every format and are complete.

    Args:
      stem: as in `save`.

    >>> is_whole(at("/nowhere/figure"))
    False
    """
    ends = {"png": b"IEND\xaeB`\x82", "pdf": b"%%EOF\n", "svg": b"</svg>\n"}
    try:
        return all(
            stem.with_name(f"{stem.name}.{suffix}").read_bytes().endswith(ends[suffix])
            for suffix in FORMATS
        )
    except FileNotFoundError:
        return False
