import json
import re
import shutil
import sys

import numpy as np
import pytest

from experiments import view
from experiments.cli.configs import ViewConfig
from experiments.cli.errors import UsageError
from experiments.runs.arrays import load_arrays, save_arrays
from experiments.runs.folder import Run
from mcjax.results import Refinement, Sampling, Surface
from tests import finished_runs


@pytest.fixture
def folder(tmp_path):
    return finished_runs.both(tmp_path)


def page(run):
    """The page's text without plotly.js, and its data."""
    text = view.run(ViewConfig(run=str(run))).read_text()
    text = text.replace(view._plotly(), "")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return text, json.loads(data[1])


def test_metrics_of_ones_own_are_on_the_page_with_their_names(folder):
    file = folder / "curve" / "curve.npz"
    arrays = load_arrays(file)
    arrays |= {f"{path}_validation_F1": 0.5 + arrays["t"] / 4 for path in ("curve", "segment")}
    save_arrays(file, arrays)
    _, data = page(folder / "curve")
    assert [metric["label"] for metric in data["metrics"]][-1] == "validation F1"
    assert data["profile"]["curve"]["validation_F1"] == [0.5, 0.5625, 0.625, 0.6875, 0.75]


def test_further_data_are_on_the_page_with_their_names(folder):
    file = folder / "surface" / "surface.npz"
    arrays, split = load_arrays(file), "test+noise=0.1"
    for prefix in ("", "point_", "iterate_"):
        arrays[f"{prefix}{split}_loss"] = arrays[f"{prefix}validation_loss"] / 2
        arrays[f"{prefix}splits"] = np.array(["train", "validation", split])
    save_arrays(file, arrays)
    _, data = page(folder / "surface")
    assert data["metrics"][-1]["label"] == "test+noise=0.1 loss"
    assert data["metrics"][-1]["log"]
    name = data["metrics"][-1]["key"]
    assert data["surface"]["values"][name] == arrays[name].tolist()
    assert data["surface"]["iterates"]["values"][name] == arrays[f"iterate_{name}"].tolist()


def test_a_surface_with_its_curve(folder):
    text, data = page(folder / "surface")
    assert (folder / "surface" / "view.html").exists()
    names = [metric["key"] for metric in data["metrics"]]
    assert names == ["train_loss", "validation_loss", "train_accuracy", "validation_accuracy"]
    assert [metric["log"] for metric in data["metrics"]] == [True, True, False, False]
    assert data["metrics"][0]["clip"] == 2
    assert data["metrics"][2]["clip"] is None
    surface, ours = data["surface"], load_arrays(folder / "surface" / "surface.npz")
    losses = ours["train_loss"].tolist()
    losses[2][0] = None
    assert surface["values"]["train_loss"] == losses
    assert surface["values"]["train_accuracy"][1][2] == 100 * ours["train_accuracy"][1, 2]
    assert surface["points"]["name"] == ["A", "B</script>", "AB"]
    assert surface["iterates"]["epoch"] == [1, 2]
    assert surface["curve"]["x"] == [0, 0.75, 1.5, 2.75, 4]
    assert surface["curve"]["y"] == [0, 1, 2, 1, 0]
    assert surface["segment"]["x"] == [0, 1, 2, 3, 4]
    assert surface["segment"]["y"] == [0, 0, 0, 0, 0]
    curve = load_arrays(folder / "curve" / "curve.npz")
    for values in (surface["curve"]["values"], data["profile"]["curve"]):
        assert values["validation_loss"] == curve["curve_validation_loss"].tolist()
    assert data["profile"]["segment"]["train_loss"][1] is None
    assert data["profile"]["others"]["distance from the plane"]["curve"][1] == 0.125
    assert "Plane through A, B&lt;/script&gt; and AB" in text
    assert "surface: mcjax 0.1.0, data set digits, model mlp, width 0.5" in text
    assert "float above or below the surface" in text
    assert "{{" not in text


def test_a_curve_off_the_plane_and_the_planes_share_are_said(folder):
    _, data = page(folder / "surface")
    assert data["surface"]["curve"]["off"] == [0, 0, 0, 0, 0]
    arrays = load_arrays(folder / "surface" / "surface.npz")
    arrays |= {"curve_distance": np.array([0, 3.6, 0]), "iterate_variance_share": np.array(0.0042)}
    save_arrays(folder / "surface" / "surface.npz", arrays)
    text, data = page(folder / "surface")
    assert data["surface"]["curve"]["distance"] == [0, 1.8, 3.6, 1.8, 0]
    assert data["surface"]["curve"]["off"] == [0, 0.5, 1, 0.5, 0]
    assert "Curve at most 3.6 from the plane; where it is dotted" in text
    assert "Iterates have 0.42 % of their variance in the plane." in text


def test_a_sample_and_interpolated_points_are_said(folder):
    file = folder / "surface" / "surface.npz"
    found = Surface.from_arrays(load_arrays(file))
    evaluated = np.ones((len(found.y), len(found.x)), bool)
    evaluated[0, 0] = False
    tenth = {split: {"loss": own["loss"] / 10} for split, own in found.metrics.items()}
    found = found._replace(
        refinement=Refinement(0.02, evaluated, {}), sampling=Sampling({"train": (50, 200)}, tenth)
    )
    save_arrays(file, found.to_arrays())
    text, _ = page(folder / "surface")
    assert f"Refined {evaluated.size - 1} of {evaluated.size} points evaluated." in text
    assert "Sampled examples of each split: 50 of 200 train." in text
    assert "Sampled train loss: standard error 10 % (median), 10 % (largest)." in text


def test_a_negative_loss_anywhere_on_the_page_has_no_logarithm(folder):
    arrays = load_arrays(folder / "surface" / "surface.npz")
    arrays["iterate_train_loss"][0] = -0.1
    save_arrays(folder / "surface" / "surface.npz", arrays)
    _, data = page(folder / "surface")
    assert [metric["log"] for metric in data["metrics"]] == [False, True, False, False]
    arrays = load_arrays(folder / "curve" / "curve.npz")
    arrays["segment_validation_loss"][1] = -0.1
    save_arrays(folder / "curve" / "curve.npz", arrays)
    _, data = page(folder / "curve")
    assert [metric["log"] for metric in data["metrics"]] == [True, False, False, False]


def test_every_accuracy_on_the_page_is_a_percent(folder):
    _, data = page(folder / "surface")
    arrays = load_arrays(folder / "surface" / "surface.npz")
    curve = load_arrays(folder / "curve" / "curve.npz")
    surface = data["surface"]
    for layer, values in (
        ("points", arrays["point_train_accuracy"]),
        ("iterates", arrays["iterate_train_accuracy"]),
        ("curve", curve["curve_train_accuracy"]),
        ("segment", curve["segment_train_accuracy"]),
    ):
        np.testing.assert_allclose(surface[layer]["values"]["train_accuracy"], 100 * values)
    labels = [metric["label"] for metric in data["metrics"]]
    assert labels[2:] == ["training accuracy (%)", "validation accuracy (%)"]


def test_a_curve_alone(folder):
    text, data = page(folder / "curve")
    assert data["surface"] is None
    assert data["profile"]["t"] == [0, 0.25, 0.5, 0.75, 1]
    assert data["profile"]["others"]["length from the start"].keys() == {"curve", "segment"}
    assert "Curve from A to B@2" in text


def test_a_surface_alone(folder):
    arrays = load_arrays(folder / "surface" / "surface.npz")
    arrays = {n: x for n, x in arrays.items() if not n.startswith(("curve", "iterate"))}
    save_arrays(folder / "surface" / "surface.npz", arrays)
    text, data = page(folder / "surface")
    assert data["profile"] is None
    assert data["surface"].keys() == {"x", "y", "values", "points"}
    assert "float above" not in text


def test_directions_tips_are_not_shown_as_networks(folder):
    arrays = load_arrays(folder / "surface" / "surface.npz") | {"direction_norm": np.ones(2)}
    save_arrays(folder / "surface" / "surface.npz", arrays)
    text, data = page(folder / "surface")
    assert data["surface"]["points"]["name"] == ["A"]
    assert len(data["surface"]["points"]["x"]) == 1
    assert len(data["surface"]["points"]["values"]["train_loss"]) == 1
    assert "Around A, along B&lt;/script&gt; and AB" in text


def test_a_curve_out_of_reach_lies_on_the_surface(folder, capsys):
    shutil.move(folder / "curve", folder / "moved")
    text, data = page(folder / "surface")
    arrays = load_arrays(folder / "surface" / "surface.npz")
    heights = data["surface"]["curve"]["values"]["validation_loss"]
    corner = arrays["validation_loss"][:2, :2].mean()  # (0, 0) is the middle of a cell
    assert heights[0] == pytest.approx(corner)
    assert "segment" not in data["surface"]
    assert data["profile"]["curve"]["validation_loss"] == heights
    for words in (text, capsys.readouterr().err):
        assert "curve.npz was not found" in words


def test_what_the_curve_was_not_evaluated_with_is_the_surfaces_below_it(folder, capsys):
    file = folder / "surface" / "surface.npz"
    arrays = load_arrays(file)
    arrays |= {"test_loss": arrays["x"] + 10 * arrays["y"][:, None]}
    arrays |= {"point_test_loss": np.ones(3), "iterate_test_loss": np.ones(2)}
    first = ("test_loss", "point_test_loss", "iterate_test_loss")
    save_arrays(file, {name: arrays[name] for name in sorted(arrays, key=lambda n: n not in first)})
    text, data = page(folder / "surface")
    profile, surface = data["profile"], data["surface"]
    np.testing.assert_allclose(profile["curve"]["test_loss"], [0, 10.75, 21.5, 12.75, 4])
    np.testing.assert_allclose(profile["segment"]["test_loss"], [0, 1, 2, 3, 4])
    assert surface["curve"]["values"]["test_loss"] == profile["curve"]["test_loss"]
    curve = load_arrays(folder / "curve" / "curve.npz")
    assert profile["curve"]["train_loss"] == curve["curve_train_loss"].tolist()
    words = "The curve was not evaluated with test_loss"
    assert words in text
    assert words in capsys.readouterr().err


def test_the_curves_epoch_is_the_surfaces(folder):
    arrays = load_arrays(folder / "curve" / "curve.npz")
    save_arrays(folder / "curve" / "curve@1.npz", arrays | {"curve_train_loss": np.full(5, 0.7)})
    run = Run(folder / "surface")
    for epoch, first in ((1, 0.7), (3, arrays["curve_train_loss"][0])):
        run.update(flags={"curve": f"{folder / 'curve'}@{epoch}"})
        _, data = page(run.path)
        assert data["profile"]["curve"]["train_loss"][0] == first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": ""}, "--run is missing: give the folder of a finished surface or curve"),
        ({"run": "mode"}, "mode holds a mode"),
        ({"output": "surface"}, "is a folder"),
        ({"output": "surface/run.json/x.html"}, "cannot be written"),
    ],
)
def test_wrong_input(folder, changes, words):
    Run(folder / "mode").path.mkdir()
    Run(folder / "mode").update(format=1, kind="mode", status="done")
    options = {"run": "surface"} | changes
    options = {name: value and str(folder / value) for name, value in options.items()}
    with pytest.raises(UsageError, match=words):
        view.run(ViewConfig(**options))


def test_plotly_missing_is_said(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UsageError, match="plotly is not installed: pip install plotly"):
        view.run(ViewConfig(run=str(folder / "surface")))
