"""The scripts of jobs, and what Slurm's programs answer."""

import re
import subprocess
import sys

import pytest

from experiments.cli.configs import ModeConfig
from experiments.cli.errors import UsageError
from experiments.jobs import slurm as slurm_jobs
from experiments.jobs.job import Job
from mcjax import extras


class Words(Job):
    """A job with a command line of its own."""

    @property
    def argv(self):
        return [sys.executable, *self.words]


def job(tmp_path, name="G", *words, tolerant=False):
    config = ModeConfig(workdir=str(tmp_path / name))
    return Words(name, "train_mode", config, words=words, tolerant=tolerant)


def directives(script):
    lines = [line.split("--", 1)[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}


def test_the_script_has_the_options_and_what_the_launcher_needs(slurm, tmp_path):
    options = slurm_jobs.options(["partition=gpu", "exclusive", "--cpus_per_task=8"])
    number = slurm_jobs.submit(job(tmp_path, "seed0/G"), ["7", "8"], tmp_path / "logs", options)
    script = slurm.script(number)
    assert directives(script) == {
        "partition": "gpu", "exclusive": "", "cpus-per-task": "8", "job-name": "seed0/G",
        "dependency": "afterok:7:8", "kill-on-invalid-dep": "yes", "requeue": "", "nodes": "1",
        "signal": "TERM@60", "open-mode": "append", "output": f"{tmp_path}/logs/seed0/G.log",
    }  # fmt: skip
    srun = next(line for line in script.splitlines() if line.startswith("srun "))
    assert f"--output={tmp_path}/logs/seed0/G.log --open-mode=append --cpus-per-task=8 " in srun
    assert (tmp_path / "logs" / "seed0").is_dir()


def test_a_tolerant_job_runs_after_failures_and_others_are_its_users_choice(slurm, tmp_path):
    options = slurm_jobs.options(["time=01:00:00", "signal=TERM@300", r"mem=2G"])
    one = job(tmp_path, tolerant=True)
    found = directives(slurm.script(slurm_jobs.submit(one, ["7"], tmp_path / "logs", options)))
    assert (found["dependency"], found["time"]) == ("afterany:7", "01:00:00")
    assert (found["signal"], found["mem"]) == ("TERM@300", "2G")
    alone = slurm_jobs.submit(one, [], tmp_path / "logs", {})
    assert "dependency" not in directives(slurm.script(alone))
    assert slurm_jobs.newest(one, tmp_path / "logs") == alone == "2"
    assert slurm_jobs.newest(job(tmp_path, "other"), tmp_path / "logs") == ""


@pytest.mark.parametrize("status", [75, pytest.param(3, marks=pytest.mark.long)])
def test_a_job_becomes_its_command_and_is_requeued_if_a_signal_stopped_it(
    slurm, tmp_path, monkeypatch, status
):
    monkeypatch.chdir(tmp_path)
    code = f"import os, sys; print(os.getcwd(), flush=True); sys.exit({status})"
    one = job(tmp_path, "G", "-c", code)
    number = slurm_jobs.submit(one, [], tmp_path / "logs", {})
    assert slurm_jobs.ended(one, number, tmp_path / "logs") is None
    monkeypatch.setenv("SLURM_JOB_ID", number)
    script = slurm.folder / f"{number}.sh"
    found = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()[-1]) == (status, str(tmp_path)), found.stderr
    ended = slurm_jobs.ended(one, number, tmp_path / "logs")
    assert ended.status == status
    assert re.fullmatch(r"\d:\d\d", ended.time)
    assert slurm.said("control") == (["requeue", number] if status == 75 else [])


def test_the_queue_is_without_jobs_whose_dependency_failed(slurm):
    slurm.queue("7|RUNNING|1:02|None", "8|PENDING|0:00|Dependency",
                "9|PENDING|0:00|DependencyNeverSatisfied")  # fmt: skip
    assert slurm_jobs.queue() == {
        "7": ("RUNNING", "1:02", "None"), "8": ("PENDING", "0:00", "Dependency")
    }  # fmt: skip
    (slurm.folder / "down").write_text("slurm_load_jobs error: Unable to contact controller\n")
    with pytest.raises(UsageError, match=r"^squeue failed: slurm_load_jobs error: Unable to"):
        slurm_jobs.queue()


def test_what_sbatch_refuses_is_one_line(slurm, tmp_path, capsys):
    refusal = "sbatch: error: invalid partition\nsbatch: error: Batch job submission failed\n"
    (slurm.folder / "refusal").write_text(refusal)
    words = "^G was not submitted: invalid partition; Batch job submission failed$"
    with pytest.raises(UsageError, match=words):
        slurm_jobs.submit(job(tmp_path), [], tmp_path / "logs", {"partition": "no"})
    assert capsys.readouterr().err == ""
    assert slurm_jobs.newest(job(tmp_path), tmp_path / "logs") == ""


@pytest.mark.parametrize("text", ["p=gpu", "partition=", "=gpu", "Partition=gpu", "gpu:1"])
def test_options_are_written_as_those_of_sbatch(slurm, text):
    with pytest.raises(UsageError, match=rf"--slurm_options={text}: write NAME=VALUE"):
        slurm_jobs.options([text])


@pytest.mark.parametrize("text", ["ntasks=8", "nodes=2", "array=1-3", "--job_name=me", "output=o"])
def test_options_of_the_launcher_are_refused(slurm, text):
    with pytest.raises(UsageError, match=rf"--slurm_options={text}: every job is one process"):
        slurm_jobs.options([text])


def test_without_slurm_or_submitit_nothing_is_begun(slurm, monkeypatch):
    monkeypatch.setattr(extras, "missing", list)
    with pytest.raises(extras.MissingExtraError, match=r"needs submitit: .*mcjax\[slurm\]"):
        slurm_jobs.options([])
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="--launcher=slurm: sbatch is not installed here"):
        slurm_jobs.options([])
    with pytest.raises(UsageError, match="squeue is not installed here"):
        slurm_jobs.queue()
