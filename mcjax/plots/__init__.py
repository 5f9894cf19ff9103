"""Figures of results.

Panels (`profile`, `surface`, `barriers`, `matrix`) draw into given axes, in the current style, and
return them. Figures (`curve_figure`, `surface_figure`, `barrier_matrix`, `pairs_figure`) compose
panels, as wide as the style's ``figure.figsize``. The context `style` applies mcjax's look:

>>> import numpy as np
>>> from mcjax import plots
>>> from matplotlib.figure import Figure
>>> from mcjax.results import PathMetrics, Profile
>>> curve = PathMetrics({"train": {"loss": np.array([0.1, 0.3, 0.2])}})
>>> found = Profile(np.linspace(0, 1, 3), {"curve": curve})
>>> with plots.style("mcjax.one_column"):
...     figure = Figure(layout="constrained")
...     ax = plots.profile(figure.subplots(), found, "train_loss", paths=["curve"])
>>> float(figure.get_figwidth()), ax.get_ylabel()
(3.25, 'training loss')
"""

import importlib
from typing import TYPE_CHECKING, Any

from mcjax import extras

extras.require(__name__, "matplotlib")
if TYPE_CHECKING:
    from mcjax.plots.barrier_plots import barrier_matrix, barriers
    from mcjax.plots.epoch_plots import epochs_figure
    from mcjax.plots.instability_plots import instability, instability_figure
    from mcjax.plots.interpolation_plots import (
        PAIR_STYLES,
        PATH_WORDS,
        barriers_figure,
        groups_figure,
        matrix,
        pairs_figure,
    )
    from mcjax.plots.layer_plots import CHORD_WORDS, LAYER_WORDS, layers_figure
    from mcjax.plots.profile_plots import (
        FORMATS,
        PATH_STYLES,
        classes,
        curve_figure,
        is_whole,
        profile,
        save,
        sharpness,
        sharpness_figure,
    )
    from mcjax.plots.soup_plots import soups_figure
    from mcjax.plots.styles import (
        COLORS,
        METRIC_LABELS,
        STYLE,
        color,
        drawn,
        grid,
        metric_label,
        metric_names,
        metric_words,
        of_class,
        plain,
        style,
    )
    from mcjax.plots.surface_plots import off_plane, percent, surface, surface_figure
    from mcjax.results.ranges import default_clip, is_loss

__all__ = [
    "CHORD_WORDS", "COLORS", "FORMATS", "LAYER_WORDS", "METRIC_LABELS", "PAIR_STYLES",
    "PATH_STYLES", "PATH_WORDS", "STYLE", "barrier_matrix", "barriers", "barriers_figure",
    "classes", "color", "curve_figure", "default_clip", "drawn", "epochs_figure", "grid",
    "groups_figure", "instability", "instability_figure", "is_loss", "is_whole",
    "layers_figure", "matrix", "metric_label", "metric_names", "metric_words", "of_class",
    "off_plane", "pairs_figure", "percent", "plain", "profile", "save", "sharpness",
    "sharpness_figure", "soups_figure", "style", "surface", "surface_figure",
]  # fmt: skip

_HOMES = {
    "barrier_matrix": "mcjax.plots.barrier_plots",
    "barriers": "mcjax.plots.barrier_plots",
    "epochs_figure": "mcjax.plots.epoch_plots",
    "instability": "mcjax.plots.instability_plots",
    "instability_figure": "mcjax.plots.instability_plots",
    "PAIR_STYLES": "mcjax.plots.interpolation_plots",
    "PATH_WORDS": "mcjax.plots.interpolation_plots",
    "barriers_figure": "mcjax.plots.interpolation_plots",
    "groups_figure": "mcjax.plots.interpolation_plots",
    "matrix": "mcjax.plots.interpolation_plots",
    "pairs_figure": "mcjax.plots.interpolation_plots",
    "CHORD_WORDS": "mcjax.plots.layer_plots",
    "LAYER_WORDS": "mcjax.plots.layer_plots",
    "layers_figure": "mcjax.plots.layer_plots",
    "FORMATS": "mcjax.plots.profile_plots",
    "PATH_STYLES": "mcjax.plots.profile_plots",
    "classes": "mcjax.plots.profile_plots",
    "curve_figure": "mcjax.plots.profile_plots",
    "is_whole": "mcjax.plots.profile_plots",
    "profile": "mcjax.plots.profile_plots",
    "save": "mcjax.plots.profile_plots",
    "sharpness": "mcjax.plots.profile_plots",
    "sharpness_figure": "mcjax.plots.profile_plots",
    "soups_figure": "mcjax.plots.soup_plots",
    "COLORS": "mcjax.plots.styles",
    "METRIC_LABELS": "mcjax.plots.styles",
    "STYLE": "mcjax.plots.styles",
    "color": "mcjax.plots.styles",
    "drawn": "mcjax.plots.styles",
    "grid": "mcjax.plots.styles",
    "metric_label": "mcjax.plots.styles",
    "metric_names": "mcjax.plots.styles",
    "metric_words": "mcjax.plots.styles",
    "of_class": "mcjax.plots.styles",
    "plain": "mcjax.plots.styles",
    "style": "mcjax.plots.styles",
    "off_plane": "mcjax.plots.surface_plots",
    "percent": "mcjax.plots.surface_plots",
    "surface": "mcjax.plots.surface_plots",
    "surface_figure": "mcjax.plots.surface_plots",
    "default_clip": "mcjax.results.ranges",
    "is_loss": "mcjax.results.ranges",
}


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def __getattr__(name: str) -> Any:
    """Loads matplotlib when the first figure is drawn."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
