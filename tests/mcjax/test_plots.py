import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mcjax import plots

T = np.linspace(0, 1, 7)


def some_arrays(metrics=("loss", "accuracy")):
    rng = np.random.default_rng(0)
    names = [
        f"{p}_{s}_{m}" for p in plots.PATH_STYLES for s in ("train", "validation") for m in metrics
    ]
    return {"t": T} | {name: rng.uniform(0.2, 0.9, 7) for name in names}


@pytest.mark.parametrize(
    ("metrics", "panels"), [(("loss", "accuracy"), 4), (("loss",), 2), (("accuracy",), 2)]
)
def test_a_panel_for_each_metric_and_percent_for_accuracies(metrics, panels):
    arrays = some_arrays(metrics)
    figure = plots.curve_figure(arrays, "G to B")
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


def test_points_that_are_not_finite_can_be_drawn(tmp_path):
    arrays = some_arrays()
    arrays["segment_train_loss"][2:4] = np.nan, np.inf
    assert plots.save(plots.curve_figure(arrays, "broken"), tmp_path / "f").is_file()


def test_saved_as_png_and_pdf(tmp_path):
    arrays = some_arrays()
    path = plots.save(plots.curve_figure(arrays, "t"), tmp_path / "figures" / "curve@20")
    assert path == tmp_path / "figures" / "curve@20.png"
    assert {p.name for p in path.parent.iterdir()} == {"curve@20.png", "curve@20.pdf"}
    image = matplotlib.image.imread(path)
    assert image.shape[:2] == (800, 1120)  # 5 x 7 inches at 160 dots
    assert image.std() > 0.05
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert plt.get_fignums() == []
    again = plots.save(plots.curve_figure(arrays, "t"), tmp_path / "again")
    for suffix in (".png", ".pdf"):
        assert path.with_suffix(suffix).read_bytes() == again.with_suffix(suffix).read_bytes()
