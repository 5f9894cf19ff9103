"""The matrix of barriers: cells, failures and its colour bar."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from mcjax import plots


@pytest.mark.parametrize("more", [(), ("mcjax.one_column",)])
def test_a_mode_whose_curves_all_failed_keeps_its_row_and_is_marked(more):
    curves = [("a", "b", 0.25), ("a", "c", np.nan), ("b", "c", np.nan)]
    with plots.style(*more):
        figure = plots.barrier_matrix(curves, curves)
        figure.draw_without_rendering()
    ax, _ = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    hatched = {(p.get_x() + 0.5, p.get_y() + 0.5) for p in ax.patches if p.get_hatch()}
    assert hatched == {(2, 0), (2, 1), (0, 2), (1, 2)}
    assert {t.get_position() for t in ax.texts} == {(0, 1), (1, 0)}
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["failed: no barrier is known"]
    assert not any(p.get_hatch() for p in plots.barrier_matrix(curves[:1], []).axes[0].patches)


def test_where_all_pairs_failed_there_is_a_matrix_without_a_colour_bar():
    figure = plots.barrier_matrix([("a", "b", np.nan)], [("a", "b", np.nan)])
    assert len(figure.axes) == 1
    assert len([p for p in figure.axes[0].patches if p.get_hatch()]) == 2


def test_a_curve_that_failed_is_marked_below_the_diagonal():
    ax = plots.barriers(Figure().add_subplot(), [("a", "b", np.nan)], [("a", "b", 0.5)])
    assert [p.get_xy() for p in ax.patches if p.get_hatch()] == [(-0.5, 0.5)]


def test_a_seed_that_failed_does_not_hide_those_that_did_not():
    ax = Figure().add_subplot()
    plots.barriers(ax, [("a", "b", 0.5), ("a", "b", np.nan)], [])
    assert [t.get_text() for t in ax.texts] == ["0.5"]


@pytest.mark.parametrize(("low", "high"), [(2.451, 2.4752), (0.0013, 6.7), (3e-7, 8e-7), (20, 90)])
def test_the_colour_bar_of_barriers_has_plain_numbers_that_differ(low, high):
    heights = np.linspace(low, high, 10)
    some = [(a, b, h) for (a, b), h in zip(itertools.combinations("GABCD", 2), heights)]  # noqa: B905
    with plots.style("mcjax.one_column"):
        figure = plots.barrier_matrix(some, some)
        figure.draw_without_rendering()
    bar = figure.axes[1]
    texts = [t.get_text() for t in bar.get_yticklabels()]
    assert len(set(texts)) == len(texts) >= 3
    np.testing.assert_allclose([float(t) for t in texts], bar.get_yticks(), rtol=1e-6)
    assert all(low <= tick <= max(high, 1.01 * low) for tick in bar.get_yticks())
    cells = [t.get_text() for t in figure.axes[0].texts]
    assert len(set(cells)) == 10  # each height twice


def test_the_colour_bar_of_a_single_barrier_is_a_decade_with_round_numbers():
    figure = plots.barrier_matrix([("a", "b", 0.0)], [("a", "b", 0.0056)])
    figure.draw_without_rendering()
    matrix, bar = figure.axes
    assert bar.get_ylim() == pytest.approx((0.00056, 0.0056))
    texts = [t.get_text() for t in bar.get_yticklabels()]
    assert texts == ["0.0007", "0.001", "0.0015", "0.002", "0.003", "0.005"]
    assert [t.get_text() for t in matrix.texts] == ["none", "0.0056"]
