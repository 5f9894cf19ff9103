"""Figures of commands: a user's matplotlibrc, names, and figures that fail."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.cli import flags
from experiments.cli.configs import CurveConfig
from experiments.cli.errors import UsageError
from experiments.landscapes import drawing, profiles, surfaces
from experiments.papers.gotmare2018 import figures
from experiments.papers.gotmare2018.sources import Source
from experiments.runs.arrays import load_arrays, load_result, save_arrays
from mcjax import plots
from mcjax.plots import profile_plots
from mcjax.results import Profile, Refinement, Surface
from tests import finished_runs


@pytest.fixture
def latex():
    """A user's matplotlibrc with text.usetex, and no LaTeX."""
    with plt.rc_context({"text.usetex": True, "figure.figsize": (1, 1), "image.cmap": "jet"}):
        yield


def test_a_matplotlibrc_with_usetex_does_not_change_mcjaxs_style(latex, tmp_path, png_only):
    curve = load_result(Profile, finished_runs.curve(tmp_path / "a").path / "curve.npz")
    with plots.style():
        assert not plt.rcParams["text.usetex"]
        assert plt.rcParams["image.cmap"] == "viridis"
        assert plots.save(plots.curve_figure(curve, "a$b_{$"), tmp_path / "f").is_file()
    assert plt.rcParams["text.usetex"]
    drawing.check_style(())


def test_names_are_escaped_for_latex_where_a_style_asks_for_it(latex):
    assert plots.plain("a$b_{$ 5%") == r"a\$b\_\{\$ 5\%"
    assert plots.metric_label("train_accuracy") == r"training accuracy (\%)"


def failing(*_, **__):
    raise RuntimeError("Failed to process string with tex\nbecause latex could not be found")


def test_a_figure_that_fails_is_a_warning_with_the_command(tmp_path, monkeypatch, capsys):
    folder = finished_runs.surface(tmp_path / "a b")
    surface = load_result(Surface, folder.path / "surface.npz")
    with monkeypatch.context() as patch:
        patch.setattr(plots, "surface_figure", failing)
        assert surfaces.draw(surface, folder) == []
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "RuntimeError: Failed to process string with tex because latex" in line
        assert f"the arrays are safe in {folder.path / 'surface.npz'}" in line
        command = f"python -m experiments.loss_surface --flagfile='{folder.path}/flags.cfg'"
        assert line.endswith(command)


def test_a_curves_figure_that_fails_leaves_the_run_to_go_on(tmp_path, monkeypatch, capsys):
    folder = finished_runs.curve(tmp_path / "ab")
    config = CurveConfig(workdir=str(folder.path), start="runs/A", end="runs/a$b_{$")
    with monkeypatch.context() as patch:
        patch.setattr(plots, "curve_figure", failing)
        assert profiles.draw(folder, config, {}) is None
    assert "warning: no figure" in capsys.readouterr().err
    monkeypatch.setattr(profile_plots, "FORMATS", ("png",))
    assert profiles.draw(folder, config, {}) == folder.path / "figures" / "curve.png"


def test_one_figure_of_the_paper_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(profile_plots, "FORMATS", ("png",))
    missing = dict.fromkeys(("surface_30_70",), "it did not $train")
    source = Source(tmp_path, {}, missing)
    monkeypatch.setitem(figures.FIGURES, 3, failing)
    drawn = figures.draw(source, {3, 5}, tmp_path / "figures")
    assert drawn == {5: tmp_path / "figures" / "figure05.png"}
    assert "--figures=3" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(28, "No space left"), UsageError("damaged")])
def test_a_full_disk_or_damaged_arrays_are_no_mere_warning(error):
    def draw():
        raise error

    with pytest.raises(type(error)):
        drawing.attempt(draw, Path("a.npz"), "again")


def test_captions_and_summaries_say_how_far_the_curve_is_from_the_plane(tmp_path):
    folder = finished_runs.surface(tmp_path / "surface_30_70", curve="runs/ab")
    source = Source(tmp_path, {}, {"surface_70_150": "it did not train"})
    assert figures.caption(source, 5).endswith("Curve at most 0.25 from the plane.")
    assert figures.caption(source, 3) == figures.CAPTIONS[3]
    arrays = load_arrays(folder.path / "surface.npz")
    arrays |= {"curve_distance": np.array([0, 3.6, 0]), "iterate_variance_share": np.array(0.0042)}
    save_arrays(folder.path / "surface.npz", arrays)
    for text in (figures.caption(source, 6), surfaces.summarize(Surface.from_arrays(arrays))):
        assert "at most 3.6 from the plane; where it is dotted, the surface below it" in text
        assert "terates have 0.42 % of their variance in the plane" in text


def test_a_surface_refined_to_its_last_point_is_not_called_interpolated(tmp_path):
    arrays = load_arrays(finished_runs.surface(tmp_path / "a").path / "surface.npz")
    found = Surface.from_arrays(arrays)
    every = np.ones(found.metrics["train"]["loss"].shape, bool)
    found = found._replace(refinement=Refinement(0.02, every, {"train": {"loss": np.zeros(2)}}))
    assert f"refined  all {every.size} points evaluated\n" in surfaces.summarize(found) + "\n"


def test_the_command_to_draw_again_opens_the_run(tmp_path):
    config = CurveConfig(workdir=str(tmp_path / "it's"), start="runs/A", end="runs/B")
    Path(config.workdir).mkdir()
    (tmp_path / "it's" / "flags.cfg").write_text(flags.to_flags(config))
    assert flags.parse_flagfile(CurveConfig, tmp_path / "it's" / "flags.cfg") == config
    assert "it'\"'\"'s" in drawing.command("fit_curve", tmp_path / "it's")
