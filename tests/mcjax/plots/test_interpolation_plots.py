"""Figures of interpolations: each pair in its place, and legible with eight networks."""

import itertools

import numpy as np
import pytest
from matplotlib import text
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Interpolation, Interval, PairHeights, PairPaths, Values

T = np.linspace(-0.5, 1.5, 9)


def made(count, paths=("segment",)):
    """The training loss of a pair is its number at every ``t``; its accuracy a tenth of that."""
    pairs = np.array(list(itertools.combinations(range(count), 2)))
    loss = np.repeat(1.0 + np.arange(len(pairs))[:, None], len(T), axis=1)
    own = Values({s: {"loss": np.full(count, 0.5), "accuracy": np.full(count, 0.9)}
                  for s in ("train", "validation")})  # fmt: skip
    heights = PairHeights(*(loss[:, 0] * k for k in (1, 2, 3)))
    shares = PairHeights(*(x / 100 for x in heights))

    def path(factor):
        metrics = {"loss": factor * loss, "accuracy": 0.01 * factor * loss}
        barriers = {"loss": PairHeights(*(factor * x for x in heights)), "accuracy": shares}
        both = {"train": metrics, "validation": metrics}
        return PairPaths(pairs, both, barriers=dict.fromkeys(both, barriers))

    found = {name: path(10.0**-k) for k, name in enumerate(paths)}
    return Interpolation(T, np.array([f"net{k}" for k in range(count)]), own, found)


def cells(ax):
    return {t.get_position(): t.get_text() for t in ax.texts}


def test_segments_are_above_the_diagonal_and_aligned_ones_below_it():
    ax = plots.matrix(Figure().add_subplot(), made(3, ("segment", "aligned")), "train_loss")
    above = {(1, 0): "1", (2, 0): "2", (2, 1): "3"}  # column, row
    below = {(0, 1): "0.1", (0, 2): "0.2", (1, 2): "0.3"}
    assert cells(ax) == above | below
    assert "aligned segments below it" in ax.get_title()
    ax = plots.matrix(Figure().add_subplot(), made(3), "validation_accuracy")
    assert cells(ax) == above | {(row, column): x for (column, row), x in above.items()}
    assert "diagonal" not in ax.get_title()


def test_every_pair_has_its_panel():
    figure = plots.pairs_figure(made(4, ("segment", "curve")), "loss")
    axes = np.array(figure.axes).reshape(3, 3)
    found = iter(range(1, 7))
    for i, j in zip(*np.triu_indices(3), strict=True):
        levels = [line.get_ydata()[0] for line in axes[i, j].lines if len(line.get_xdata()) == 9]
        number = next(found)
        assert levels == pytest.approx([number, number, 0.1 * number, 0.1 * number])
    assert not any(axes[i, j].axison for i, j in zip(*np.tril_indices(3, -1), strict=True))
    assert [ax.get_title() for ax in axes[0]] == ["net1", "net2", "net3"]
    assert [ax.texts[0].get_text() for ax in axes[:, -1]] == ["net0", "net1", "net2"]
    words = [t.get_text() for t in figure.legends[0].get_texts()]
    assert words[:4] == ["training loss", "validation loss", "segments", "curves"]


def test_long_names_that_differ_in_the_middle_are_numbered():
    names = np.array([f"a_long_name_of_seed{k}_and_its_end" for k in range(2)])
    ax = plots.pairs_figure(made(2)._replace(name=names), "loss").axes[0]
    assert ax.texts[0].get_text() == "(1) a_long_na…d_its_end"
    assert ax.get_title() == "(2) a_long_na…d_its_end"


def test_extrapolation_may_leave_the_panel_but_nothing_between_the_networks_does():
    found = made(2)
    loss = found.paths["segment"].metrics["train"]["loss"]
    loss[0, :] = 8 * (T - 0.5) ** 2  # 2 at the ends, 8 beyond
    low, high = plots.pairs_figure(found, "loss").axes[0].get_ylim()
    assert low < 0 < 2 < high < 4


@pytest.mark.slow
def test_eight_networks_are_legible_in_one_column():
    with plots.style("mcjax.one_column"):
        figure = plots.pairs_figure(made(8), "accuracy")
    box, size = figure.get_tightbbox(), figure.get_size_inches()
    assert box.min.min() > -0.02
    assert (box.max <= size + 0.02).all()
    texts = [t for t in figure.findobj(text.Text) if t.get_text()]
    assert min(t.get_fontsize() for t in texts) > 5.2
    names = [ax.title.get_window_extent() for ax in figure.axes[:7]]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(names))


def test_a_legend_of_many_data_is_below_the_panels():
    found = made(3, ("segment", "aligned", "curve"))
    for values in (found.networks, *found.paths.values()):
        values.metrics.update({f"more{k}": values.metrics["train"] for k in range(4)})
    figure = plots.pairs_figure(found, "loss")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 >= 0
    assert all(legend.y1 < figure.axes[k].xaxis.label.get_window_extent().y0 for k in (0, 3))


def test_groups_have_their_means_and_bands():
    kinds = {
        words: {"train_loss": Interval(level + T, level + T - 0.25, level + T + 0.25)}
        for words, level in (("between", 2.0), ("within", 1.0))
    }
    figure = plots.groups_figure(T, kinds, ["train_loss"])
    ax = figure.axes[0]
    for line, level in zip(ax.lines, (2.0, 1.0), strict=True):
        np.testing.assert_allclose(line.get_ydata(), level + T)
    extents = [band.get_datalim(ax.transData) for band in ax.collections]
    np.testing.assert_allclose([(e.y0, e.y1) for e in extents], [(1.25, 3.75), (0.25, 2.75)])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["between", "within"]


def test_without_barriers_there_is_no_figure_of_them():
    found = made(2)
    none = {name: path._replace(barriers={}) for name, path in found.paths.items()}
    with pytest.raises(ValueError, match="there are no barriers"):
        plots.barriers_figure(found._replace(paths=none))


def test_a_metric_of_no_split_is_named():
    with pytest.raises(ValueError, match="no split has the metric f1"):
        plots.pairs_figure(made(2), "f1")
