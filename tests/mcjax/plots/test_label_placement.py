import numpy as np
from matplotlib.figure import Figure

from mcjax.plots import label_placement


def test_a_box_covers_a_point_if_both_coordinates_are_within():
    boxes = np.array([[0.0, 0, 2, 1], [1, 0, 3, 4]])  # left, bottom, right, top
    points = np.array([[1.5, 0.5], [1.5, 3], [5, 0.5], [0.5, 2]])
    np.testing.assert_array_equal(label_placement._inside(boxes, points), [1, 2])


def test_what_boxes_have_in_common():
    a, b = np.array([0.0, 0, 2, 3]), np.array([[1.0, 1, 5, 2], [2.5, 1, 3, 2], [3, 4, 5, 6]])
    np.testing.assert_allclose(label_placement._common(a, b), [1, 0, 0])


def test_a_leader_goes_where_it_crosses_no_words():
    """Markers close by push the label out of a ring of words that has one gap, on the left."""
    angles = np.arange(24) * np.pi / 12
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    here = np.array([100.0, 100.0])
    words = here + 20 * np.delete(ring, 12, axis=0)
    boxes = np.concatenate([words - 1.5, words + 1.5], axis=1)
    frame, no_lines = np.array([0.0, 0, 200, 200]), np.empty((0, 2))
    taken = label_placement._Taken(frame, here + 8 * ring, no_lines, boxes=boxes)
    offset, far, conflict = label_placement._place(here, np.array([10.0, 6.0]), taken)
    np.testing.assert_allclose(offset, [-(far + 5), 0], atol=1e-9)
    assert far > label_placement.NEAR
    assert not conflict


def test_a_label_leaves_an_anchors_larger_marker_free():
    here, size = np.array([100.0, 100.0]), np.array([10.0, 6.0])
    frame, nothing = np.array([0.0, 0, 200, 200]), np.empty((0, 2))
    for anchors, gap in ((nothing, 5), (here[None], 9)):
        taken = label_placement._Taken(frame, here[None], nothing, anchors)
        assert label_placement._place(here, size, taken)[1] == gap


def test_a_label_without_room_stays_hidden_when_it_is_drawn_again():
    """A hidden text has no size, for which there would be room."""
    labels = [label_placement.Label("first", np.array([0.5, 0.5]))]
    labels += [label_placement.Label(f"more {i}", np.array([0.5, 0.5]), optional=True)
               for i in range(20)]  # fmt: skip
    figure = Figure(figsize=(2, 2))
    ax = figure.subplots()
    ax.add_artist(label_placement.Labels(ax, labels, [], np.array([[0.5, 0.5]])))
    shown = []
    for _ in range(2):
        figure.draw_without_rendering()
        shown.append([text.get_visible() for text in ax.texts])
    assert shown[0] == shown[1]
    assert 1 < sum(shown[0]) < 15
    assert shown[0][0]
