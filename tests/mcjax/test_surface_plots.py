"""What is drawn on a surface: colours, lines, legend entries and where the words are."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.text import Text

from mcjax import plots
from mcjax.plots import colour_scale, label_placement
from mcjax.results import CurveOnPlane, PathMetrics, Profile, Surface

X, Y = np.linspace(-1, 5, 9), np.linspace(-1, 3, 7)
BOWL = 0.02 + 0.1 * ((X[None] - 2) ** 2 + (Y[:, None] - 1) ** 2)


def drawable(loss=BOWL, own=(0.01, 0.03, 0.02), **more):
    return {
        "x": X, "y": Y, "point_xy": np.array([[0.0, 0], [4, 0], [1.5, 2]]),
        "point_name": np.array(["a", "b", "c"]), "train_loss": loss,
        "point_train_loss": np.array(own), **more,
    }  # fmt: skip


def with_curve(distance, **more):
    t = np.linspace(0, 1, 61)
    xy = np.stack([4 * t, 3 * t * (1 - t) + 0.3 * np.sin(3 * np.pi * t)], axis=1)
    bends = xy[[0, 15, 30, 45, 60]]
    curve = {"curve_t": t, "curve_xy": xy, "curve_control_xy": bends,
             "curve_distance": distance * np.sin(np.pi * t)}  # fmt: skip
    return drawable(**curve, **more)


def with_iterates(xy, distance=2.0, **more):
    xy = np.asarray(xy, float)
    count = len(xy)
    iterates = {"iterate_xy": xy, "iterate_epoch": 1 + np.arange(count),
                "iterate_distance": np.full(count, distance),
                "iterate_train_loss": np.geomspace(1, 0.1, count)}  # fmt: skip
    return drawable(**iterates, **more)


def draw(arrays, metric="train_loss", *more, **options):
    with plots.style(*more):
        figure = plots.surface_figure(Surface.from_arrays(arrays), metric, **options)
        figure.draw_without_rendering()
    return figure, figure.axes[0]


def words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def marker_colours(ax):
    """Of the points, as drawn."""
    return ax.collections[-1].get_facecolors()


def ticks(figure):
    return [t.get_text() for t in figure.axes[1].get_yticklabels()]


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


def test_a_curve_is_off_the_plane_by_a_share_of_its_extent():
    xy = np.array([[0.0, 0], [3, 5], [10, 10]])
    off = plots.off_plane(CurveOnPlane(np.linspace(0, 1, 3), xy, np.array([0.9, 0.99, 1.1]), xy))
    np.testing.assert_array_equal(off, [False, False, True])


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


def test_a_curve_on_the_plane_says_nothing_of_its_distance():
    figure, ax = draw(with_curve(1e-6))
    assert words(figure) == ["segment", "curve", "bend of the curve"]
    bends = next(line for line in ax.lines if line.get_label() == "bend of the curve")
    assert len(bends.get_xdata()) == 3


def test_a_curve_near_the_plane_has_its_distance_in_the_legend():
    figure, ax = draw(with_curve(0.3))
    assert "curve (up to 0.3 from the plane)" in words(figure)
    assert [line.get_linestyle() for line in ax.lines][:2] == ["--", "-"]


def test_a_curve_off_the_plane_hides_the_colours_under_it():
    figure, ax = draw(with_curve(3.6))
    assert any("off the plane (by up to 3.6)" in text for text in words(figure))
    near, band, dotted = (line for line in ax.lines if len(line.get_xdata()) == 61)
    off = with_curve(3.6)["curve_distance"] > 0.4  # a tenth of its extent
    np.testing.assert_array_equal(np.isnan(near.get_xdata()), off)
    assert (dotted.get_linestyle(), band.get_color()) == (":", "white")
    assert np.isfinite(dotted.get_xdata())[off].all()
    assert np.isfinite(band.get_xdata())[off].all()
    assert band.get_linewidth() > 3 * dotted.get_linewidth()
    assert band.get_zorder() < dotted.get_zorder()


def test_ends_of_a_curve_that_are_not_among_the_points_are_no_bends():
    arrays = with_curve(0.0)
    arrays["point_xy"] = arrays["point_xy"] + np.array([0, 0.7])
    figure, ax = draw(arrays)
    assert words(figure)[-2:] == ["bend of the curve", "its end"]
    ends = next(line for line in ax.lines if line.get_label() == "its end")
    np.testing.assert_allclose(ends.get_xdata(), [0, 4], atol=1e-9)


SPIRAL = [
    [2 + 0.16 * k * np.cos(0.9 * k), 1 + 0.12 * k * np.sin(0.9 * k)] for k in range(12, 0, -1)
]


def shown_labels(ax):
    return [t for t in ax.texts if t.get_text() and t.get_visible()]


@pytest.mark.parametrize("more", [(), ("mcjax.one_column",)])
def test_iterates_first_last_and_a_few_between_are_named(more):
    arrays = with_iterates(SPIRAL)
    _, ax = draw(arrays, ("train_loss", "train_loss"), *more)
    names = [t.get_text() for t in shown_labels(ax)]
    assert names[:3] == ["a", "b", "c"]
    assert len(names) <= 3 + 5
    assert {"1 (2)", "12 (2)"} <= set(names)


def boxes_and_leaders(figure, ax):
    boxes, leaders = [], []
    for text in shown_labels(ax):
        boxes.append(Text.get_window_extent(text))
        end = ax.transData.transform(text.xy)
        middle = np.array([boxes[-1].x0 + boxes[-1].x1, boxes[-1].y0 + boxes[-1].y1]) / 2
        leaders.append([end, middle] if text.arrow_patch.get_visible() else None)
    return boxes, leaders


def inside(box, points):
    return ((points > box.min) & (points < box.max)).all(axis=1)


@pytest.mark.parametrize("more", [(), ("mcjax.one_column",)])
@pytest.mark.parametrize("case", ["spiral", "curve", "close"])
def test_words_cover_no_line_and_no_leader_crosses_words(more, case):
    arrays = {
        "spiral": lambda: with_iterates(SPIRAL),
        "curve": lambda: with_curve(0.0) | {"point_xy": np.array([[0, 0], [4, 0], [2.5, 1.0]])},
        "close": lambda: with_iterates(np.array(SPIRAL)[:4] * 0.4 + 1),
    }[case]()
    figure, ax = draw(arrays, ("train_loss", "train_loss"), *more)
    boxes, leaders = boxes_and_leaders(figure, ax)
    lines = [arrays["point_xy"][:2]]
    lines += [arrays[name] for name in ("curve_xy", "iterate_xy") if name in arrays]
    lines = np.concatenate([label_placement.dense(ax.transData.transform(xy)) for xy in lines])
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not inside(box, lines).any()
        for j, leader in enumerate(leaders):
            if leader and i != j:
                assert not inside(box, label_placement.dense(np.array(leader))).any()


def test_iterates_under_the_marker_are_counted_and_leave_no_heap():
    xy = 0.01 * np.random.default_rng(0).normal(size=(12, 2))
    arrays = with_iterates(xy, iterate_variance_share=np.array(0.0042))
    figure, ax = draw(arrays)
    entry = words(figure)[-1].split("\n")
    assert entry == [
        "iterate: epoch (distance from the plane)",
        "12 of 12 too close to others to be drawn",
        "the plane holds 0.42 % of the iterates' variance",
    ]
    assert [t.get_text() for t in shown_labels(ax)] == ["a", "b", "c"]
    spread = xy.copy()
    spread[:3] = [[3, 2], [2, 1.5], [1, 1]]
    figure, ax = draw(with_iterates(spread))
    assert "9 of 12 too close to others to be drawn" in words(figure)[-1]
    names = [t.get_text() for t in shown_labels(ax)]
    assert names[3:] == ["1 (2)", "2 (2)", "3 (2)"]


def test_names_are_written_as_they_are():
    arrays = drawable() | {"point_name": np.array(["a$b_{$", "100%_x", r"^\$"])}
    _, ax = draw(arrays)
    assert [t.get_text().replace(r"\$", "$") for t in shown_labels(ax)] == list(
        arrays["point_name"]
    )
    assert ax.get_xlabel() == r"weight distance from a\$b_{\$ towards 100%_x"
    curve = Profile(np.linspace(0, 1, 3), {"curve": PathMetrics({"train": {"loss": np.ones(3)}})})
    with plots.style():
        plots.curve_figure(curve, "a$b_{$").draw_without_rendering()
        name = "a$b_{$"
        plots.barrier_matrix([(name, "B", 1.0)], [(name, "B", 2.0)]).draw_without_rendering()


def test_a_flat_surface_with_a_long_legend_has_room_for_both():
    arrays = with_curve(3.6) | with_iterates(SPIRAL, iterate_variance_share=np.array(0.5))
    arrays |= {n: x for n, x in with_curve(3.6).items() if n.startswith("curve")}
    arrays |= {"y": 0.15 * Y + 0.3}
    figure, ax = draw(arrays, ("train_loss", "train_loss"), "mcjax.one_column")
    assert len(words(figure)) == 5
    legend = figure.legends[0].get_window_extent()
    assert legend.y0 > -1
    assert not any(legend.overlaps(one.get_window_extent()) for one in figure.axes)
    assert ax.get_window_extent().width > 100
