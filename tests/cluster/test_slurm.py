"""The cluster that the other tests use."""

from pathlib import Path

import pytest

from . import slurm

pytestmark = pytest.mark.long


def test_a_job_over_two_nodes(cluster):
    script = "#!/bin/bash\n#SBATCH --nodes=2 --gpus-per-node=8\nsrun printenv SLURMD_NODENAME\n"
    job = cluster.submit(script)
    assert job.wait(seconds=60) == ["COMPLETED"]
    assert sorted(job.output().split()) == [*slurm.NODES]


def test_an_array_of_jobs(cluster):
    script = "#!/bin/bash\n#SBATCH --array=1-3\necho $SLURM_ARRAY_TASK_ID\nexit 3\n"
    job = cluster.submit(script)
    assert job.wait(seconds=60) == ["FAILED"] * 3
    assert [task["ExitCode"] for task in job.tasks()] == ["3:0"] * 3
    assert sorted(job.output().split()) == ["1", "2", "3"]


def alive(pid):
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes()  # a zombie has none


def test_two_clusters_side_by_side_leave_no_process(cluster, tmp_path):
    other = slurm.Cluster(tmp_path)
    try:
        other.start()
        job = other.submit("#!/bin/bash\n#SBATCH --nodes=2\nsrun sleep 1000\n")
        job.wait("RUNNING")
        test_a_job_over_two_nodes(cluster)
        assert job.states() == ["RUNNING"]
        found = [*other.processes(), *(p.pid for p in other.daemons.values())]
        assert len([*filter(alive, found)]) > 5
    finally:
        other.stop()
    assert not [*filter(alive, found)]
    test_a_job_over_two_nodes(cluster)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(slurm, "PATH", "/nowhere")
    assert slurm.missing().startswith("no slurmctld, slurmd, sbatch, ")
