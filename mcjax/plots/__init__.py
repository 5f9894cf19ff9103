"""Figures of results.

Panels (`profile`, `surface`, `barriers`, `matrix`) draw into given axes, in the current style, and
return them. Figures (`curve_figure`, `surface_figure`, `barrier_matrix`, `pairs_figure`) compose
panels, as wide as the style's ``figure.figsize``. The context `style` applies mcjax's look:

>>> import numpy as np
>>> from matplotlib.figure import Figure
>>> from mcjax.results import PathMetrics, Profile
>>> curve = PathMetrics({"train": {"loss": np.array([0.1, 0.3, 0.2])}})
>>> found = Profile(np.linspace(0, 1, 3), {"curve": curve})
>>> with style("mcjax.one_column"):
...     figure = Figure(layout="constrained")
...     ax = profile(figure.subplots(), found, "train_loss", paths=["curve"])
>>> float(figure.get_figwidth()), ax.get_ylabel()
(3.25, 'training loss')
"""

from mcjax import extras

with extras.needed_by(__name__):
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
