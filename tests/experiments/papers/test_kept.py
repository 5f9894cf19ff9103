import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import reproduce
from experiments.cli.configs import ReproduceConfig
from experiments.cli.errors import UsageError
from experiments.papers.gotmare2018 import kept
from experiments.runs.folder import Run
from mcjax import plots
from tests import reproductions

WITHOUT = ("0/surface_30_70", "1/E", "1/GE", "1/surface_70_150")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Two seeds, the second one unfinished: E failed, a surface is still to come."""
    run = reproductions.write(tmp_path_factory.mktemp("made") / "work", 2, WITHOUT)
    mode = Run(run.path / "seed1" / "E")
    shutil.copytree(run.path / "seed1" / "G", mode.path)
    flags = Run(run.path / "seed0" / "E").info["flags"] | {"seed": 1006}
    reason = f"see {run.path}/seed1/E/metrics.jsonl"
    mode.update(flags=flags, status="failed", reason=reason)
    return run


@pytest.fixture(scope="module")
def judged(workdir, tmp_path_factory, png_only):
    """Two figures of what is kept, and the verdicts of the two seeds."""
    folder = tmp_path_factory.mktemp("made") / "kept"
    before = files(workdir.path)
    config = ReproduceConfig(workdir=str(workdir.path), kept=str(folder), figures=(4, 5))
    seeds = reproduce.run(config)
    assert files(workdir.path) == before  # it may be at work, and is not written to
    return folder, seeds


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_kept_results_are_small_and_name_no_path_of_the_machine(workdir, judged):
    folder, _ = judged
    kept_files = [p for p in (folder / "seed0").rglob("*") if p.is_file()]
    names = {p.name for p in kept_files}
    assert {"run.json", "metrics.jsonl", "curve.npz", "curve@20.npz", "surface.npz"} <= names
    assert {"gradients.json", "embedding.npz"} <= names
    assert not names & {"weights", "flags.cfg", ".lock"}
    assert sum(p.stat().st_size for p in kept_files) < 500_000
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl"), *folder.glob("*.md")]:
        assert str(workdir.path) not in path.read_text()
    assert Run(folder / "seed0" / "sgdr_70_150").info["flags"]["start"] == "seed0/sgdr@70"


def test_what_is_there_is_judged_while_seeds_are_unfinished(judged):
    folder, seeds = judged
    table = {c["number"]: c for c in json.loads((folder / "claims.json").read_text())}
    assert table[3]["verdict"] == "reproduced in 2 of 2 seeds"
    assert table[8]["verdict"] == "not testable at this scale in 1; 1 not run"  # a coarse grid
    early = "at epoch 20: reproduced in 1 of 1 seeds; not testable at this scale in 1"
    assert table[2]["verdict"].startswith(early)
    assert "after 2,800 steps (epoch 200; the paper's 20 epochs have 10,000)" in table[2]["verdict"]
    assert seeds[1][0].readings[0].why.startswith("GE: not run, since E: see seed1/E")
    assert {p.name for p in (folder / "figures").iterdir()} == {
        "figure04.png", "figure05.png", "verdicts.png"
    }  # fmt: skip
    report = (folder / "report.md").read_text()
    assert "**Not run yet:** 1 run of seed 0, 1 run of seed 1" in report
    shown = report.partition("### Figure 5")[2]
    assert "Seed 1." in shown.split("\n\n")[2]  # the first seed that has that surface


def test_kept_results_alone_are_judged_and_drawn_again(judged, tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    shutil.copytree(judged[0], folder)
    for name in ("claims.json", "report.md"):
        (folder / name).unlink()
    # A curve that failed, but was evaluated, is evidence as any other.
    Run(folder / "seed0" / "GA").update(status="failed", reason="at chance")
    monkeypatch.setattr(plots, "save", lambda figure, stem: stem.with_suffix(".png"))
    reproduce.run(ReproduceConfig(kept=str(folder), figures=(5,)))
    assert (folder / "report.md").exists()
    assert (folder / "claims.json").read_text() == (judged[0] / "claims.json").read_text()


def test_a_reproduction_in_the_current_folder_is_kept(tmp_path, monkeypatch):
    folder = reproductions.write(tmp_path / "runs" / "rep", 1, {"E", "GE"}).path
    monkeypatch.chdir(folder)
    for run in [
        Run(file.parent) for file in folder.glob("*/run.json")
    ]:  # as its commands would have recorded it here
        text = json.dumps(run.info).replace(f"{folder}/", "")
        run.update(**json.loads(text) | {"reason": "../rep/G~0.5 and runs/rep/GA@2: a/b, ./c"})
    kept.collect(Run("."), Run(tmp_path / "kept"))
    place = tmp_path / "kept" / "seed0"
    info = Run(place / "sgdr_70_150").info
    assert (info["flags"]["start"], info["flags"]["end"]) == ("seed0/sgdr@70", "seed0/sgdr@150")
    assert info["reason"] == "seed0/G~0.5 and seed0/GA@2: a/b, ./c"
    plan = kept.make_plan(Run(tmp_path / "kept").info["flags"], Path("seed0"), 0)
    assert set(kept.missing(plan, place)) == {"E", "GE"}


def test_results_of_a_single_seed_join_those_of_several(judged, tmp_path):
    folder = tmp_path / "kept"
    shutil.copytree(judged[0], folder)
    shutil.rmtree(folder / "seed0" / "G")
    one = reproductions.write(tmp_path / "one", 1)
    kept.collect(one, Run(folder))
    assert Run(folder / "seed0" / "G").status == "done"
    assert kept.seeds(Run(folder)) == 2
    assert (folder / "seed1" / "GA" / "curve.npz").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: {"kept": p / "nothing"}, "no results are kept there; add --workdir"),
        (lambda p: {"kept": p / "k", "workdir": p / "none"}, "is not a reproduction"),
    ],
)
def test_wrong_folders_are_one_line(make, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        reproduce.run(ReproduceConfig(**{n: str(x) for n, x in make(tmp_path).items()}))


def kept_of_another_paper(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "another")
    run = Run(tmp_path / "another")
    run.update(flags=run.info["flags"] | {"paper": "another"})
    return run.path


def test_results_of_other_flags_are_not_mixed(judged, tmp_path):
    other = reproductions.write(tmp_path / "other", 1, without=reproductions.ALL, epochs_factor=0.5)
    with pytest.raises(UsageError, match=r"--epochs_factor=1.0, but .* has 0.5"):
        kept.collect(other, Run(judged[0]))
    Run(other.path).update(flags=other.info["flags"] | {"paper": "another", "epochs_factor": 1.0})
    with pytest.raises(UsageError, match=r"--paper=gotmare2018, but .* has another"):
        kept.collect(Run(other.path), Run(judged[0]))
    with pytest.raises(UsageError, match="holds results of --paper=another"):
        reproduce.run(ReproduceConfig(kept=str(kept_of_another_paper(judged[0], tmp_path))))
    copy = tmp_path / "copy"
    shutil.copytree(judged[0], copy)
    run = Run(copy / "seed0" / "GA")
    run.update(flags=run.info["flags"] | {"epochs": 30})
    with pytest.raises(UsageError, match="--epochs: 30 there, 200 now"):
        reproduce.run(ReproduceConfig(kept=str(copy)))


def test_the_embedding_is_made_again_when_networks_have_come(workdir, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        kept, "_embedding", lambda source, names: made.append(names) or {"name": np.array(names)}
    )
    plan = kept.make_plan(workdir.info["flags"], workdir.path / "seed0", 0)
    for _ in range(2):
        kept.add_from_weights(workdir.path / "seed0", workdir.path / "seed0", plan)
    assert not made
    shutil.copyfile(workdir.path / "seed0" / "gradients.json", tmp_path / "gradients.json")
    for _ in range(2):
        kept.add_from_weights(workdir.path / "seed0", tmp_path, plan)
    assert made == [[*"GABCDEF", "GA", "GB", "GC", "GD", "GE", "GF"]]
