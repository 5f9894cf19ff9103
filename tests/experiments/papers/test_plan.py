import pytest

from experiments.papers.gotmare2018 import differences, scales
from tests.reproductions import plan


@pytest.mark.parametrize("scale", scales.SCALES)
def test_the_plan_is_the_papers(scale, tmp_path):
    found = plan(tmp_path, scale)
    names = [job.name for job in found.jobs]
    assert len(names) == len(set(names)) == 7 + 6 + 2 + 6 + 2
    for job in found.jobs:
        assert all(names.index(need) < names.index(job.name) for need in job.needs)
    pair = next(j for j in found.jobs if j.name == "sgdr_30_150").config
    run = next(j for j in found.jobs if j.name == "sgdr").config
    here = found.epochs["sgdr"]
    assert (pair.start, pair.end) == tuple(f"{tmp_path}/sgdr@{here[e]}" for e in (30, 150))
    assert {here[e] for e in (30, 70, 150)} <= set(run.keep)
    surface = next(j for j in found.jobs if j.name == "surface_70_150").config
    assert surface.points[2] == f"{tmp_path}/sgdr_70_150"
    assert set(found.epochs["GA"]) >= {20, 40, 60, 80}


def test_figures_choose_their_runs(tmp_path):
    names = {j.name for j in plan(tmp_path, chosen=(3,)).jobs}
    assert {"sgdr", "sgdr_70_150", "surface_70_150"} <= names
    assert not names & {"G", "GA", "surface_30_70"}
    assert {j.name for j in plan(tmp_path, chosen=(1,)).jobs} == {
        *"GABCDEF", *(f"G{x}" for x in "ABCDEF")
    }  # fmt: skip


def test_what_differs_from_the_paper_is_found_by_itself(tmp_path):
    """Epochs, rates and batches of a claim's runs, those of the paper in parentheses."""
    digits = plan(tmp_path).jobs
    assert differences.of_claim(3, digits) == "lr 0.03 (0.05)"
    words = differences.of_claim(1, digits)
    assert words.startswith("epochs 100 (200) except for A; epochs 300 (200) for A; ")
    assert "optimizer adam (sgd) for E" in words
    assert "curve lr 0.001 (0.015) for GE" in words
    assert "curve epochs 4 (200)" in differences.of_claim(5, plan(tmp_path, factor=0.04).jobs)
    paper = plan(tmp_path, "cifar10").jobs
    assert {differences.of_claim(n, paper) for n in range(1, 10)} == {"as in the paper"}
    assert differences.of_claim(1, plan(tmp_path, chosen=(2,)).jobs) == ""
    assert differences.of_scale(scales.SCALES["cifar10"], 500) == ""
    words = differences.of_scale(scales.SCALES["fashion_mnist"], 50)
    assert "VGG10 with batch norm (VGG16 in the paper)" in words
    assert "an epoch has 50 steps (500 in the paper)" in words


def test_repetitions_have_seeds_of_their_own(tmp_path):
    seeds = [{j.config.seed for j in plan(tmp_path, chosen=(1, 2), seed=k).jobs} for k in (0, 1)]
    assert not seeds[0] & seeds[1]
    assert len(seeds[0]) == 7 + 6 + 2 + 6
