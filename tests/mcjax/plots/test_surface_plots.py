"""What is drawn on a surface: lines, legend entries and where the words are."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from mcjax import plots
from mcjax.plots import label_placement, surface_plots
from mcjax.results import CurveOnPlane, PathMetrics, Profile, Refinement, Sampling, Surface
from tests.mcjax.plots.surfaces import Y, draw, drawable, with_curve, with_iterates, words


def test_a_curve_is_off_the_plane_by_a_share_of_its_extent():
    xy = np.array([[0.0, 0], [3, 5], [10, 10]])
    off = plots.off_plane(CurveOnPlane(np.linspace(0, 1, 3), xy, np.array([0.9, 0.99, 1.1]), xy))
    np.testing.assert_array_equal(off, [False, False, True])


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
def test_iterates_are_named_where_there_is_room(more):
    arrays = with_iterates(SPIRAL)
    _, ax = draw(arrays, ("train_loss", "train_loss"), *more)
    names = [t.get_text() for t in shown_labels(ax)]
    assert names[:5] == ["a", "b", "c", "1 (2)", "12 (2)"]
    assert len(set(names)) == len(names) > 3 + 5


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


@pytest.mark.slow
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
    lines += [arrays["curve_xy"]] if "curve_xy" in arrays else []
    lines += [arrays["iterate_xy"]] if "iterate_xy" in arrays else []
    lines = np.concatenate([label_placement.dense(ax.transData.transform(xy)) for xy in lines])
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not inside(box, lines).any()
        for j, leader in enumerate(leaders):
            if leader and i != j:
                assert not inside(box, label_placement.dense(np.array(leader))).any()


def iterate_markers(ax):
    """Places and sizes of the markers of iterates: the collections with their outline."""
    ink = np.array([0xD5, 0x5E, 0x00]) / 255
    found = [c for c in ax.collections if len(c.get_offsets()) and len(c.get_edgecolors())]
    found = [c for c in found if np.allclose(c.get_edgecolors()[0, :3], ink)]
    sizes = [np.full(len(c.get_offsets()), c.get_sizes()[0]) for c in found]
    return np.concatenate([c.get_offsets() for c in found]), np.concatenate(sizes)


def test_every_iterate_has_a_marker_small_where_they_are_close():
    xy = 0.01 * np.random.default_rng(0).normal(size=(12, 2))
    figure, ax = draw(with_iterates(xy, iterate_variance_share=np.array(0.0042)))
    assert words(figure)[-1].split("\n") == [
        "iterate: epoch (distance from the plane); small where close",
        "the plane holds 0.42 % of the iterates' variance",
    ]
    places, sizes = iterate_markers(ax)
    np.testing.assert_allclose(places, xy)
    assert len(set(sizes)) == 1
    assert len(shown_labels(ax)) < 3 + 12  # there is no room for all
    points = [c for c in ax.collections if len(c.get_offsets()) == 3]
    assert ax.collections[0].get_zorder() < max(c.get_zorder() for c in points)
    xy[:3] = [[3, 2], [2, 1.5], [3.02, 2.01]]
    xy[-1] = [4, 0]  # near b, but far from the plane
    figure, ax = draw(with_iterates(xy))
    places, large = iterate_markers(ax)
    assert {tuple(place) for place in places} == {tuple(place) for place in xy}
    big = {tuple(place) for place in places[large == large.max()]}
    assert large.max() > 3 * large.min()
    assert big == {(3, 2), (2, 1.5)}


def test_an_iterate_that_is_a_point_has_no_marker_of_its_own():
    arrays = with_iterates([[1, 1], [4, 0]]) | {"iterate_distance": np.array([1.0, 0.0])}
    figure, ax = draw(arrays)
    np.testing.assert_allclose(iterate_markers(ax)[0], [[1, 1]])
    assert words(figure)[-1] == "iterate: epoch (distance from the plane)"


@pytest.mark.parametrize("log", [True, False])
def test_contours_meet_the_grid_and_have_no_extremes_between(log):
    values = np.random.default_rng(0).uniform(0.01, 5, (5, 7))
    x, y = np.linspace(-1, 5, 7), np.array([-2.0, -1, 0, 2, 3])
    fine_x, fine_y, fine = surface_plots._finer(x, y, values, log)
    assert min(fine.shape) > 100
    across, along = (np.abs(a - b[:, None]).argmin(1) for a, b in ((fine_x, x), (fine_y, y)))
    np.testing.assert_allclose(fine[np.ix_(along, across)], values, rtol=1e-6)
    np.testing.assert_allclose(fine_x[across], x)
    np.testing.assert_allclose(fine_y[along], y)
    cells = fine[along[1] : along[2] + 1, across[2] : across[3] + 1]
    corners = values[1:3, 2:4]
    assert corners.min() * (1 - 1e-9) <= cells.min()
    assert cells.max() <= corners.max() * (1 + 1e-9)


def test_a_steep_loss_is_interpolated_by_its_log():
    grid = np.geomspace(1e-4, 1, 5)[None].repeat(5, axis=0)
    _, _, fine = surface_plots._finer(np.arange(5.0), np.arange(5.0), grid, True)
    np.testing.assert_allclose(np.diff(np.log(fine[0])), np.log(1e4) / (fine.shape[1] - 1))


@pytest.mark.slow
def test_several_panels_are_lettered():
    figure, _ = draw(drawable(), ("train_loss", "train_loss"))
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["(a)", "(b)"]
    assert draw(drawable())[1].get_title(loc="left") == ""


def test_iterates_do_not_hide_the_segment():
    _, ax = draw(with_iterates([[1, 0], [2, 0], [3, 0]]))
    dashed = [line.get_zorder() for line in ax.lines if line.get_linestyle() == "--"]
    markers = next(c for c in ax.collections if c.get_label().startswith("iterate"))
    arrows = [t.get_zorder() for t in ax.texts if not t.get_text()]
    assert len(arrows) == 2
    assert max(arrows) < min(dashed) < markers.get_zorder() < max(dashed)


@pytest.mark.slow
def test_the_legend_s_entries_are_side_by_side_where_they_fit():
    arrays = with_iterates(SPIRAL, iterate_variance_share=np.array(0.5))
    arrays |= {n: x for n, x in with_curve(3.6).items() if n.startswith("curve")}
    figure, _ = draw(arrays, ("train_loss", "train_loss"))
    assert len(words(figure)) == 5
    legend = figure.legends[0].get_window_extent()
    assert legend.height / figure.dpi < 0.6
    assert legend.x0 >= 0
    assert legend.x1 <= figure.get_figwidth() * figure.dpi


def test_the_legend_says_what_was_not_evaluated_or_measured_on_a_sample():
    found = Surface.from_arrays(drawable())
    evaluated = np.zeros(found.metrics["train"]["loss"].shape, bool)
    evaluated[::2, ::2] = True
    sampling = Sampling({"train": (1000, 60000), "validation": (60, 60)}, found.metrics)
    found = found._replace(refinement=Refinement(0.02, evaluated, {}), sampling=sampling)
    text = words(plots.surface_figure(found, "train_loss"))
    assert "32 % of the points evaluated, the others interpolated" in text  # 20 of 63
    assert "train: measured on 1,000 of 60,000 examples" in text
    every = found._replace(refinement=Refinement(0.02, np.ones_like(evaluated), {}))
    assert not any("evaluated" in x for x in words(plots.surface_figure(every, "train_loss")))
    found = found._replace(refinement=None, sampling=sampling._replace(stop_above=2.5))
    text = words(plots.surface_figure(found, "train_loss"))
    assert text == ["segment", "train above 2.5: measured on 1,000 of 60,000 examples"]
    sampling = sampling._replace(examples={"train": (60000, 60000)})
    assert words(plots.surface_figure(found._replace(sampling=sampling), "train_loss")) == [
        "segment"
    ]


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


@pytest.mark.slow
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


def surface_with(**changes):
    x, y = np.linspace(-1, 5, 7), np.linspace(-2, 3, 5)
    arrays = {
        "x": x,
        "y": y,
        "train_loss": np.add.outer(y**2, x**2) + 0.01,
        "point_xy": np.array([[0.0, 0], [4, 0], [1, 2]]),
        "point_name": np.array(["a", "b", "c"]),
        "point_train_loss": np.array([0.01, 16.0, 5.0]),
        "iterate_xy": np.array([[0.5, 0.5], [0.501, 0.5], [0.5, 0.501], [4, 0]]),
        "iterate_epoch": np.array([10, 20, 30, 40]),
        "iterate_distance": np.array([3.0, 2.0, 1.0, 0.0]),
        "iterate_train_loss": np.array([4.0, 3.0, np.nan, 0.1]),
    }
    return Surface.from_arrays(arrays | changes)


def test_figure_labels_do_not_overlap_and_say_the_distance():
    figure = plots.surface_figure(surface_with(), "train_loss", labels=("w70", "w150", "theta"))
    figure.draw_without_rendering()
    ax = figure.axes[0]
    texts = shown_labels(ax)
    assert [t.get_text() for t in texts] == ["w70", "w150", "theta", "10 (3)", "30 (1)", "20 (2)"]
    boxes = [Text.get_window_extent(t) for t in texts]
    for i, box in enumerate(boxes):
        assert not box.overlaps(figure.axes[1].get_window_extent())
        assert not any(box.overlaps(other) for other in boxes[:i])
    scale = ax.transData.transform([[0, 0], [1, 1]])
    np.testing.assert_allclose(*np.ptp(scale, axis=0), rtol=1e-6)  # true aspect
    plt.close(figure)


@pytest.mark.parametrize(
    ("losses", "clipped"),
    [
        (np.full((5, 7), 2.0), False),
        (np.where(np.eye(5, 7) > 0, np.inf, 0.3), True),
        (np.full((5, 7), np.nan), True),
        (np.geomspace(1e-9, 1e9, 35).reshape(5, 7), True),
        (np.zeros((5, 7)), False),
        (np.linspace(-3, 3, 35).reshape(5, 7), False),
    ],
)
def test_figures_of_strange_surfaces(losses, clipped):
    points = np.array([0.3, 0.2, np.nan])
    surface = surface_with(train_loss=losses, point_train_loss=points)
    figure = plots.surface_figure(surface, "train_loss")
    title = figure.axes[1].get_title()
    assert ("clipped" in title) == clipped
    assert ("not finite" in words(figure)) == (not np.isfinite(losses).all())
    plt.close(figure)
