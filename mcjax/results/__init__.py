"""Profiles, surfaces, interpolations, ...: the types that calls return and figures draw.

Metrics are indexed by split and name, ``found.curve.metrics["train"]["loss"]``, and so are their
summaries, ``found.curve.barriers["train"]["loss"].over_max``. The types hold numpy arrays, computed
by `mcjax.analysis`.

**Files.** `Profile`, `Surface`, `Interpolation`, `Instability`, `Layers`, `Soups` and `Sharpness`
have ``to_arrays()`` and ``from_arrays(arrays)``. The keys of ``curve.npz``, ``surface.npz``,
``interpolation.npz``, ``instability.npz``, ``layers.npz``, ``soup.npz`` and ``sharpness.npz`` are
defined only here. Reading and rewriting a file changes no key, dtype or value: unknown arrays, and
parts of an incomplete summary, are kept in ``extra``. Splits may have any names that `check_splits`
accepts.

>>> import numpy as np
>>> losses = np.array([0.1, 0.4, 0.2])
>>> curve = PathMetrics({"train": {"loss": losses}})
>>> found = Profile(np.linspace(0, 1, 3), {"curve": curve})
>>> list(found.to_arrays())
['t', 'curve_train_loss']
>>> Profile.from_arrays(found.to_arrays()).curve.metrics["train"]["loss"]
array([0.1, 0.4, 0.2])
"""

from mcjax.results.instability import Instability, Spread
from mcjax.results.interpolations import (
    PAIR_PATHS,
    Interpolation,
    Interval,
    PairHeights,
    PairPaths,
)
from mcjax.results.layers import LAYER_PATHS, LayerPaths, Layers
from mcjax.results.metrics import (
    SPLITS,
    Arrays,
    Metrics,
    Values,
    check_splits,
    concatenated,
    named,
    part,
    unnamed,
)
from mcjax.results.paths import ALIGNED_PATHS, PATHS, Heights, Means, PathMetrics, Profile, Slopes
from mcjax.results.sharpness import PointSharpness, Sharpness
from mcjax.results.soups import Soups
from mcjax.results.surfaces import (
    CurveOnPlane,
    Directions,
    Iterates,
    Points,
    Refinement,
    Sampling,
    Surface,
)

__all__ = [
    "ALIGNED_PATHS", "LAYER_PATHS", "PAIR_PATHS", "PATHS", "SPLITS", "Arrays", "CurveOnPlane",
    "Directions", "Heights", "Instability", "Interpolation", "Interval", "Iterates", "LayerPaths",
    "Layers", "Means", "Metrics", "PairHeights", "PairPaths", "PathMetrics", "PointSharpness",
    "Points", "Profile", "Refinement", "Sampling", "Sharpness", "Slopes", "Soups", "Spread",
    "Surface", "Values", "check_splits", "concatenated", "named", "part", "unnamed",
]  # fmt: skip
