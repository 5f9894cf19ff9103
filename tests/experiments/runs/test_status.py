"""A run's state changes in one place, along the transitions written there."""

import itertools
import json
import re
from pathlib import Path

import pytest

import experiments
from experiments.cli.configs import ModeConfig
from experiments.runs import Run, Status
from experiments.runs.status import TRANSITIONS


@pytest.fixture
def run(tmp_path):
    opened = Run(tmp_path / "G")
    opened.open("mode", ModeConfig(), steps_per_epoch=5)
    return opened


@pytest.mark.parametrize(("before", "after"), [*itertools.product(Status, Status)])
def test_only_the_written_transitions_are_legal(run, before, after):
    run.update(status=before)
    if after in TRANSITIONS[before]:
        run.move_to(after, seconds=1.5)
        assert (run.status, run.info["seconds"]) == (after, 1.5)
    else:
        with pytest.raises(ValueError, match=f"a run that is {before} cannot become {after}"):
            run.move_to(after, seconds=1.5)
        assert run.status == before
        assert "seconds" not in run.info


def test_a_run_begins_and_ends(run, tmp_path):
    assert Run(tmp_path / "other").status is Status.NEW
    assert run.status is Status.RUNNING
    run.move_to(Status.DONE)
    info = json.loads((run.path / "run.json").read_text())
    assert list(info)[:3] == ["format", "kind", "status"]
    assert info["status"] == "done"
    for state in (Status.NEW, Status.FAILED):
        with pytest.raises(ValueError, match="cannot become"):
            run.move_to(state)


def test_no_module_writes_a_status_by_hand():
    words = "|".join(Status)
    for path in Path(experiments.__file__).parent.rglob("*.py"):
        by_hand = re.search(rf"""status\W{{1,8}}["']({words})["']""", path.read_text())
        assert by_hand is None, path
