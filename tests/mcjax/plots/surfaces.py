"""Surfaces with what is drawn on them, and their figures."""

import numpy as np

from mcjax import plots
from mcjax.results import Surface

X, Y = np.linspace(-1, 5, 9), np.linspace(-1, 3, 7)


BOWL = 0.02 + 0.1 * ((X[None] - 2) ** 2 + (Y[:, None] - 1) ** 2)


def drawable(loss=BOWL, own=(0.01, 0.03, 0.02), **more):
    return {
        "x": X, "y": Y, "point_xy": np.array([[0.0, 0], [4, 0], [1.5, 2]]),
        "point_name": np.array(["a", "b", "c"]), "train_loss": loss,
        "point_train_loss": np.array(own), **more,
    }  # fmt: skip


def with_curve(distance, **more):
    t = np.linspace(0, 1, 61)
    xy = np.stack([4 * t, 3 * t * (1 - t) + 0.3 * np.sin(3 * np.pi * t)], axis=1)
    bends = xy[[0, 15, 30, 45, 60]]
    curve = {"curve_t": t, "curve_xy": xy, "curve_control_xy": bends,
             "curve_distance": distance * np.sin(np.pi * t)}  # fmt: skip
    return drawable(**curve, **more)


def with_iterates(xy, distance=2.0, **more):
    xy = np.asarray(xy, float)
    count = len(xy)
    iterates = {"iterate_xy": xy, "iterate_epoch": 1 + np.arange(count),
                "iterate_distance": np.full(count, distance),
                "iterate_train_loss": np.geomspace(1, 0.1, count)}  # fmt: skip
    return drawable(**iterates, **more)


def draw(arrays, metric="train_loss", *more, **options):
    with plots.style(*more):
        figure = plots.surface_figure(Surface.from_arrays(arrays), metric, **options)
        figure.draw_without_rendering()
    return figure, figure.axes[0]


def words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]
