"""The figure of an instability analysis: means and ranges of barriers where they belong."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Instability


def made(**heights):
    barriers = {s: {name: np.array(x) for name, x in heights.items()} for s in ("train", "test")}
    empty = {s: {name: np.zeros((3, 2)) for name in heights} for s in barriers}
    steps = np.array([0, 2, 40])
    return Instability(np.array(["0", "s2", "8"]), steps, steps / 5, np.linspace(0, 1, 3),
                       np.array([[0, 1], [0, 2], [1, 2]]), empty, empty, barriers)  # fmt: skip


ERRORS = [[0.2, 0.3, 0.7], [0.1, 0.1, 0.1], [0.01, 0.0, 0.02]]


def test_means_and_ranges_in_points_and_the_line_of_stability():
    ax = plots.instability(Figure().add_subplot(), made(accuracy=ERRORS), "accuracy")
    train, test, limit = ax.lines
    np.testing.assert_allclose(train.get_xdata(), [0, 0.4, 8])
    np.testing.assert_allclose(train.get_ydata(), [40, 10, 1])
    assert limit.get_ydata()[0] == pytest.approx(2.0)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0, 70))
    assert ax.get_ylabel() == "error barrier (points)"
    assert [line.get_label() for line in (train, test)] == ["training", "test"]


def test_errors_are_the_first_panel_and_losses_have_no_limit():
    figure = plots.instability_figure(made(loss=ERRORS, accuracy=ERRORS))
    assert [ax.get_ylabel() for ax in figure.axes] == ["error barrier (points)", "loss barrier"]
    assert len(figure.axes[1].lines) == 2


def test_further_data_have_their_names_in_the_order_of_the_metrics():
    found = made(loss=ERRORS)
    barriers = {"noise": found.barriers["test"], "train": found.barriers["train"]}
    metrics = {"train": found.metrics["train"], "noise": found.metrics["test"]}
    found = found._replace(barriers=barriers, metrics=metrics)
    ax = plots.instability(Figure().add_subplot(), found, "loss")
    assert [line.get_label() for line in ax.lines] == ["training", "noise"]
