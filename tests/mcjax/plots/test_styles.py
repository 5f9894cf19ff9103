"""What all figures share: size, style, names."""

import functools
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import text
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Points, Profile, Sharpness, Surface
from tests.mcjax.plots.profiles import T, curve_figure, some_arrays


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
    sharpness = Sharpness(T, rng.uniform(1, 9, (7, 2)), np.zeros((7, 2)), T)
    return {
        "curve": curve_figure(some_arrays(), "t"),
        "surface": plots.surface_figure(
            Surface.from_arrays(surface), ("train_loss", "validation_loss")
        ),
        "sharpness": plots.sharpness_figure(sharpness, "t"),
        "barriers": plots.barrier_matrix(pairs(rng, "GABCDEF"), pairs(rng, "GABCDEF")),
    }


@pytest.mark.slow
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
        words = f"the {of} has no train_accuracy; it has train_loss"
        with pytest.raises(ValueError, match=words):
            draw(plt.gca(), found, "train_accuracy")
    plt.close()
