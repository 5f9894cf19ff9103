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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": (11,)}, "--figures=11"),
        ({"epochs_factor": 0.0}, "--epochs_factor"),
        ({"seeds": 0}, "--seeds"),
        ({"scale": "cifar10", "data_dir": "nowhere"}, "nowhere"),
        ({"coordinator": "localhost:1234"}, "--coordinator=localhost:1234: reproduce starts"),
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
