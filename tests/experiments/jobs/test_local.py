import dataclasses

import pytest

from experiments import jobs
from experiments.cli.configs import ModeConfig
from experiments.cli.errors import UsageError


def mode_job(tmp_path, name, needs=(), **changes):
    config = ModeConfig(
        workdir=str(tmp_path / name), model="mlp", width=0.25, train_size=200, epochs=2,
        batch_size=50, lr=0.05,
    )  # fmt: skip
    return jobs.Job(name, "train_mode", dataclasses.replace(config, **changes), needs)


@pytest.mark.long
def test_jobs_run_fail_and_are_found_done(tmp_path):
    todo = [
        mode_job(tmp_path, "bad", lr=1e9),
        mode_job(tmp_path, "good", epochs=30),
        mode_job(tmp_path, "after_bad", ("bad",)),
    ]
    outcome = jobs.run_jobs(todo, {}, 2, tmp_path / "logs")
    assert outcome["good"] is None
    assert "not finite" in outcome["bad"]
    assert outcome["after_bad"].startswith("not run, since bad")
    assert not (tmp_path / "after_bad").exists()
    before = (tmp_path / "good" / "metrics.jsonl").stat().st_mtime_ns
    assert jobs.run_jobs(todo[1:2], {}, 1, tmp_path / "logs") == {"good": None}
    assert (tmp_path / "good" / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_refused_job_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"strange ended with status 2: .*unknown model"):
        jobs.run_jobs([mode_job(tmp_path, "strange", model="vgg99")], {}, 1, tmp_path / "logs")
