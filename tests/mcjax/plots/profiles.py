"""A profile of random metrics, and its figure."""

import numpy as np

from mcjax import plots
from mcjax.results import Profile

T = np.linspace(0, 1, 7)


def some_arrays(metrics=("loss", "accuracy")):
    rng = np.random.default_rng(0)
    names = [
        f"{p}_{s}_{m}" for p in plots.PATH_STYLES for s in ("train", "validation") for m in metrics
    ]
    return {"t": T} | {name: rng.uniform(0.2, 0.9, 7) for name in names}


def curve_figure(arrays, title):
    return plots.curve_figure(Profile.from_arrays(arrays), title)
