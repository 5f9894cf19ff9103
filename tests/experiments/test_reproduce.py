import dataclasses
import json
import re
import signal
import subprocess
import sys
import time

import pytest

from experiments import reproduce
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
