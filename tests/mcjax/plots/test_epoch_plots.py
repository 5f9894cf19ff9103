"""The figure of barriers between epochs: each pair of epochs in its cell."""

import itertools

import numpy as np
import pytest

from mcjax import plots
from mcjax.results import Interpolation, PairHeights, PairPaths, Values


def made(epochs, group=None, names=None):
    """The barrier of networks i < j is ``10 i + j``, of the accuracy a thousandth of that."""
    pairs = np.array(list(itertools.combinations(range(len(epochs)), 2)))
    height = 1.0 * pairs @ [10, 1]
    barriers = {"loss": PairHeights(*[height] * 3), "accuracy": PairHeights(*[height / 1000] * 3)}
    metrics = {"loss": np.ones((len(pairs), 1)), "accuracy": np.ones((len(pairs), 1))}
    path = PairPaths(pairs, {"train": metrics}, barriers={"train": barriers})
    names = np.array(names or [f"A@{e}" for e in epochs])
    own = Values({"train": {"loss": np.ones(len(epochs)), "accuracy": np.ones(len(epochs))}})
    return Interpolation(np.array([0.5]), names, own, {"segment": path}, group, np.array(epochs))


def cells(figure):
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def words(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_run_with_itself():
    figure = plots.epochs_figure(made([0.0, 2.0, 2.5]), "loss")
    (own,) = cells(figure)
    assert own.tolist() == [[0, 1, 2], [1, 0, 12], [2, 12, 0]]
    ax = figure.axes[0]
    assert words(ax.xaxis) == words(ax.yaxis) == ["0", "2", "2.5"]
    assert ax.get_xlabel() == "epoch of A"
    assert figure.axes[-1].get_ylabel() == "training loss\nover the higher end"


def test_two_runs_have_three_panels_on_one_scale():
    group, names = np.array([0, 0, 1, 1, 1]), ["A@0", "A@9", "B@1", "B@2", "B@3"]
    figure = plots.epochs_figure(made([0.0, 9.0, 1.0, 2.0, 3.0], group, names), "accuracy")
    first, both, second = cells(figure)
    np.testing.assert_allclose(first, [[0, 0.1], [0.1, 0]])
    np.testing.assert_allclose(both, [[0.2, 0.3, 0.4], [1.2, 1.3, 1.4]])
    np.testing.assert_allclose(second[0], [0, 2.3, 2.4])
    middle = figure.axes[1]
    assert (middle.get_ylabel(), middle.get_xlabel()) == ("epoch of A", "epoch of B")
    assert words(middle.yaxis) == ["0", "9"]
    for ax in figure.axes[:3]:
        assert ax.images[0].get_clim() == pytest.approx((0, 3.4))


def test_what_has_no_epochs():
    with pytest.raises(ValueError, match="not epochs"):
        plots.epochs_figure(made([1.0, 2.0])._replace(epoch=None), "loss")
    with pytest.raises(ValueError, match="no split has barriers of f1"):
        plots.epochs_figure(made([1.0, 2.0]), "f1")
