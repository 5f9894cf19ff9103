"""Notes: each is printed in its case and not otherwise, and its page exists."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import ModeConfig
from experiments.landscapes import (
    instability_report,
    interpolation_report,
    notes,
    profiles,
    references,
    surfaces,
)
from experiments.runs import Checkpoint
from experiments.runs.folder import Run
from experiments.runs.names import Name
from mcjax.analysis import interpolation
from mcjax.results import (
    Directions,
    Instability,
    Interpolation,
    Iterates,
    Points,
    Refinement,
    Surface,
    Values,
)
from tests.experiments.training.small import profile_of

ROOT = Path(__file__).resolve().parents[3]
X, Y = np.linspace(-1, 5, 7), np.linspace(-1, 3, 5)
LOSSES = 1 + (X - 1.8) ** 2 + (Y[:, None] - 0.9) ** 2
XY = np.array([[0, 0], [4.0, 0], [1.5, 2.0]])
OWN = np.array([3.1, 4.7, 1.0])


def surface(losses=LOSSES, own=OWN, **parts):
    points = Points(XY, np.array(["A", "B", "C"]), {"train": {"loss": np.asarray(own)}})
    return Surface(X, Y, {"train": {"loss": np.asarray(losses)}}, points, **parts)


def around(**facts):
    return {"own": [1.3, 5, 5], "directions": Directions(np.ones(2), **facts)}


def interpolated(rows, t=(0.0, 0.25, 0.5, 1.0), own=(1.0, 2.0)):
    pairs, networks = [(0, 1)], Values({"train": {"loss": np.array(own)}})
    found = [Values({"train": {"loss": np.array(rows)}})]
    paths = {"segment": interpolation.collect(found, pairs, networks, np.array(t), [1.0])}
    return Interpolation(np.array(t), np.array(["A", "B"]), networks, paths)


def noted(text):
    return [line for line in text.splitlines() if line.startswith("note: ")]


@pytest.mark.parametrize("case", notes.NOTES)
def test_the_page_of_every_note_exists(case):
    page = re.fullmatch(r" \((.*)\)", notes.see(notes.NOTES[case][0]))
    assert (ROOT / page[1]).read_text().startswith("# ")


def test_the_pages_of_links_in_hints_exist_and_are_in_the_index():
    index = (ROOT / notes.PAGES / "index.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "experiments").rglob("*.py"))
    linked = {*re.findall(r"notes\.see\([\"'](\w+)", sources)}
    assert {"nan", "off_plane", "clipped"} <= linked
    for page in linked | {page for page, _ in notes.NOTES.values()}:
        assert (ROOT / notes.PAGES / f"{page}.md").is_file()
        assert f"]({page}.md)" in index


def test_an_ordinary_surface_has_no_notes():
    assert noted(surfaces.summarize(surface())) == []
    assert noted(surfaces.summarize(surface(), clip=12.0)) == []


SLOPE = 1 + (X - 1.8) ** 2 + Y[:, None]


@pytest.mark.parametrize(
    ("found", "clip", "words"),
    [
        (surface(), 2.5, "is above --clip=2.5 on 83% of the grid, which is grey; without --clip, "
                         "the colours end at 15.65 (docs/surfaces/clipped.md)"),
        (surface(1 + 5e-4 * LOSSES), None, "less than 1% on the whole grid; a larger --margin"),
        (surface(1 + 5e-4 * LOSSES, **around()), None, "on the whole grid; a larger --extent"),
        (surface(SLOPE), None, "loss of the grid, 0.04, is at its edge; a larger --margin may"),
        (surface(SLOPE, **around()), None, "0.04, is at its edge; a larger --extent may show"),
        (surface(SLOPE, **around(explained_variance=np.ones(2))), None, "a larger --margin may"),
        (surface(**around()), None, "1.05, at (2, 1), and 1.3 at A: it is not the lowest point"),
        (surface(own=[0.1, 4.7, 1]), None, "is 0.1 at A, and 5.05 or more at the grid's points"),
    ],
)  # fmt: skip
def test_each_note_on_a_surface(found, clip, words):
    (line,) = noted(surfaces.summarize(found, clip))
    assert words in line
    assert re.search(r" \(docs/surfaces/\w+\.md\)$", line)


def test_no_note_on_a_minimum_that_the_grid_shows_or_that_is_too_small_to_see():
    assert noted(surfaces.summarize(surface(own=[0.51, 4.7, 1]))) == []  # 5.05 is less than tenfold
    tiny = surface(np.where(LOSSES > 6, LOSSES, 1e-3), own=[1e-6, 4.7, 1])
    assert noted(surfaces.summarize(tiny)) == []
    negative = surface(LOSSES - 4, own=[-0.9, 1.7, -2.95])
    assert noted(surfaces.summarize(negative)) == []  # no multiple of a loss below zero
    almost = surface(**around() | {"own": [1.06, 5, 5]})  # the grid's lowest is 1.05
    assert noted(surfaces.summarize(almost)) == []


def test_interpolated_points_prove_nothing():
    for found in (surface(SLOPE), surface(own=[0.1, 4.7, 1]), surface(**around())):
        assert len(noted(surfaces.summarize(found))) == 1
        evaluated = (LOSSES > 6) & (SLOPE > 1)
        refined = found._replace(refinement=Refinement(0.02, evaluated, {}))
        assert noted(surfaces.summarize(refined)) == []


def test_a_surface_that_is_nowhere_finite_has_the_link_in_its_hint_alone():
    text = surfaces.summarize(surface(np.full((5, 7), np.nan)))
    assert "35 of 35 points are not finite (docs/surfaces/nan.md)" in text
    assert noted(text) == []
    alone = np.where(LOSSES.min() == LOSSES, 1.0, np.inf)  # it differs from no other
    assert noted(surfaces.summarize(surface(alone))) == []


def test_iterates_off_the_plane_have_the_link_in_their_line():
    def line(distance):
        own = {"train": {"loss": np.array([1.0, 3.0])}}
        iterates = Iterates(XY[:2], np.array(distance), np.array([1, 2]), own, variance_share=0.25)
        return surfaces.summarize(surface(iterates=iterates)).splitlines()[-1]

    far = "some lie far off it, and the surface does not show their losses (docs/surfaces/off_plane"
    assert far in line([0.0, 0.5])
    assert line([0.0, 0.3]) == "iterates have 25 % of their variance in the plane"


def test_notes_on_a_profile():
    (line,) = noted(profiles.summarize(profile_of([1.0, 1.1, 4.0, 2.0, 2.0])))
    assert "loss on the curve is at one of 5 points alone; a larger --points may show" in line
    (line,) = noted(profiles.summarize(profile_of([1.0, 2.0])))
    assert line.startswith("note: no point between the networks is evaluated")
    broad = [1.0, 2.1, 4.0, 3.1, 2.0]  # half of the height over the higher end is at 3
    low = [1.0, 1.1, 2.09, 2.0, 2.0]
    for losses in (broad, low, [1.0, np.nan, 1.0]):
        assert noted(profiles.summarize(profile_of(losses))) == []
    text = profiles.summarize(profile_of([1.0, np.inf, 1.0]))
    assert text.count("1 of 3 points are not finite (docs/surfaces/nan.md)") == 2


def test_notes_on_an_interpolation():
    def lines(*args):
        return noted(interpolation_report.summarize(interpolated(*args), ()))

    assert lines([1.0, 2.5, 3.0, 2.0]) == lines([1.0, 1.2, 1.5, 2.0]) == []
    assert (
        "loss on the segments is at one of 4 points alone; a larger --num_points"
        in (lines([1.0, 1.2, 3.0, 2.0])[0])
    )
    assert (
        "2 of 4 points on the segments are not finite (docs" in lines([1.0, np.nan, np.inf, 2])[0]
    )
    beyond = lines([1.0, 9.0], (-0.5, 1.5))
    assert [line[:33] for line in beyond] == ["note: no point between the network"[:33]]


def test_notes_on_several_curves_name_them():
    alone, broad = [1.0, 1.1, 4.0, 2.0, 2.0], [1.0, 2.1, 4.0, 3.1, 2.0]
    found = {"A_B": alone, "A_C": broad, "B_C": alone, "C_D": [1.0, np.nan, 1.0]}
    first, second = notes.of_profiles({name: profile_of(x) for name, x in found.items()})
    assert "loss on the curve is at one of 5 points alone; a larger --points" in first
    assert first.endswith("(docs/surfaces/points.md): A_B, B_C")
    assert "1 of 3 points on the curve are not finite" in second
    assert second.endswith(": C_D")


def test_a_note_on_the_segments_of_an_instability_analysis():
    def lines(row, name="loss"):
        found = {"train": {name: np.array([[[1.0, 1.1, 1.2, 1.0]], [row]])}}  # of two forks
        names, pairs = np.array(["0", "5"]), np.array([[0, 1]])
        steps, t = np.array([0, 50]), np.linspace(0, 1, 4)
        heights = {"train": {name: np.zeros((2, 1))}}
        result = Instability(names, steps, steps / 10, t, pairs, {}, found, heights)
        return noted(instability_report.table(result))

    assert lines([1.0, 2.0, 3.0, 1.0]) == []
    (line,) = lines([1.0, 1.2, 3.0, 1.0])
    assert "loss on the segments is at one of 4 points alone; a larger --num_points" in line
    assert "1 of 8 points on the segments are not finite" in lines([1.0, np.inf, 3.0, 1.0])[0]
    assert lines([1.0, 1.2, 3.0, 1.0], "accuracy") == []


@pytest.fixture
def modes(tmp_path):
    """Runs of modes with other accuracies by running averages; ``mlp`` has none."""
    for name, averages in (("same", 0.895), ("off", 0.85), ("worse", 0.5)):
        facts = {"final_with_running_averages": {"validation": {"accuracy": averages}}}
        make_mode(tmp_path / name, **facts)
    make_mode(tmp_path / "mlp")
    return lambda *names: notes.of_averages(Name(tmp_path / n, e, t) for n, e, t in names)


def test_commands_on_several_networks_print_that_note(modes, tmp_path, capsys):
    found = [Checkpoint(Name(tmp_path / n, None, None), ModeConfig()) for n in ("same", "worse")]
    references.shared(found, None, "share a plane", None)
    assert capsys.readouterr().err.startswith("note: worse has 90.00 % validation accuracy")


def make_mode(folder, **facts):
    folder.mkdir()
    final = {"validation": {"accuracy": 0.9}}
    Run(folder).update(format=1, kind="mode", flags={"epochs": 3}, final=final, **facts)


def test_running_averages_that_change_the_accuracy_are_noted_for_the_last_epoch(modes):
    own = (None, None)
    assert modes(("same", *own), ("mlp", *own), ("absent", *own)) == []
    (line,) = modes(("off", 3, None), ("worse", *own))
    assert line.startswith("note: worse has 90.00 % validation accuracy with batch norm's")
    assert line.endswith(
        "here, and 50.00 % with its running averages (docs/surfaces/batch_norm.md)"
    )
    assert modes(("worse", 2, None), ("worse", None, 0.5)) == []
    assert len(modes(("off", *own))) == 1
