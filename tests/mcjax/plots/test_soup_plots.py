"""The figure of soups: every point in its row, splits in their colours."""

import numpy as np
import pytest

from mcjax import plots
from mcjax.results import Interpolation, Soups, Values


def made(count):
    """The loss of network k is ``k + 1``, on validation a hundred times that."""

    def values(first, number):
        x = first + np.arange(number, dtype=float)
        return {"validation": {"loss": 100 * x, "accuracy": x / 1000},
                "train": {"loss": x, "accuracy": x / 100}}  # fmt: skip

    names = np.array([f"net{k}" for k in range(count)])
    segments = Interpolation(np.array([0.5]), names, Values(values(1, count)), {})
    ensembles = {"validation": {"accuracy": np.array([0.9]), "nll": np.array([0.1])}}
    return Soups(segments, np.array(["uniform", "greedy"]), np.full((2, count), 1 / count),
                 Values(values(20, 2)), np.array(["ensemble"]), ensembles)  # fmt: skip


def dots(ax):
    return [(line.get_xdata(), line.get_ydata()) for line in ax.lines if line.get_ls() == "None"]


def test_rows_are_networks_averages_and_ensembles():
    figure = plots.soups_figure(made(3))
    loss, accuracy = figure.axes
    assert [t.get_text() for t in loss.get_yticklabels()] == [
        "net0", "net1", "net2", "uniform", "greedy", "ensemble",
    ]  # fmt: skip
    assert [ax.get_xlabel() for ax in figure.axes] == ["loss", "accuracy (%)"]
    places = {float(x): int(y) for line in dots(accuracy) for x, y in zip(*line, strict=True)}
    train = {1: 0, 2: 1, 3: 2, 20: 3, 21: 4}
    assert places == pytest.approx(train | {0.1: 0, 0.2: 1, 0.3: 2, 2: 3, 2.1: 4, 90: 5})
    assert loss.get_xscale() == "log"
    words = [t.get_text() for t in figure.legends[0].get_texts()]
    assert words == ["training", "validation", "mean of the networks"]
    means = [line.get_xdata()[0] for line in loss.lines if line.get_ls() == ":"]
    assert means == [2, 200]


def test_many_networks_share_a_row():
    loss = plots.soups_figure(made(13)).axes[0]
    assert [t.get_text() for t in loss.get_yticklabels()][:2] == ["13 networks", "uniform"]
    own, averages, _ = dots(loss)[:3]
    assert set(own[1]) == {0}
    assert averages[1].tolist() == [1, 2]
