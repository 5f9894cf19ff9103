"""Colours of a surface: one scale for the grid and for what is drawn on it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import colors

from mcjax import plots
from mcjax.plots import colour_scale
from mcjax.results import Surface
from tests.mcjax.plots.surfaces import BOWL, draw, drawable, with_iterates


def marker_colours(ax):
    """Of the points, as drawn."""
    return ax.collections[-1].get_facecolors()


def ticks(figure):
    return [t.get_text() for t in figure.axes[1].get_yticklabels()]


def test_default_clip_keeps_the_points_and_cuts_what_towers():
    values = np.array([[0.1, 0.4, 0.7, np.inf], [0.2, 1.3, 9e5, np.nan]])
    assert plots.default_clip(values, np.array([0.1, 0.2, 0.13])) == 2.0
    assert plots.default_clip(values, np.array([0.1, 37.0, np.nan])) == 400.0
    assert plots.default_clip(values, np.array([0.01, 0.0, np.nan])) == 2.0  # a quarter is above
    assert plots.default_clip(np.array([[1.0, 1.3]]), np.array([1.0])) == 1.3
    assert plots.default_clip(np.full((2, 2), np.nan), np.array([1.0])) > 0


def test_accuracies_of_grid_points_and_iterates_are_on_one_scale():
    grid = 1 - BOWL / 3
    arrays = with_iterates([[3, 1], [2, 2]], train_accuracy=grid)
    arrays |= {"point_train_accuracy": np.array([0.999, 0.7, 0.98]),
               "iterate_train_accuracy": np.array([0.35, 0.9])}  # fmt: skip
    figure, ax = draw(arrays, "train_accuracy")
    points, iterates = (
        next(c for c in ax.collections[::-1] if len(c.get_offsets()) == n) for n in (3, 2)
    )
    np.testing.assert_allclose(points.get_array(), [99.9, 70, 98])
    np.testing.assert_allclose(iterates.get_array(), [35, 90])
    filled = ax.collections[0]
    assert (filled.norm.vmin, filled.norm.vmax) == (35, 99.9)  # every marker has its own colour
    assert points.norm.vmin == iterates.norm.vmin == 35
    assert points.norm.vmax == iterates.norm.vmax == 99.9
    assert figure.axes[1].get_ylabel() == "training accuracy (%)"


def test_accuracies_of_other_names_are_percents_too():
    arrays = drawable(train_top5_accuracy=1 - BOWL / 3)
    arrays["point_train_top5_accuracy"] = np.array([0.9, 0.8, 0.7])
    figure, ax = draw(arrays, "train_top5_accuracy")
    np.testing.assert_allclose(ax.collections[-1].get_array(), [90, 80, 70])
    assert figure.axes[1].get_ylabel() == "training top5 accuracy (%)"


def test_zero_loss_on_a_log_scale_has_the_lowest_colour():
    loss = np.maximum(BOWL - 0.3, 0)
    figure, ax = draw(drawable(loss, (0.0, 0.05, 0.0)))
    assert isinstance(ax.collections[0].norm, colors.LogNorm)
    lowest = plt.get_cmap("viridis")(0.0)
    np.testing.assert_allclose(marker_colours(ax)[[0, 2]], [lowest, lowest])
    assert ticks(figure)[0].startswith(r"${\leq}$")
    figure, _ = draw(drawable(BOWL))
    assert not any("leq" in text for text in ticks(figure))


def test_zero_loss_does_not_lower_the_scale():
    scale = colour_scale.make(
        Surface.from_arrays(drawable(np.array([[0.0, 0.1], [0.2, 3.0]]))), "train_loss"
    )
    assert 0.005 < scale.levels[0] <= 0.01  # the lowest of the points


def test_most_of_a_surface_at_zero_loss_leaves_the_rest_its_colours():
    loss = np.maximum(BOWL - 1.2, 0)
    figure, _ = draw(drawable(loss, (0, 0, 0)))
    assert figure.axes[1].get_title() == ""  # nothing is clipped
    _, ax = draw(drawable(0 * BOWL, (0, 0, 0)))
    np.testing.assert_allclose(marker_colours(ax)[0], plt.get_cmap("viridis")(0.0))


@pytest.mark.parametrize("shift", [0.3, 5.0, 5000.0])
def test_negative_losses_have_colours_and_labels_that_do_not_overlap(shift):
    figure, ax = draw(drawable(BOWL - shift, np.array([0.01, 0.03, 0.02]) - shift))
    filled = ax.collections[0]
    assert sum(len(path.vertices) > 0 for path in filled.get_paths()) > 8
    bar = figure.axes[1]
    boxes = [t.get_window_extent() for t in bar.get_yticklabels()]
    boxes.append(bar.title.get_window_extent())
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len(set(ticks(figure))) == len(ticks(figure)) > 2
    low, high = bar.get_ylim()
    assert all(low <= tick <= high for tick in bar.get_yticks())


def test_a_point_above_the_whole_grid_is_not_clipped():
    values = np.array([[1.0, 2.0], [1.5, 1.2]])
    assert plots.default_clip(values, np.array([3.0])) == 3.0


@pytest.mark.parametrize(
    ("levels", "most", "first", "expected"),
    [
        ((0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2), 9, False,
         (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)),
        ((0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6), 9, False,
         (0.3, 0.5, 1, 2, 3, 5)),
        ((0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6), 5, False, (0.5, 1, 2, 5)),
        ((0.0009, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1), 4, True, (0.0009, 0.01, 0.1, 1)),
        ((1.3, 1.31, 1.32, 1.33, 1.34), 3, False, (1.3, 1.32, 1.34)),
    ],
)  # fmt: skip
def test_labels_are_at_the_same_steps_of_each_decade(levels, most, first, expected):
    found = colour_scale._log_ticks(np.array(levels), most, first)
    np.testing.assert_allclose(found, expected)
