"""What became of jobs, and which of them are submitted."""

import pytest

from experiments.cli.configs import CurveConfig, CurvesConfig, ModeConfig, ReproduceConfig
from experiments.cli.errors import UsageError
from experiments.jobs import Job, last_job, launching
from experiments.runs.folder import Run

ALL = ("G", "A", "W", "GA", "GW", "both")


@pytest.fixture
def jobs(tmp_path):
    """Three modes, of which W has failed, two curves, a job of several runs, and a last one."""

    def mode(name):
        return Job(name, "train_mode", ModeConfig(workdir=str(tmp_path / name)))

    def curve(name):
        return Job(name, "fit_curve", CurveConfig(workdir=str(tmp_path / name)), (*name,))

    write(tmp_path, "W", "failed", reason="at chance")
    folders = tuple(str(tmp_path / name) for name in ("x", "y"))
    both = Job("both", "fit_curves", CurvesConfig(), ("G", "W"), folders, tolerant=True)
    last = last_job("report", "reproduce", ReproduceConfig(), ALL)
    return [*map(mode, "GAW"), curve("GA"), curve("GW"), both, last]


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


def write(folder, name, status, **facts):
    (folder / name).mkdir(exist_ok=True)
    Run(folder / name).update(format=1, kind="mode", status=status, **facts)


def end(logs, name, number, status, *lines):
    """A command ended and wrote lines to its log."""
    (logs / "slurm" / name / f"{number}.ended").write_text(f"{status} 61\n")
    (logs / f"{name}.log").write_text("".join(f"{line}\n" for line in lines))


def states(jobs, logs):
    return {one.job.name: str(one.state) for one in launching.look(jobs, logs)}


def dependency(slurm, number):
    lines = [line for line in slurm.script(number).splitlines() if "--dependency=" in line]
    return lines[0].partition("=")[2] if lines else ""


def test_every_job_is_submitted_once_after_those_that_it_needs(slurm, jobs, logs, tmp_path, capsys):
    assert states(jobs, logs) == dict.fromkeys((*ALL, "report"), "new") | {
        "W": "failed", "GW": "not run"
    }  # fmt: skip
    launching.submit(jobs, logs, {})
    assert [dependency(slurm, n) for n in range(1, 6)] == [
        "", "", "afterok:1:2", "afterany:1", "afterany:1:2:3:4"
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert "5 of 7 jobs submitted; the same command with --status" in printed.err
    slurm.queue("1|RUNNING|0:07|None", *(f"{n}|PENDING|0:00|Dependency" for n in range(2, 6)))
    launching.submit(jobs, logs, {})
    assert "0 of 7 jobs submitted" in capsys.readouterr().err
    assert slurm.said("cancelled") == []


def test_stopped_jobs_are_submitted_again_and_the_last_one_is_replaced(
    slurm, jobs, logs, tmp_path, capsys
):
    launching.submit(jobs, logs, {})
    write(tmp_path, "G", "done")
    write(tmp_path, "A", "running")
    end(logs, "G", 1, 0)
    end(logs, "A", 2, 1, "epoch 3", "cannot write: no space", "", "srun: error: task 0: Exited")
    slurm.queue("1|COMPLETING|1:01|None", "4|CONFIGURING|0:01|None", "5|PENDING|0:00|Dependency",
                "3|PENDING|0:00|DependencyNeverSatisfied")  # fmt: skip
    capsys.readouterr()
    launching.show_table(jobs, logs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:8]] == [
        ["job", "state", "Slurm", "id", "time", "log"],
        ["G", "done", "1", "1:01", f"{logs}/G.log"],
        ["A", "stopped", "2", "1:01", f"{logs}/A.log"],
        ["W", "failed"],
        ["GA", "stopped", "3"],
        ["GW", "not", "run"],
        ["both", "running", "4", "0:01"],
        ["report", "queued", "(Dependency)", "5", "0:00"],
    ]
    assert lines[8:] == [
        f"A: stopped: status 1: cannot write: no space; log: {logs}/A.log",
        "W: failed: at chance",
        "GA: stopped: killed or cancelled (sacct -j 3)",
        "GW: not run: needs W, which failed",
        "1 queued, 1 running, 2 stopped, 1 done, 1 failed, 1 not run",
    ]
    launching.submit(jobs, logs, {})
    assert slurm.said("cancelled") == ["5"]
    assert [dependency(slurm, n) for n in (6, 7, 8)] == ["", "afterok:6", "afterany:6:7:4"]
    assert not (slurm.folder / "9.sh").exists()


def test_the_last_job_is_done_when_its_command_is_and_can_be_repeated(slurm, jobs, logs, tmp_path):
    for name in ("G", "A", "GA", "x", "y"):
        write(tmp_path, name, "done")
    assert states(jobs, logs)["both"] == "done"
    launching.submit(jobs, logs, {})
    assert dependency(slurm, 1) == ""
    slurm.queue("1|RUNNING|0:07|None")
    launching.submit(jobs, logs, {})
    assert states(jobs, logs)["report"] == "running"
    slurm.queue()
    for status, state in ((1, "failed"), (0, "done")):
        end(logs, "report", 1, status)
        assert states(jobs, logs)["report"] == state
    launching.submit(jobs, logs, {})
    assert (slurm.folder / "2.sh").exists()
    write(tmp_path, "y", "failed", reason="at chance")
    assert states(jobs, logs)["both"] == "failed"


def test_a_last_job_at_work_is_waited_for(slurm, jobs, logs, tmp_path):
    """Both would lock the folder."""
    for name in ("G", "A", "x", "y"):
        write(tmp_path, name, "done")
    launching.submit(jobs, logs, {})
    slurm.queue("2|RUNNING|0:07|None")
    launching.submit(jobs, logs, {})
    assert [dependency(slurm, n) for n in (3, 4)] == ["", "afterany:3:2"]
    assert slurm.said("cancelled") == []


def test_runs_of_this_machine_need_no_slurm(jobs, logs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    write(tmp_path, "G", "done")
    write(tmp_path, "GA", "fitted")
    found = states(jobs, logs)
    assert (found["G"], found["A"], found["GA"]) == ("done", "new", "begun")


def test_options_of_slurm_need_its_launcher():
    with pytest.raises(UsageError, match="--slurm_options needs --launcher=slurm"):
        launching.check_flags(ReproduceConfig(slurm_options=("mem=2G",)))
    config = ReproduceConfig(launcher="slurm", slurm_options=("mem=2G",), status=True)
    assert launching.check_flags(config) == {}
