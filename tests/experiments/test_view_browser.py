"""The page of `experiments.view` in a headless browser."""

import re

import numpy as np
import pytest

from experiments import view
from experiments.cli.configs import ViewConfig
from experiments.runs.arrays import load_arrays, save_arrays
from tests import finished_runs
from tests.browser import headless


@pytest.fixture
def folder(tmp_path):
    return finished_runs.both(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("user")) as driver:
        yield driver


LOOK = """
const read = (id) => Object.fromEntries(document.getElementById(id).data.map(
  (t) => [t.name, {x: Array.from(t.x), y: Array.from(t.y), z: t.z && Array.from(t.z)}]));
return {surface: read("surface"), profile: read("profile"),
        zaxis: document.getElementById("surface").layout.scene.zaxis.title.text,
        yaxis: document.getElementById("profile").layout.yaxis.type,
        shape: document.getElementById("profile").layout.shapes[0].x0,
        at: document.getElementById("at").value, t: document.getElementById("t").value,
        numbers: document.getElementById("numbers").innerText};
"""
SET = """
const one = document.getElementById(arguments[0]);
if (one.type === "checkbox") one.click();
else { one.value = arguments[1]; one.dispatchEvent(new Event("input"));
       one.dispatchEvent(new Event("change")); }
"""
HOVER = """
const one = document.getElementById(arguments[0]);
const trace = one.data.find((t) => t.name === arguments[1]);
const [x, y] = arguments[3] || [];
one.emit("plotly_hover", {points: [{data: trace, pointNumber: arguments[2], x, y}]});
"""


@pytest.mark.long
def test_in_a_browser(folder, browser):
    """Slider, hover, metric and scale each change what they should; the console stays empty."""
    browser.get(f"file://{view.run(ViewConfig(run=str(folder / 'surface')))}")
    first = browser.execute_script(LOOK)
    assert first["surface"].keys() == {
        "surface", "segment", "curve on the surface", "curve", "iterates", "points", "marker",
    }  # fmt: skip
    assert first["profile"].keys() == {"curve", "segment", "marker"}
    assert (first["t"], first["at"], first["yaxis"]) == ("2", "0.5", "log")
    assert first["surface"]["marker"]["x"] == [1.5, 1.5]

    browser.execute_script(SET, "t", "3")
    moved = browser.execute_script(LOOK)
    assert moved["at"] == "0.75"
    assert moved["surface"]["marker"]["x"] == [2.75, 2.75]
    assert moved["profile"]["marker"]["x"] == [moved["shape"]] == [0.75]
    losses = load_arrays(folder / "curve" / "curve.npz")["curve_train_loss"]
    assert moved["profile"]["marker"]["y"] == [pytest.approx(losses[3])]
    assert moved["surface"]["marker"]["z"][0] == pytest.approx(np.log10(losses[3]), abs=0.05)
    assert f"{losses[3]:.4g}" in moved["numbers"] != first["numbers"]

    for trace, index, t in (
        ("curve", 1, 0.25),
        ("curve on the surface", 0, 0),
        ("segment", 1, 0.25),
    ):
        browser.execute_script(HOVER, "surface", trace, index)
        assert browser.execute_script(LOOK)["profile"]["marker"]["x"] == [t]
    for place, t in (([2.9, 1.05], 0.75), ([4.9, 2.0], 0.75), ([0.7, 0.9], 0.25)):
        browser.execute_script(HOVER, "surface", "surface", 3, place)
        assert browser.execute_script(LOOK)["profile"]["marker"]["x"] == [t]
    browser.execute_script(HOVER, "profile", "segment", 4)
    assert browser.execute_script(LOOK)["surface"]["marker"]["x"] == [4, 4]

    browser.execute_script(SET, "log")
    linear = browser.execute_script(LOOK)
    assert linear["yaxis"] == "linear"
    grid, logs = (np.array(seen["surface"]["surface"]["z"]) for seen in (linear, first))
    np.testing.assert_allclose(10**logs, grid, rtol=1e-6)
    assert grid[2, 0] == grid[2, 1] == grid.max() == 2  # infinite, and above the clip

    browser.execute_script(SET, "metric", "train_accuracy")
    accuracy = browser.execute_script(LOOK)
    assert accuracy["zaxis"] == "training accuracy (%)"
    assert np.max(accuracy["surface"]["surface"]["z"]) > 10
    assert not browser.find_element("id", "log").is_enabled()
    _quiet(browser)


def _quiet(browser):
    """No error in the console, nothing fetched, and no button that sends the chart anywhere."""
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    buttons = browser.find_elements("css selector", ".modebar-btn")
    titles = [one.get_attribute("data-title") for one in buttons]
    assert len(titles) > 2
    assert not [one for one in titles if re.search("share|cloud|studio", one or "", re.IGNORECASE)]


@pytest.mark.long
def test_a_curve_alone_in_a_browser(folder, browser):
    browser.get(f"file://{view.run(ViewConfig(run=str(folder / 'curve')))}")
    assert not browser.find_element("id", "surface").is_displayed()
    assert browser.find_element("id", "profile").size["width"] > 900
    browser.execute_script(HOVER, "profile", "curve", 4)
    assert browser.find_element("id", "at").get_attribute("value") == "1"
    _quiet(browser)


@pytest.mark.long
def test_metrics_that_are_nowhere_finite_or_all_alike_in_a_browser(folder, browser):
    special = {"train_loss": np.nan, "validation_loss": 0.0, "train_accuracy": np.inf,
               "validation_accuracy": 0.1}  # fmt: skip
    for file in (folder / "surface" / "surface.npz", folder / "curve" / "curve.npz"):
        arrays = load_arrays(file)
        for name, value in special.items():
            arrays |= {n: np.full_like(x, value) for n, x in arrays.items() if n.endswith(name)}
        save_arrays(file, arrays)
    browser.get(f"file://{view.run(ViewConfig(run=str(folder / 'surface')))}")
    for name in special:
        browser.execute_script(SET, "metric", name)
        seen = browser.execute_script(LOOK)["surface"]
        heights = np.concatenate([seen["surface"]["z"], [seen["curve"]["z"][:4]]])
        assert np.isfinite(heights.astype(float)).all()
        if name == "train_loss":
            assert "not finite" in browser.find_element("id", "numbers").text
    _quiet(browser)


@pytest.mark.long
def test_zero_loss_and_a_curve_off_the_plane_in_a_browser(folder, browser):
    for name in ("surface", "curve"):
        file = folder / name / f"{name}.npz"
        arrays = load_arrays(file)
        if name == "surface":
            arrays["curve_distance"] = np.array([0, 3.6, 0])
        else:
            arrays["curve_train_loss"][2] = 0.0
        save_arrays(file, arrays)
    browser.get(f"file://{view.run(ViewConfig(run=str(folder / 'surface')))}")
    seen = browser.execute_script(LOOK)
    losses = load_arrays(folder / "curve" / "curve.npz")["curve_train_loss"]
    assert seen["profile"]["curve"]["y"][2] == pytest.approx(losses[losses > 0].min())
    read = "return document.getElementById('%s').%s"
    assert browser.execute_script(read % ("profile", "data[0].customdata[2]")) == "0"
    title = browser.execute_script(read % ("profile", "layout.yaxis.title.text"))
    assert title == "training loss (0 is at the bottom)"
    traces = browser.execute_script(read % ("surface", "data"))
    shadow = next(t for t in traces if t["name"] == "curve on the surface")
    assert shadow["line"]["dash"] == "dot"
    assert "distance from the plane: 3.6" in shadow["text"][2]
    _quiet(browser)
