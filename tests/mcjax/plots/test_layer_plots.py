"""Figures of layer-wise barriers: the first layer on top, and thirty names legible."""

import itertools

import numpy as np
import pytest

from mcjax import plots
from mcjax.results import LAYER_PATHS, LayerPaths, Layers, PairHeights, Values


def made(count):
    """A layer's barriers of the training loss are its number, and twice that in validation."""
    number = 1.0 + np.arange(count)
    paths = {
        path: LayerPaths({}, None, {
            split: {"loss": PairHeights(2 * k * number, k * number, k * number)}
            for k, split in enumerate(("train", "validation"), start=1)
        })
        for path in LAYER_PATHS
    }  # fmt: skip
    names = np.array([f"stage_{k // 6}/a_block_of_layers_{k}/Conv_{k}" for k in range(count)])
    return Layers(np.linspace(0, 1, 3), np.array(["A", "B"]), names, Values({}), paths)


def test_every_layer_has_a_bar_for_each_split():
    figure = plots.layers_figure(made(4), "loss")
    for ax in figure.axes:
        train, validation = ([bar.get_width() for bar in c] for c in ax.containers)
        assert train == [1, 2, 3, 4]
        assert validation == [2, 4, 6, 8]
        assert [list(line.get_xdata()) for line in ax.lines] == [[2, 4, 6, 8], [4, 8, 12, 16]]
        above, below = (c[0].get_window_extent().y0 for c in ax.containers)
        assert above > below  # the training split
        assert (
            ax.containers[0][0].get_window_extent().y0 > ax.containers[0][1].get_window_extent().y0
        )
        assert ax.get_xlim()[1] > 16
    assert figure.axes[1].get_xlabel() == "barrier of the loss, over the chord between the networks"
    with pytest.raises(ValueError, match="no split has barriers of f1"):
        plots.layers_figure(made(2), "f1")


@pytest.mark.parametrize("style", [(), ("mcjax.one_column",)])
def test_thirty_names_are_legible(style):
    with plots.style(*style):
        figure = plots.layers_figure(made(30), "loss")
        figure.draw_without_rendering()
    ax = figure.axes[0]
    names = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert ax.get_yticklabels()[29].get_text().endswith("layers_29/Conv_29")
    assert all(a.y0 >= b.y1 for a, b in itertools.pairwise(names))
    box, size = figure.get_tightbbox(), figure.get_size_inches()
    assert box.min.min() > -0.02
    assert (box.max <= size + 0.02).all()
