import numpy as np
import pytest

from mcjax.analysis import barriers

T = np.array([0.0, 0.2, 0.6, 1.0])


def test_three_heights():
    found = barriers.heights(np.array([1.0, 2.4, 2.0, 2.0]), T)
    np.testing.assert_allclose(found, [0.4, 0.9, 1.2])


def test_a_linear_descent_has_none():
    found = barriers.heights(np.array([3.0, 2.6, 1.8, 1.0]), T)
    np.testing.assert_allclose(found, [0.0, 1.0, 0.0], atol=1e-12)


def test_below_the_chord_is_zero_not_negative():
    assert barriers.heights(np.array([3.0, 0.5, 0.1, 1.0]), T).over_chord == 0


def test_nan_inside_is_infinitely_high_and_at_an_end_unknown():
    assert barriers.heights(np.array([1.0, np.nan, 2.0, 1.0]), T).over_max == np.inf
    assert np.isnan(barriers.heights(np.array([np.nan, 1.0, 2.0, 1.0]), T)).all()


@pytest.mark.parametrize("losses", [np.ones(3), np.ones((2, 4)), np.ones(1)])
def test_shapes(losses):
    with pytest.raises(ValueError, match="expected one shape"):
        barriers.heights(losses, T)


def test_one_point_is_no_path():
    with pytest.raises(ValueError, match="expected one shape"):
        barriers.heights(np.ones(1), np.zeros(1))


def test_the_lowest_pass_over_a_grid_takes_corner_steps():
    surface = np.array([[1.0, 7.0, 5.0, 9.0], [6.0, 2.0, 8.0, 9.0], [9.0, 9.0, 3.0, 1.5]])
    assert barriers.minimax_height(surface, (0, 0), (2, 3)) == 3.0
    assert barriers.minimax_height(surface.T, (3, 2), (0, 0)) == 3.0


@pytest.mark.parametrize(("start", "end"), [(0, 2), (2, 0)])
def test_the_height_of_a_pass_includes_both_ends(start, end):
    assert barriers.minimax_height(np.array([[4.0, 1.0, 2.0]]), (0, start), (0, end)) == 4.0


def test_what_is_not_finite_cannot_be_passed():
    surface = np.array([[1.0, np.nan, 2.0], [1.5, np.inf, 2.0]])
    assert barriers.minimax_height(surface, (0, 0), (1, 2)) == np.inf
    assert barriers.minimax_height(surface, (0, 0), (1, 0)) == 1.5
