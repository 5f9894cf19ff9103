"""Figures of profiles, and saved figures."""

from xml.etree import ElementTree

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Profile, Sharpness
from tests.mcjax.plots.profiles import T, curve_figure, some_arrays


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


def test_the_last_panel_of_each_column_has_the_axis():
    arrays = some_arrays(("loss", "accuracy"))
    arrays = {n: x for n, x in arrays.items() if "validation_accuracy" not in n}
    axes = curve_figure(arrays, "").axes
    assert [ax.get_xlabel() for ax in axes[:3]] == ["", "t", "t"]
    assert [ax.xaxis.get_tick_params()["labelbottom"] for ax in axes[:3]] == [False, True, True]


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
    with pytest.raises(ValueError, match=r"the curve has no train_f1; it has .*train_F1"):
        plots.profile(figure.axes[0], Profile.from_arrays(arrays), "train_f1")
    plt.close(figure)


def test_accuracies_of_classes_share_a_panel():
    arrays = some_arrays(("loss", "class_0_accuracy", "class_12_accuracy"))
    figure = curve_figure(arrays, "")
    panels = [ax for ax in figure.axes if ax.axison and ax.get_xlabel() == "t"]
    labels = [ax.get_ylabel() for ax in panels]
    words = [f"{split} class accuracy (%)\ncurve" for split in ("training", "validation")]
    assert labels == words
    for line, k in zip(panels[1].lines, (0, 12), strict=True):
        expected = 100 * arrays[f"curve_validation_class_{k}_accuracy"]
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert len({line.get_color() for line in panels[1].lines}) == 2
    with pytest.raises(ValueError, match="the curve has no accuracies of single classes on train"):
        plots.classes(panels[0], Profile.from_arrays(some_arrays()), "train")
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


@pytest.mark.slow
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


def test_a_single_metric_fills_the_figure():
    arrays = {"t": np.linspace(0, 1, 3)}
    arrays |= {f"{path}_train_loss": np.ones(3) for path in ("curve", "segment")}
    with plots.style():
        figure = curve_figure(arrays, "one")
    assert [ax.get_ylabel() for ax in figure.axes] == ["training loss"]
    plt.close(figure)


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


@pytest.mark.parametrize("lowest", [0.5, -0.5])
def test_sharpness_has_whole_markers_at_the_ends_and_names_its_scale(lowest):
    eigenvalues = np.linspace(lowest, 90, 14).reshape(7, 2)
    figure = plots.sharpness_figure(Sharpness(T, eigenvalues, np.zeros((7, 2)), T), "t")
    above, below = figure.axes
    assert not any(line.get_clip_on() for ax in (above, below) for line in ax.lines)
    assert above.get_yscale() == ("log" if lowest > 0 else "linear")
    assert ("log scale" in above.get_ylabel()) == (lowest > 0)
