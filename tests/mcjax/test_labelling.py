import numpy as np

from mcjax import labelling


def test_a_box_covers_a_point_if_both_coordinates_are_within():
    boxes = np.array([[0.0, 0, 2, 1], [1, 0, 3, 4]])  # left, bottom, right, top
    points = np.array([[1.5, 0.5], [1.5, 3], [5, 0.5], [0.5, 2]])
    np.testing.assert_array_equal(labelling._inside(boxes, points), [1, 2])


def test_what_boxes_have_in_common():
    a, b = np.array([0.0, 0, 2, 3]), np.array([[1.0, 1, 5, 2], [2.5, 1, 3, 2], [3, 4, 5, 6]])
    np.testing.assert_allclose(labelling._common(a, b), [1, 0, 0])
