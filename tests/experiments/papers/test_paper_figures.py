import numpy as np
import pytest
from matplotlib.text import Text

from experiments.papers.gotmare2018 import figures, paper_plots, scales
from experiments.papers.gotmare2018.sources import Source
from experiments.runs import add_metrics
from mcjax.analysis import profiles
from mcjax.plots import label_placement, profile_plots
from mcjax.results import PathMetrics, Profile
from tests.reproductions import plan


def fake_curve(rng, points=7):
    t = np.linspace(0, 1, points)
    paths = {}
    for path in ("curve", "segment"):
        metrics = {
            split: {name: rng.uniform(0.1, 0.9, points) for name in ("loss", "accuracy")}
            for split in ("train", "validation")
        }
        paths[path] = profiles.summarize(PathMetrics(metrics, arc_length=2 * t), t)
    return Profile(t, paths).to_arrays()


@pytest.mark.parametrize(
    "numbers",
    [{1, 3, 9}, pytest.param(set(scales.FIGURES) - {4}, marks=pytest.mark.long)],
    ids=["some", "all but the t-SNE's"],
)
def test_figures_are_drawn_from_arrays(tmp_path, monkeypatch, numbers):
    """With one pair missing."""
    monkeypatch.setattr(profile_plots, "FORMATS", ("png",))
    rng = np.random.default_rng(0)
    found = plan(tmp_path)
    for job in found.jobs:
        (tmp_path / job.name).mkdir()
        if job.module == "fit_curve":
            for label in ("", *(f"@{e}" for e in job.config.eval_epochs)):
                np.savez(tmp_path / job.name / f"curve{label}.npz", **fake_curve(rng))
        elif job.module == "train_mode":
            for epoch in (1, 2):
                add_metrics(
                    tmp_path / job.name,
                    epoch=epoch,
                    step=epoch,
                    lr=0.1 / epoch,
                    validation={"accuracy": 0.5},
                )
        else:
            xy = np.array([[0.0, 0], [2, 0], [1, 1]])
            arrays = {"x": np.linspace(-1, 3, 5), "y": np.linspace(-1, 2, 4), "point_xy": xy}
            arrays["point_name"] = np.array(["w70", "w150", "bend"])
            for split in ("train", "validation"):
                arrays[f"{split}_loss"] = rng.uniform(0.1, 5, (4, 5))
                arrays[f"point_{split}_loss"] = np.array([0.2, 0.3, 0.1])
            np.savez(tmp_path / job.name / "surface.npz", **arrays)
    missing = {"GE": "not run, since E: it did not train", "step_55_65": "stopped"}
    source = Source(tmp_path, found.epochs, missing)
    drawn = figures.draw(source, numbers, tmp_path / "figures")
    assert drawn.keys() == numbers
    assert all(path.stat().st_size > 5000 for path in drawn.values())


def test_labels_of_the_embedding_cover_no_chain():
    points = {"G": (0, 0), "A": (1, 1), "B": (-1, 0.1), "θ GA": (0.5, 0.52), "θ GB": (-0.5, 0)}
    points = {name: np.array(xy, float) for name, xy in points.items()}
    chains = [("G", "θ GA", "A"), ("G", "θ GB", "B")]
    figure = paper_plots.embedding_figure(points, chains, 4.0)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == list(points)
    for text in ax.texts:
        box = Text.get_window_extent(text)
        for chain in chains:
            line = label_placement.dense(ax.transData.transform([points[n] for n in chain]))
            assert not ((line > box.min) & (line < box.max)).all(axis=1).any()


def test_an_epoch_has_one_shade_in_panels_that_show_other_epochs():
    profile = Profile.from_arrays(fake_curve(np.random.default_rng(0)))
    panels = {"GA": {40: profile}, "GB": {20: profile, 40: profile}}
    panels |= {f"G{mode}": "not evaluated" for mode in "CDEF"}
    figure = paper_plots.resilience_figure(panels, "train_loss", {20: 20, 40: 40})
    one, other = figure.axes[:2]
    assert one.lines[0].get_color() == other.lines[1].get_color() != other.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["epoch 20", "epoch 40"]
