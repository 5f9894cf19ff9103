"""mcjax's look, and how figures write names and numbers."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mcjax import results
from mcjax.typing import ArrayLike, Float, Num

STYLE = "mcjax.mcjax"
"""matplotlib's name for ``mcjax/mcjax.mplstyle``."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, for styles without their own."""
METRIC_LABELS = {
    "train_loss": "training loss",
    "validation_loss": "validation loss",
    "train_accuracy": "training accuracy (%)",
    "validation_accuracy": "validation accuracy (%)",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy (%)",
}
SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "${}%&#_"},
}  # fmt: skip


def style(*more: str | Path) -> contextlib.AbstractContextManager[None]:
    """A context with mcjax's look, for drawing and saving.

    It starts from matplotlib's defaults, so a user's ``matplotlibrc`` does not change it.

    Args:
      more: matplotlib styles to add, by name or ``.mplstyle`` file; later ones take precedence.
        ``mcjax.one_column`` makes figures one column wide.

    >>> with style(), plt.rc_context({"font.size": 7}):
    ...     figure = Figure()
    >>> float(figure.get_figwidth())
    6.75
    """
    return plt.style.context([STYLE, *more], after_reset=True)


def color(index: int) -> str | tuple[float, ...]:
    """The style's line colour of an index.

    >>> with style():
    ...     color(0), color(1)
    ('#0072B2', '#D55E00')
    """
    cycle = plt.rcParams["axes.prop_cycle"].by_key().get("color", COLORS)
    return cycle[index % len(cycle)]


def grid(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of the style's width, and its axes ``[rows, columns]``.

    Args:
      rows: rows of panels.
      columns: columns of panels.
      height: a panel's height relative to its width.
      options: passed to ``Figure.subplots``.

    >>> with style():
    ...     figure, axes = grid(1, 2, height=0.8)
    >>> axes.shape, figure.get_size_inches().round(2).tolist()
    ((1, 2), [6.75, 2.7])
    """
    width = plt.rcParams["figure.figsize"][0]
    figure = Figure(figsize=(width, rows * height * width / columns), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(count: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """`grid` for ``count`` panels, two side by side unless the figure is narrow."""
    columns = min(count, 2) if plt.rcParams["figure.figsize"][0] > 5 else 1
    figure, axes = grid(-(-count // columns), columns, height, **options)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes


def is_percent(metric: str) -> bool:
    """Whether figures show a metric in percent, as they do accuracies; arrays have 0 to 1."""
    return metric.endswith("accuracy")


def drawn(metric: str, values: Num[ArrayLike, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Values of a metric in the units that figures, pages and exports show.

    >>> drawn("train_accuracy", np.array([0.5, 1.0]))
    array([ 50., 100.])
    """
    return (100 if is_percent(metric) else 1) * np.asarray(values, np.float64)


def split_words(split: str) -> str:
    """A split's name in figures, for matplotlib."""
    return plain(SPLIT_WORDS.get(split, split))


def metric_words(metric: str) -> str:
    """A metric's name on axes and pages.

    >>> metric_words("train_loss"), metric_words("validation_top5_accuracy")
    ('training loss', 'validation top5 accuracy (%)')
    """
    split, _, name = metric.partition("_")
    name = "calibration error" if name == "ece" else name.replace("_", " ")
    words = f"{SPLIT_WORDS.get(split, split)} {name}".strip()
    return METRIC_LABELS.get(metric, words + (" (%)" if is_percent(metric) else ""))


def metric_label(metric: str) -> str:
    """`metric_words`, for matplotlib.

    >>> metric_label("validation_ece"), metric_label("test_accuracy")
    ('validation calibration error', 'test accuracy (%)')
    """
    return plain(metric_words(metric))


def plain(text: str) -> str:
    r"""Escapes a name so that matplotlib shows every character, with and without LaTeX.

    >>> plain("a$b_{$")
    'a\\$b_{\\$'
    """
    if plt.rcParams["text.usetex"]:
        return "".join(LATEX.get(c, c) for c in text)
    return text.replace("$", r"\$")


def of_class(metric: str) -> int | None:
    """The class whose accuracy a metric is, as `mcjax.engine.builtin_metrics` names it.

    >>> of_class("train_class_12_accuracy"), of_class("train_top5_accuracy")
    (12, None)
    """
    found = re.search(r"(?:^|_)class_(\d+)_accuracy$", metric)
    return int(found[1]) if found else None


def metric_names(metrics: results.Metrics, of_classes: bool = True) -> list[str]:
    """Names of metrics in the order of their panels: the library's own, then all others.

    Args:
      metrics: by split and name.
      of_classes: whether to include the accuracies of single classes, of which there may be many.

    >>> metric_names({"train": {"F1": np.ones(3), "loss": np.ones(3)}})
    ['train_loss', 'train_F1']
    >>> metric_names({"noisy": {"accuracy": np.ones(3), "loss": np.ones(3)}})
    ['noisy_loss', 'noisy_accuracy']
    """
    names = [n for n in results.named(metrics) if of_classes or of_class(n) is None]
    known = [name for name in METRIC_LABELS if name in names]
    order = list(dict.fromkeys(("loss", "accuracy", *(n.partition("_")[2] for n in names))))
    own = [name for name in names if name not in known]  # a metric's splits are adjacent
    return known + sorted(own, key=lambda name: order.index(name.partition("_")[2]))


def values(metrics: results.Metrics, metric: str, of: str) -> Float[np.ndarray, "..."]:
    """A metric's values in the units of figures.

    Args:
      metrics: of a path or surface.
      metric: the metric's name.
      of: what to call the path or surface in messages.

    Raises:
      ValueError: the metric is missing; the message lists those that there are.
    """
    there = results.named(metrics)
    if metric not in there:
        names = ", ".join(metric_names(metrics))
        raise ValueError(f"the {of} has no {metric}; it has {names}")
    return drawn(metric, there[metric])


def number(value: float, digits: int) -> str:
    """A plain number with ``digits`` significant digits and all of its integer part.

    >>> [number(x, 2) for x in (2.451, 1234.5, 0.0100, 0.00001234, 0.0)]
    ['2.5', '1234', '0.01', '1.2e-05', '0']
    """
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits}g}")
    size = int(np.floor(np.log10(abs(rounded))))
    if not -5 < size < 6:
        return f"{value:.{digits}g}"
    text = f"{value:.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def numbers(values: Iterable[Any], least: int = 3, most: int = 6) -> list[str]:
    """Plain numbers, each with the fewest digits that distinguish it from the others.

    Numbers that ``most`` digits do not distinguish count as equal.

    >>> numbers([2.45, 2.4525, 2.4525, 10.0])
    ['2.45', '2.453', '2.453', '10']
    >>> numbers([0.0290801, 0.02908010001], 2)
    ['0.029', '0.029']
    """
    values = [float(value) for value in values]

    def shortest(value: float) -> str:
        others = [other for other in values if number(other, most) != number(value, most)]
        for digits in range(least, most):
            text = number(value, digits)
            if all(text != number(other, digits) for other in others):
                return text
        return number(value, most)

    return [shortest(value) for value in values]
