import base64
from xml.etree import ElementTree

import numpy as np
import pytest

from experiments.exchange import plot_formats
from mcjax import plots
from mcjax.results import PathMetrics, Profile, Surface

GARIPOV_STATS = [
    f"{split}_{metric}{stat}"
    for split in ("tr", "te")
    for metric in ("loss", "nll", "err")
    for stat in ("", "_min", "_max", "_avg", "_int")
]
GARIPOV_CURVE = {"ts", "dl", "tr_acc", "te_acc", *GARIPOV_STATS}
GARIPOV_PLANE = {
    "ts", "bend_coordinates", "curve_coordinates", "alphas", "betas", "grid", "tr_loss", "tr_acc",
    "tr_nll", "tr_err", "te_loss", "te_acc", "te_nll", "te_err",
}  # fmt: skip
"""What eval_curve.py and plane.py of timgaripov/dnn-mode-connectivity save."""


def curve_arrays():
    arrays = {"t": np.array([0, 0.5, 1.0]), "curve_l2": np.array([10.0, 6.0, 20.0])}
    arrays["curve_arc_length"] = np.array([0.0, 1.0, 4.0])
    for split, shift in (("train", 0.0), ("validation", 0.5)):
        arrays[f"curve_{split}_loss"] = np.array([0.25, 1.0, 0.5]) + shift
        arrays[f"curve_{split}_accuracy"] = np.array([0.9, 0.6, 0.8])
    return arrays


def surface_arrays():
    """A surface of 3 x 2 points: x is not y, and one point is infinite."""
    rng = np.random.default_rng(0)
    arrays = {"x": np.array([-1.0, 1.0, 4.0]), "y": np.array([0.0, 3.0])}
    arrays["point_xy"] = np.array([[0, 0], [2.0, 0], [0.5, 1.5]])
    arrays["point_name"] = np.array(["a", "b", "ab"])
    arrays["l2"] = 10 + rng.random((2, 3))
    for split in ("train", "validation"):
        arrays[f"{split}_loss"] = 0.1 + rng.random((2, 3))
        arrays[f"{split}_accuracy"] = rng.random((2, 3))
        arrays[f"point_{split}_loss"] = np.array([0.01, 0.02, 0.03])
        arrays[f"point_{split}_accuracy"] = np.array([0.9, 0.8, 0.7])
    arrays["train_loss"][1, 2] = np.inf
    return arrays


def test_garipovs_curve_in_his_units():
    found = plot_formats.garipov_curve(Profile.from_arrays(curve_arrays()), weight_decay=0.01)
    assert found.keys() == GARIPOV_CURVE
    np.testing.assert_allclose(found["ts"], [0, 0.5, 1])
    np.testing.assert_allclose(found["dl"], [0, 1, 3])
    np.testing.assert_allclose(found["tr_nll"], [0.25, 1, 0.5])
    np.testing.assert_allclose(found["tr_loss"], [0.3, 1.03, 0.6])
    np.testing.assert_allclose(found["te_err"], [10, 40, 20])
    np.testing.assert_allclose(found["te_acc"], [90, 60, 80])
    np.testing.assert_allclose(found["te_nll_int"], (1.125 * 1 + 1.25 * 3) / 4)
    np.testing.assert_allclose(found["tr_nll_avg"], 1.75 / 3)
    assert found["tr_loss_max"] == pytest.approx(1.03)
    assert found["te_err_min"] == pytest.approx(10)


def test_a_metric_that_is_not_there_is_nan():
    arrays = {n: x for n, x in curve_arrays().items() if "validation" not in n}
    found = plot_formats.garipov_curve(Profile.from_arrays(arrays), 0.01)
    assert found.keys() == GARIPOV_CURVE
    assert np.isnan(found["te_loss"]).all()
    assert np.isnan(found["te_err_int"])
    assert np.isfinite(found["tr_err_int"])


def test_garipovs_plane_has_x_first_and_the_bend_second():
    arrays = surface_arrays()
    found = plot_formats.garipov_plane(Surface.from_arrays(arrays), weight_decay=0.01)
    assert found.keys() == GARIPOV_PLANE
    assert found["grid"].shape == (3, 2, 2)
    np.testing.assert_array_equal(found["grid"][2, 1], [4, 3])
    assert found["te_nll"][2, 0] == arrays["validation_loss"][0, 2]
    assert found["te_err"][0, 1] == pytest.approx(100 - 100 * arrays["validation_accuracy"][1, 0])
    np.testing.assert_allclose(found["te_loss"] - found["te_nll"], 0.005 * arrays["l2"].T)
    np.testing.assert_array_equal(found["bend_coordinates"], [[0, 0], [0.5, 1.5], [2, 0]])
    np.testing.assert_allclose(found["alphas"], [-0.5, 0.5, 2])
    np.testing.assert_allclose(found["betas"], [0, 2])
    assert found["curve_coordinates"].shape == (0, 2)
    xy = np.array([[0, 0], [2.0, 0]])
    arrays |= {"curve_t": np.array([0, 1.0]), "curve_xy": xy, "curve_control_xy": xy,
               "curve_distance": np.zeros(2)}  # fmt: skip
    found = plot_formats.garipov_plane(Surface.from_arrays(arrays), weight_decay=0.01)
    np.testing.assert_array_equal(found["curve_coordinates"], arrays["curve_xy"])
    np.testing.assert_array_equal(found["ts"], [0, 1])


def test_goldsteins_names_and_percents():
    arrays = surface_arrays() | {"iterate_xy": np.array([[1.0, 2.0], [3.0, 4.0]])}
    arrays |= {"iterate_distance": np.zeros(2), "iterate_epoch": np.arange(2)}
    found = plot_formats.goldstein(Surface.from_arrays(arrays))
    assert found.keys() == {
        "xcoordinates", "ycoordinates", "train_loss", "train_acc", "test_loss", "test_acc",
        "proj_xcoord", "proj_ycoord",
    }  # fmt: skip
    assert found["test_loss"].shape == (len(found["ycoordinates"]), len(found["xcoordinates"]))
    np.testing.assert_array_equal(found["test_loss"], arrays["validation_loss"])
    np.testing.assert_allclose(found["train_acc"], 100 * arrays["train_accuracy"])
    np.testing.assert_array_equal(found["proj_ycoord"], [2, 4])


def read_vtp(folder, text):
    pytest.importorskip("vtk")
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    (folder / "s.vtp").write_text(text)
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(folder / "s.vtp"))
    reader.Update()
    return reader.GetOutput(), vtk_to_numpy


def test_vtp_has_curve_points_and_iterates_at_their_own_heights(tmp_path):
    arrays = surface_arrays() | {
        "curve_t": np.array([0, 0.5, 1]), "curve_xy": np.array([[0, 0], [0.5, 1.5], [2.0, 0]]),
        "curve_distance": np.array([0, 0.8, 0]), "curve_control_xy": np.zeros((3, 2)),
        "iterate_epoch": np.arange(2), "iterate_xy": np.array([[1.0, 2.0], [3.0, 1.0]]),
        "iterate_distance": np.array([0.3, 0.1]), "iterate_train_loss": np.array([0.5, 3.0]),
        "iterate_train_accuracy": np.array([0.4, 0.2]),
    }  # fmt: skip
    loss = np.array([0.01, 0.2, 0.1, 0.3, 0.02])
    along = Profile(np.linspace(0, 1, 5), {"curve": PathMetrics({"train": {"loss": loss}})})
    text = plot_formats.vtp(Surface.from_arrays(arrays), "train_loss", clip=0.7, along=along)
    poly, vtk_to_numpy = read_vtp(tmp_path, text)
    points = vtk_to_numpy(poly.GetPoints().GetData())
    layer, distance, accuracy = (
        vtk_to_numpy(poly.GetPointData().GetArray(name))
        for name in ("layer", "distance", "train_accuracy")
    )
    assert np.bincount(layer).tolist() == [6, 5, 3, 2]
    np.testing.assert_allclose(points[layer == 1][1], [0.25, 0.75, 0.2])
    np.testing.assert_allclose(distance[layer == 1], [0, 0.4, 0.8, 0.4, 0])
    np.testing.assert_allclose(points[layer == 2][:, 2], arrays["point_train_loss"])
    np.testing.assert_allclose(points[layer == 3], [[1, 2, 0.5], [3, 1, 0.7]])
    np.testing.assert_allclose(accuracy[layer == 3], [40, 20])
    np.testing.assert_allclose(accuracy[layer == 0], 100 * arrays["train_accuracy"].ravel())
    assert (poly.GetNumberOfVerts(), poly.GetNumberOfLines()) == (5, 2)


@pytest.mark.parametrize("log", [False, True])
def test_vtk_reads_the_surface(tmp_path, log):
    arrays = surface_arrays()
    text = plot_formats.vtp(
        Surface.from_arrays(arrays), "train_loss", log, clip=0.7, note="digits -- a & b"
    )
    poly, vtk_to_numpy = read_vtp(tmp_path, text)
    data = poly.GetPointData()
    names = {data.GetArrayName(i) for i in range(data.GetNumberOfArrays())}
    assert names == {"zvalue", "layer", "distance", "l2", "train_loss", "train_accuracy",
                     "validation_loss", "validation_accuracy"}  # fmt: skip
    points = vtk_to_numpy(poly.GetPoints().GetData())
    height = np.minimum(arrays["train_loss"], 0.7)
    assert (height == 0.7).sum() > 1
    height = np.log10(height) if log else height
    np.testing.assert_array_equal(points[4], [1, 3, height[1, 1]])
    np.testing.assert_array_equal(points[:6, 2], height.ravel())
    np.testing.assert_array_equal(
        vtk_to_numpy(data.GetArray("train_loss"))[:6], arrays["train_loss"].ravel()
    )
    assert data.GetScalars().GetName() == "zvalue"
    assert poly.GetNumberOfPolys() == 2
    corners = [poly.GetCell(4).GetPointId(i) for i in range(4)]  # after the three points
    np.testing.assert_array_equal(points[corners, :2], [[1, 0], [4, 0], [4, 3], [1, 3]])


def heights(arrays, metric, log=False):
    """``zvalue`` of the grid."""
    root = ElementTree.fromstring(plot_formats.vtp(Surface.from_arrays(arrays), metric, log))
    zvalue = next(x for x in root.iter("DataArray") if x.get("Name") == "zvalue")
    return np.frombuffer(base64.b64decode(zvalue.text)[8:], "<f8").reshape(2, 3)


def test_the_height_is_clipped_as_in_figures_and_zero_has_a_logarithm():
    arrays = surface_arrays()
    arrays["train_loss"][0] = [0.0, 0.04, 1e5]
    height = heights(arrays, "train_loss", log=True)
    assert np.isfinite(height).all()
    assert height[0, 0] == height[0, 1] == pytest.approx(np.log10(0.04))
    assert height[0, 2] == height[1, 2] == height.max() < 5
    accuracy = heights(arrays, "train_accuracy")
    np.testing.assert_array_equal(accuracy, 100 * arrays["train_accuracy"])


def test_the_height_may_be_a_metric_of_the_test_split():
    arrays = surface_arrays() | {"point_test_loss": np.ones(3)}
    arrays["test_loss"] = 1 + np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(heights(arrays, "test_loss"), arrays["test_loss"])


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_nothing_above_zero_has_no_logarithm(value):
    arrays = surface_arrays()
    arrays["train_loss"] = np.full((2, 3), value)
    ElementTree.fromstring(
        plot_formats.vtp(Surface.from_arrays(arrays), log=True, note="runs/a---b-")
    )
    np.testing.assert_array_equal(heights(arrays, "train_loss", log=True), np.zeros((2, 3)))


def test_the_tips_of_directions_are_no_networks_to_be_kept_from_clipping():
    arrays = surface_arrays() | {"direction_norm": np.ones(2)}
    arrays["train_loss"] = np.array([[0.001, 0.2, 32], [0.1, 0.2, 8]])
    arrays["point_train_loss"] = np.array([0.001, 8.0, 8.0])
    assert Surface.from_arrays(arrays).networks.name.tolist() == ["a"]
    expected = plots.default_clip(arrays["train_loss"], np.array([0.001]))
    assert expected < 32
    assert heights(arrays, "train_loss").max() == expected
