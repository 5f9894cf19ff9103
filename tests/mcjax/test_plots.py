import functools
import itertools
from xml.etree import ElementTree

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import text
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Points, Profile, Sharpness, Surface

T = np.linspace(0, 1, 7)


def some_arrays(metrics=("loss", "accuracy")):
    rng = np.random.default_rng(0)
    names = [
        f"{p}_{s}_{m}" for p in plots.PATH_STYLES for s in ("train", "validation") for m in metrics
    ]
    return {"t": T} | {name: rng.uniform(0.2, 0.9, 7) for name in names}


def curve_figure(arrays, title):
    return plots.curve_figure(Profile.from_arrays(arrays), title)


@pytest.mark.parametrize(
    ("metrics", "panels"), [(("loss", "accuracy"), 4), (("loss",), 2), (("accuracy",), 2)]
)
def test_a_panel_for_each_metric_and_percent_for_accuracies(metrics, panels):
    arrays = some_arrays(metrics)
    figure = curve_figure(arrays, "G to B")
    drawn = {}
    for ax in figure.axes:
        for line in ax.lines:
            drawn[ax.get_ylabel(), line.get_label()] = line.get_xydata().T
    assert len(drawn) == 2 * panels
    for metric, label in plots.METRIC_LABELS.items():
        for path in ("curve", "segment"):
            if f"{path}_{metric}" in arrays:
                scale = 100 if "accuracy" in metric else 1
                assert ("%" in label) == (scale == 100)
                t, values = drawn[label, path]
                np.testing.assert_array_equal(t, T)
                np.testing.assert_allclose(values, scale * arrays[f"{path}_{metric}"])
    assert figure.get_suptitle() == "G to B"
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["curve", "segment"]
    plt.close(figure)


def test_profiles_of_an_alignment_are_drawn_apart():
    arrays = {"t": T} | {f"{p}_train_loss": np.ones(7) for p in ("before", "after", "repaired")}
    lines = curve_figure(arrays, "").axes[0].lines
    assert [line.get_label() for line in lines] == ["before", "after", "repaired"]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 3
    assert len({line.get_color() for line in lines}) == 3


def test_metrics_of_ones_own_are_drawn_with_their_names():
    arrays = some_arrays(("loss", "F1", "top_5_accuracy")) | {"curve_train_F1_mean": np.ones(())}
    figure = curve_figure(arrays, "")
    labels = [ax.get_ylabel() for ax in figure.axes if ax.axison]
    assert labels == ["training loss", "validation loss", "training F1", "validation F1",
                      "training top 5 accuracy (%)", "validation top 5 accuracy (%)"]  # fmt: skip
    drawn = figure.axes[2].lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, arrays["curve_train_F1"])
    with pytest.raises(ValueError, match=r"no train_f1 of the curve; .* there are .*train_F1"):
        plots.profile(figure.axes[0], Profile.from_arrays(arrays), "train_f1")
    plt.close(figure)


def test_an_accuracy_of_one_throughout_has_no_axis_above_it():
    whole, low = np.ones(7), np.full(7, 0.5)
    ax = Figure().add_subplot()
    for curve in (low, whole):
        arrays = {"t": T, "curve_train_accuracy": curve, "segment_train_accuracy": low}
        plots.profile(ax, Profile.from_arrays(arrays), "train_accuracy")
    bottom, top = ax.get_ylim()
    assert bottom < 50 < 100 < top <= 101


def test_points_that_are_not_finite_can_be_drawn(tmp_path):
    arrays = some_arrays()
    arrays["segment_train_loss"][2:4] = np.nan, np.inf
    assert plots.save(curve_figure(arrays, "broken"), tmp_path / "f").is_file()


def test_saved_in_three_formats_and_the_same_bytes_again(tmp_path):
    arrays = some_arrays()
    paths = []
    for name in ("figures/curve@20", "again/figure"):
        with plots.style():
            figure = curve_figure(arrays, "t")
        paths.append(plots.save(figure, tmp_path / name))  # outside of the style, too
    path, again = paths
    assert path == tmp_path / "figures" / "curve@20.png"
    assert {p.name for p in path.parent.iterdir()} == {f"curve@20.{s}" for s in plots.FORMATS}
    assert plots.is_whole(path.with_suffix(""))
    assert matplotlib.image.imread(path).std() > 0.05
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert ElementTree.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")
    for suffix in plots.FORMATS:
        assert (
            path.with_suffix(f".{suffix}").read_bytes()
            == again.with_suffix(f".{suffix}").read_bytes()
        )
    path.with_suffix(".svg").write_bytes(path.with_suffix(".svg").read_bytes()[:-9])
    assert not plots.is_whole(path.with_suffix(""))
    assert plt.get_fignums() == []


def pairs(rng, names):
    return [(a, b, rng.uniform(-1, 3)) for a, b in itertools.combinations(names, 2)]


@functools.cache
def every_figure(*more):
    with plots.style(*more):
        return _every_figure()


def _every_figure():
    rng = np.random.default_rng(1)
    surface = {
        "x": np.linspace(-1, 5, 7), "y": np.linspace(-1, 2, 5),
        "point_xy": np.array([[0.0, 0], [4, 0], [1, 1.5]]), "point_name": np.array(["a", "b", "c"]),
    }  # fmt: skip
    for split in ("train", "validation"):
        surface[f"{split}_loss"] = rng.uniform(0.1, 5, (5, 7))
        surface[f"point_{split}_loss"] = np.array([0.2, 0.3, 0.1])
    surface = Surface.from_arrays(surface)
    sharpness = Sharpness(T, rng.uniform(1, 9, (7, 2)), np.zeros((7, 2)), T)
    return {
        "curve": curve_figure(some_arrays(), "t"),
        "surface": plots.surface_figure(
            Surface.from_arrays(surface), ("train_loss", "validation_loss")
        ),
        "sharpness": plots.sharpness_figure(sharpness, "t"),
        "barriers": plots.barrier_matrix(pairs(rng, "GABCDEF"), pairs(rng, "GABCDEF")),
    }


@pytest.mark.parametrize(
    ("more", "width", "smallest"), [((), 6.75, 5.5), (("mcjax.one_column",), 3.25, 5.2)]
)
def test_figures_are_as_wide_as_a_page_s_columns_and_legible(more, width, smallest):
    with plots.style(*more):
        for name, figure in every_figure(*more).items():
            assert figure.get_figwidth() == pytest.approx(width), name
            assert figure.get_figheight() < 9, name
            figure.draw_without_rendering()
            box = figure.get_tightbbox()  # nothing is cut off
            size = [width, figure.get_figheight()]
            assert box.min.min() > -0.02, name
            assert (box.max <= np.array(size) + 0.02).all(), name
            texts = [t for t in figure.findobj(text.Text) if t.get_text()]
            assert min(t.get_fontsize() for t in texts) > smallest, name


def test_a_surface_s_panels_fill_their_figure():
    figure = every_figure()["surface"]
    figure.draw_without_rendering()
    for ax in figure.axes[:2]:
        cell, seen = ax.get_position(original=True), ax.get_position()
        assert seen.width == pytest.approx(cell.width, rel=0.07)
        assert seen.height == pytest.approx(cell.height, rel=0.07)


def test_a_style_on_top_changes_colours_maps_and_width(tmp_path):
    style = tmp_path / "mine.mplstyle"
    style.write_text(
        'axes.prop_cycle: cycler("color", ["123456", "654321"])\n'
        "image.cmap: magma\nfigure.figsize: 4, 3\n"
    )
    before = dict(plt.rcParams)
    figures = every_figure(style)
    assert dict(plt.rcParams) == before
    lines = figures["curve"].axes[0].lines
    assert [line.get_color() for line in lines] == ["#123456", "#654321"]
    assert figures["barriers"].axes[0].images[0].get_cmap().name == "magma_r"
    assert figures["curve"].get_figwidth() == 4
    figures = every_figure()
    lines = figures["curve"].axes[0].lines
    assert [line.get_color() for line in lines] == list(plots.COLORS[:2])
    assert figures["barriers"].axes[0].images[0].get_cmap().name == "viridis_r"


def test_panels_compose_into_a_figure_of_one_s_own():
    figure = Figure(figsize=(5, 2))
    left, right = figure.subplots(1, 2)
    assert plots.profile(left, Profile.from_arrays(some_arrays()), "train_loss", ["curve"]) is left
    assert [line.get_label() for line in left.lines] == ["curve"]
    segments, curves = [("a", "b", 2.0), ("a", "c", -0.5)], [("b", "a", 0.25), ("a", "b", 0.75)]
    assert plots.barriers(right, curves, segments) is right
    assert {t.get_position(): t.get_text() for t in right.texts} == {
        (1, 0): "2", (2, 1): "none", (0, 1): "0.5",
    }  # fmt: skip
    assert plt.get_fignums() == []


def test_a_metric_that_is_not_there_is_named():
    metrics = {"train": {"loss": np.ones((2, 2))}}
    points = Points(np.zeros((3, 2)), np.array(["a", "b", "c"]), {})
    profile = Profile.from_arrays({"t": np.linspace(0, 1, 3), "curve_train_loss": np.ones(3)})
    surface = Surface(np.arange(2.0), np.arange(2.0), metrics, points)
    for draw, found, of in ((plots.profile, profile, "curve"), (plots.surface, surface, "surface")):
        words = f"no train_accuracy of the {of}; of metrics there are train_loss"
        with pytest.raises(ValueError, match=words):
            draw(plt.gca(), found, "train_accuracy")
    plt.close()


def test_a_single_metric_fills_the_figure():
    arrays = {"t": np.linspace(0, 1, 3)}
    arrays |= {f"{path}_train_loss": np.ones(3) for path in ("curve", "segment")}
    with plots.style():
        figure = curve_figure(arrays, "one")
    assert [ax.get_ylabel() for ax in figure.axes] == ["training loss"]
    plt.close(figure)


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


@pytest.mark.parametrize("path", ["curve", "segment"])
def test_the_profile_of_a_segment_or_of_a_curve_alone_has_its_figure(path):
    arrays = {n: x for n, x in some_arrays().items() if n == "t" or n.startswith(path)}
    arrays |= {f"{path}_train_f1": T, f"{path}_train_f1_mean": np.array(0.5)}
    figure = curve_figure(arrays, "t")
    assert [ax.get_ylabel() for ax in figure.axes[:5]] == [
        "training loss", "validation loss", "training accuracy (%)", "validation accuracy (%)",
        "training f1",
    ]  # fmt: skip
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [path]


def test_arrays_without_a_path_are_named():
    with pytest.raises(ValueError, match="no metric along a curve or segment"):
        curve_figure({"t": T, "train_loss": T}, "t")
