"""Plans as jobs of a real Slurm: submitted, stopped, killed, resumed; equal to local runs."""

import json
import re
import subprocess
import sys

import pytest

from tests.mutation import ROOT

pytestmark = pytest.mark.long
PAIRS = [f"{run}_{a}_{b}" for run, ends in (
    ("sgdr", ((30, 70), (70, 150), (30, 150))), ("step", ((55, 65), (145, 165), (55, 165))),
) for a, b in ends]  # fmt: skip
SLURM = ("cpus-per-task=32",)  # four jobs at once


class Plan:
    """A command whose jobs Slurm runs."""

    def __init__(self, cluster, workdir, command, *flags):
        self.cluster, self.workdir = cluster, workdir
        self.words = [sys.executable, "-m", f"experiments.{command}", *flags]

    def run(self, *flags, workdir=None):
        """Runs the command; returns what it printed."""
        words = [*self.words, f"--workdir={workdir or self.workdir}", *flags]
        return subprocess.run(
            words, cwd=ROOT, env=self.cluster.environment, capture_output=True, text=True
        )

    def submit(self, *options):
        found = self.run("--launcher=slurm", f"--slurm_options={','.join([*SLURM, *options])}")
        assert found.returncode == 0, found.stderr
        return int(re.search(r"(\d+) of \d+ jobs submitted", found.stderr)[1])

    def status(self):
        """The states and ids of --status, by job, and its lines below the table."""
        lines = self.run("--launcher=slurm", "--status").stdout.splitlines()
        place = {name: lines[0].index(name) for name in ("state", "Slurm id", "time")}
        table = [line for line in lines[1:] if not re.match(r"[\w/]+: |\d+ ", line)]
        states = {line.split()[0]: line[place["state"] :].split("  ")[0] for line in table}
        ids = {line.split()[0]: line[place["Slurm id"] : place["time"]].strip() for line in table}
        return states, ids, [line for line in lines[1:] if line not in table]

    def wait_for(self, there, seconds=1800):
        """Waits until a condition of the queue, lines ``NAME STATE REASON``, holds."""

        def holds():
            return there(self.cluster.run("squeue", "-h", "-o", "%j %T %r").splitlines())

        self.cluster.wait_for(holds, "the jobs are elsewhere", seconds)
        return self.status()[0]

    def wait_for_line(self, job, text):
        log = self.workdir / "logs" / f"{job}.log"
        there = lambda: log.exists() and text in log.read_text()  # noqa: E731
        self.cluster.wait_for(there, f"{log} has no {text}", 300)


def test_the_paper_is_that_of_this_machine(cluster, tmp_path):
    """Stopped, killed and submitted again in between."""
    flags = ("--figures=2", "--epochs_factor=0.2")
    plan = Plan(cluster, tmp_path / "slurm", "reproduce", *flags)
    names = {"sgdr", "step", *PAIRS, "report"}
    assert plan.status()[0] == dict.fromkeys(names, "new")
    assert plan.submit("hold") == len(names)
    states, ids, _ = plan.status()
    assert {state.partition(" ")[0] for state in states.values()} == {"queued"}
    assert plan.submit() == 0

    cluster.run("scontrol", "release", ids["step"])
    plan.wait_for_line("step", "epoch 1/")
    cluster.run("scancel", "--signal=TERM", ids["step"])
    plan.wait_for_line("step", "train_mode: stopped by SIGTERM")
    states = plan.wait_for(lambda queue: "step PENDING BeginTime" in queue, 60)
    assert states["step"] == "queued (BeginTime)"
    cluster.run("scontrol", "update", f"JobId={ids['step']}", "StartTime=now")

    cluster.run("scontrol", "release", ",".join(ids[name] for name in names - {"step"}))
    states = plan.wait_for(lambda queue: "sgdr RUNNING None" in queue, 60)
    assert {states[name] for name in PAIRS[:3]} == {"queued (Dependency)"}
    cluster.run("scancel", ids["sgdr"])
    lost = ("sgdr", *PAIRS[:3])
    states = plan.wait_for(lambda queue: not {line.split()[0] for line in queue} & {*lost}, 60)
    assert {states[name] for name in lost} == {"stopped"}
    assert states["report"] == "queued (Dependency)"
    stopped = [line for line in plan.status()[2] if line.startswith("sgdr: stopped: killed or")]
    assert "; log: " in stopped[0]
    assert plan.submit() == len(lost) + 1
    assert {*plan.wait_for(lambda queue: not queue).values()} == {"done"}
    assert plan.status()[1]["step"] == ids["step"]  # requeued

    before = {f: f.stat().st_mtime_ns for f in plan.workdir.rglob("metrics.jsonl")}
    assert plan.submit() == 1
    assert {*plan.wait_for(lambda queue: not queue).values()} == {"done"}
    assert before == {f: f.stat().st_mtime_ns for f in plan.workdir.rglob("metrics.jsonl")}

    local = tmp_path / "local"
    assert plan.run("--jobs=1", workdir=local).returncode == 0  # each run on all cores, as above
    assert (plan.workdir / "claims.json").read_text() == (local / "claims.json").read_text()
    for name in PAIRS:
        lines = [
            [json.loads(x)["train"] for x in (w / name / "metrics.jsonl").read_text().splitlines()]
            for w in (plan.workdir, local)
        ]
        assert lines[0] == lines[1]


def test_a_job_that_fails_is_said_and_those_that_need_it_are_not_run(cluster, tmp_path):
    small = ["--model=mlp", "--width=0.25", "--train_size=200", "--epochs=2", "--batch_size=40"]
    for seed, name in enumerate("GAW"):
        wild = ["--init_scale=1e6", "--lr=0"] if name == "W" else []
        text = "\n".join([*small, *wild, f"--seed={seed}"])
        (tmp_path / f"{name}.cfg").write_text(text)
    modes = ",".join(f"{tmp_path}/{name}.cfg" for name in "GAW")
    flags = (f"--modes={modes}", "--epochs=2", "--points=3", "--batch_size=40")
    plan = Plan(cluster, tmp_path / "slurm", "fit_curves", *flags)
    assert plan.submit() == 7
    assert plan.wait_for(lambda queue: not queue) == dict.fromkeys(
        ("modes/G", "modes/A", "G_A"), "done"
    ) | dict.fromkeys(("G_W", "A_W"), "not run") | {"modes/W": "failed", "table": "failed"}
    said = plan.status()[2]
    assert re.match(
        r"modes/W: failed: training accuracy .* it did not train; log: .*W.log$", said[0]
    )
    assert said[1:3] == [f"{name}: not run: needs modes/W, which failed" for name in ("G_W", "A_W")]
    assert "status 1: fit_curves: 2 of 3 curves are missing; log: " in said[3]
    rows = json.loads((tmp_path / "slurm" / "pairs.json").read_text())
    local = plan.run(workdir=tmp_path / "local")
    assert local.returncode == 1
    there = json.loads((tmp_path / "local" / "pairs.json").read_text())
    reasons = [row.get("why", "").replace("/slurm/", "/local/") for row in rows]
    assert reasons == [row.get("why", "") for row in there]
    assert plan.submit() == 1  # the table alone
