import dataclasses
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from experiments import reproduce
from experiments.cli import command, processes
from experiments.cli.configs import ReproduceConfig
from experiments.cli.errors import UsageError
from experiments.papers.gotmare2018 import reproduction
from tests import reproductions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": (11,)}, "--figures=11"),
        ({"epochs_factor": 0.0}, "--epochs_factor"),
        ({"seeds": 0}, "--seeds"),
        ({"scale": "cifar10", "data_dir": "nowhere"}, "nowhere"),
        ({"coordinator": "localhost:1234"}, "--coordinator=localhost:1234: .*--launcher=slurm"),
        ({"slurm_options": ("time=1",)}, "--slurm_options needs --launcher=slurm"),
    ],
)
def test_wrong_flags(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        reproduce.run(dataclasses.replace(ReproduceConfig(workdir=str(tmp_path / "r")), **changes))


def test_launch_flags_are_refused_without_waiting_for_other_processes(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(processes, "join", None)
    flags = ["--coordinator=localhost:1234", "--nocompilation_cache", f"--workdir={tmp_path}/r"]
    monkeypatch.setattr(sys, "argv", ["reproduce", *flags])
    with pytest.raises(SystemExit) as ended:
        command.main(ReproduceConfig, reproduce.run, "doc")
    assert ended.value.code == 2
    assert "reproduce starts its own processes" in capsys.readouterr().err


def test_every_paper_is_a_choice_of_the_flag():
    field = next(f for f in dataclasses.fields(ReproduceConfig) if f.name == "paper")
    assert set(field.metadata["choices"]) == set(reproduce.PAPERS)
    assert field.default in reproduce.PAPERS


@pytest.fixture
def unfinished(tmp_path):
    """Two seeds, the second one without E, its curve and a surface."""
    return reproductions.write(tmp_path / "r", 2, ("1/E", "1/GE", "1/surface_70_150"))


def test_the_status_is_that_of_every_run_and_nothing_is_run(unfinished, capsys, monkeypatch):
    monkeypatch.setattr(reproduction.data, "load", None)
    config = ReproduceConfig(workdir=str(unfinished.path), seeds=2, status=True)
    assert reproduce.run(config) == []
    lines = capsys.readouterr().out.splitlines()
    found = dict(line.split()[:2] for line in lines[1:-1])
    names = {f"seed{k}/{name}" for k in range(2) for name in reproductions.ALL}
    assert found == dict.fromkeys(names, "done") | dict.fromkeys(
        ("seed1/E", "seed1/GE", "seed1/surface_70_150", "report"), "new"
    )
    assert lines[-1] == "4 new, 43 done"
    with pytest.raises(UsageError, match=r"--epochs_factor: 1.0 there, 0.5 now"):
        reproduce.run(dataclasses.replace(config, epochs_factor=0.5))


def test_jobs_of_all_seeds_are_followed_by_the_one_that_judges(unfinished):
    config = ReproduceConfig(workdir=str(unfinished.path), seeds=2)
    found = reproduction.jobs(unfinished, config, reproduction.check_flags(config, unfinished))
    needs = {job.name: job.needs for job in found}
    assert needs["seed1/GE"] == ("seed1/G", "seed1/E")
    *others, last = needs
    assert (last, needs[last]) == ("report", tuple(others))
    assert found[-1].argv[-1] == "--launcher=none"
    assert "--seeds=2" in found[-1].argv


def test_without_a_launcher_what_is_done_is_judged(unfinished, png_only, capsys):
    config = ReproduceConfig(workdir=str(unfinished.path), seeds=2, figures=(4,), launcher="none")
    reproduce.run(config)
    assert "claim 1: " in capsys.readouterr().out
    table = json.loads((unfinished.path / "claims.json").read_text())
    assert table[0]["verdict"].endswith("1 not run")
    assert unfinished.status == "running"
    assert not (unfinished.path / "seed1" / "E").exists()


@pytest.mark.long
def test_stopping_half_way_gives_the_same_report(tmp_path):
    """The whole digits reproduction at a fiftieth of its epochs, once whole, once in pieces."""
    command = [sys.executable, "-m", "experiments.reproduce", "--epochs_factor=0.02"]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    subprocess.run([*command, f"--workdir={whole}"], check=True)
    for seconds in (25, 40):
        process = subprocess.Popen([*command, f"--workdir={pieces}"])
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 75
    subprocess.run([*command, f"--workdir={pieces}"], check=True)
    texts = [(p / "report.md").read_text().replace(str(p), "") for p in (whole, pieces)]
    without_cost = [re.sub(r"Training alone took .* in all\.", "", t) for t in texts]
    assert without_cost[0] == without_cost[1]
    table = json.loads((whole / "claims.json").read_text())
    assert [c["number"] for c in table] == list(range(1, 10))
    assert len(list((whole / "figures").glob("*.png"))) == 11
