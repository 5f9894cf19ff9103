"""BUILD.md's script of a curve, disturbed on the way: its end is that of an undisturbed run."""

import datetime
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.runs.folder import Run

from . import scripts, slurm

pytestmark = pytest.mark.long

EPOCHS = 150


@pytest.fixture(scope="module")
def folder(cluster, tmp_path_factory):
    """The modes, and the curve of a single process that nothing disturbs."""
    found = tmp_path_factory.mktemp("faults")
    scripts.write_flagfiles(found, EPOCHS)
    with (found / "GA.cfg").open("a") as flags:
        flags.write("--checkpoint_seconds=2\n")
    scripts.alone(cluster, "fit_curve", f"--flagfile={found}/GA.cfg", f"--workdir={found}/one")
    return found


def submit(cluster, folder, name, *changes):
    """Submits the script with a run folder of its own."""
    script = scripts.fit_curve(folder, ("$SCRATCH/GA", f"$SCRATCH/{name}"), *changes)
    return cluster.submit(script, scripts.exported(folder), f"--chdir={scripts.ROOT}")


def begin(cluster, folder, name, *changes):
    """Submits it and waits until it has trained for some epochs."""
    job = submit(cluster, folder, name, *changes)
    far = lambda: any(line["epoch"] >= 5 for line in Run(folder / name).metrics())  # noqa: E731
    cluster.wait_for(far, f"{name} does not train\n{job.output()}", slurm.BOUNDED)
    return job


def set_end(job, seconds):
    """Sets the end of the job's time, as an administrator can."""
    end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
    job.cluster.run("scontrol", "update", f"JobId={job.id}", f"EndTime={end:%Y-%m-%dT%H:%M:%S}")


def resume(job, folder, name):
    """Checks how a requeued job ends."""
    finish(job, folder, name)
    assert job.tasks()[0]["Restarts"] == "1"


def finish(job, folder, name):
    assert job.wait() == ["COMPLETED"], job.output()
    np.testing.assert_array_equal(scripts.final(folder / name), scripts.final(folder / "one"))
    epochs = [line["epoch"] for line in Run(folder / name).metrics()]
    assert epochs == list(range(1, EPOCHS + 1))


def interrupted(folder, name):
    """Its last epoch, which is not the end."""
    last = Run(folder / name).metrics()[-1]["epoch"]
    assert last < EPOCHS, "it ended before it was disturbed"
    return last


def test_sigterm_of_the_scheduler_saves_and_requeues(cluster, folder):
    job = begin(cluster, folder, "signal")
    set_end(job, 70)  # --signal=TERM@60
    job.wait("PENDING")
    interrupted(folder, "signal")
    said = job.output()
    assert said.count("stopped by SIGTERM; run the same command to resume") == 2
    sent = re.search(r"STEP \S+ ON \S+ CANCELLED AT (\S+) ", said)[1]
    steps = (folder / "signal" / "checkpoints").glob("[0-9]*")
    saved = max(path.stat().st_ctime for path in steps)
    seconds = saved - datetime.datetime.fromisoformat(sent).timestamp()
    assert -1 < seconds < 60
    cluster.run("scontrol", "update", f"JobId={job.id}", "StartTime=now")  # not in two minutes
    resume(job, folder, "signal")
    scripts.report(
        "the scheduler's own SIGTERM (`--signal`)",
        f"saved after {max(0, seconds):.0f} s, status 75, requeued, COMPLETED", "bit for bit",
    )  # fmt: skip


def test_a_killed_process_ends_the_job(cluster, folder):
    job = begin(cluster, folder, "killed")
    send(cluster, "1", signal.SIGKILL)
    began = time.monotonic()
    assert job.wait() == ["FAILED"]
    seconds = time.monotonic() - began
    assert seconds < 90
    interrupted(folder, "killed")
    finish(submit(cluster, folder, "killed"), folder, "killed")
    what = f"FAILED after {seconds:.0f} s; submitted again: COMPLETED"
    scripts.report("one process killed", what, "bit for bit")


def send(cluster, number, signum):
    """Sends a signal to the Python of the task of this number."""
    (victim,) = (pid for pid in cluster.processes() if is_task(pid, number))
    os.kill(victim, signum)


def is_task(pid, number):
    """Whether a process is the Python of the task of this number."""
    path = Path(f"/proc/{pid}")
    variables = (path / "environ").read_bytes().split(b"\0")
    python = b"experiments.fit_curve" in (path / "cmdline").read_bytes()
    return python and f"SLURM_PROCID={number}".encode() in variables


def test_a_node_whose_daemon_is_killed(cluster, folder):
    job = begin(cluster, folder, "node")
    node = slurm.NODES[1]
    send(cluster, "1", signal.SIGSTOP)  # or it could end before the node counts as down
    cluster.daemons[node].kill()
    cluster.daemons[node].wait()
    try:
        job.wait("PENDING")  # after SlurmdTimeout
        interrupted(folder, "node")
        assert cluster.node_state(node).startswith("down")
    finally:
        cluster.start_node(node)  # it ends the old processes: the job starts in two minutes
    resume(job, folder, "node")
    what = "node down, requeued, waits for the node, COMPLETED"
    scripts.report("one node's `slurmd` killed", what, "bit for bit")


def test_a_job_over_its_time_limit(cluster, folder):
    job = begin(cluster, folder, "limit", (" --signal=TERM@60", ""))
    set_end(job, 1)
    assert job.wait() == ["TIMEOUT"]
    interrupted(folder, "limit")
    finish(submit(cluster, folder, "limit"), folder, "limit")
    what = "TIMEOUT; submitted again: COMPLETED"
    scripts.report("over its time limit, without `--signal`", what, "bit for bit")
