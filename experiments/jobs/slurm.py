"""Slurm: the scripts of jobs, by submitit, the queue, and how jobs ended.

Under ``srun``, each job becomes its command. A command that a signal stopped with its state saved,
by preemption or at the end of its time, exits with status 75, and its script then requeues the job.

``LOGS/slurm/NAME`` has a job's scripts, ``ID_submission.sh``, and ``ID.ended`` with its command's
status and seconds: enough to find out what became of it where Slurm keeps no accounts.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from mcjax import extras

from ..cli import UsageError
from .job import Job

SIGNAL = "TERM@60"
"""Slurm's signal before the end of a job's time, which leaves a minute to save."""
OWN = {
    "array", "chdir", "dependency", "error", "job-name", "kill-on-invalid-dep", "nodes", "ntasks",
    "ntasks-per-node", "open-mode", "output", "parsable", "requeue", "wrap",
}  # fmt: skip
"""Options of sbatch that the launcher sets."""


class Queued(NamedTuple):
    """A job in Slurm's queue: its state, its time so far, and why it waits, in Slurm's words."""

    state: str
    time: str
    reason: str


class Ended(NamedTuple):
    """How a job's command ended: its exit status and the time it took."""

    status: int
    time: str


def options(texts: Sequence[str]) -> dict[str, Any]:
    """Parses --slurm_options, and checks that jobs can be submitted here.

    Returns:
      The options' values by name, True for an option without a value.

    Raises:
      MissingExtraError: submitit is not installed.
      UsageError: Slurm is not installed, or an option is wrong or set by the launcher.
    """
    extras.require("--launcher=slurm", "submitit")
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise UsageError(
            "--launcher=slurm: sbatch is not installed here; run this on a node of the cluster"
        )
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.removeprefix("--").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z-]+", name) or (equals and not value):
            raise UsageError(
                f"--slurm_options={text}: write NAME=VALUE with the long name of an option of "
                "sbatch, such as time=04:00:00"
            )
        if name in OWN:
            raise UsageError(
                f"--slurm_options={text}: every job is one process, and the launcher sets "
                f"{', '.join(sorted(OWN))}"
            )
        found[name] = value if equals else True
    return found


def submit(job: Job, after: Sequence[str], logs: Path, chosen: dict[str, Any]) -> str:
    """Submits a job.

    Args:
      job: the job.
      after: Slurm's ids of the jobs that must have ended, without failure unless it is tolerant.
      logs: folder of the plan's logs.
      chosen: from `options`.

    Returns:
      Its id.

    Raises:
      UsageError: sbatch refused it.
    """
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # it would close handlers of others
    import submitit

    folder = _folder(job, logs)
    for one in (folder, log_of(job, logs).parent):  # Slurm would end the job, and say nothing
        one.mkdir(parents=True, exist_ok=True)
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(**_parameters(job, after, logs, chosen))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it prints what it also raises
            return executor.submit(os.execv, job.argv[0], job.argv).job_id
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UsageError(f"{job.name} was not submitted: {_line(str(error))}") from None


def _parameters(
    job: Job, after: Sequence[str], logs: Path, chosen: dict[str, Any]
) -> dict[str, Any]:
    """Submitit's parameters of a job; arguments as of `submit`."""
    output = str(log_of(job, logs).absolute()).replace("%", "%%")
    kind = "afterany" if job.tolerant else "afterok"
    cores = "cpus-per-task"  # srun does not take it from sbatch
    own = {"output": output, "signal": SIGNAL, "requeue": True, "kill-on-invalid-dep": "yes"}
    dependency = {"dependency": ":".join([kind, *after])} if after else {}
    return {
        "job_name": job.name,
        "time": None,  # the partition's, by default
        "wckey": None,
        "stderr_to_stdout": True,
        "srun_args": [
            f"--output={output}",
            "--open-mode=append",
            *([f"--{cores}={chosen[cores]}"] if cores in chosen else []),
        ],
        "setup": ['echo "job $SLURM_JOB_ID on $SLURMD_NODENAME, $(date)"'],
        "teardown": [
            "status=$?",
            f"echo $status $SECONDS > {shlex.quote(str(_folder(job, logs)))}/$SLURM_JOB_ID.ended",
            "[ $status -ne 75 ] || scontrol requeue $SLURM_JOB_ID",
            "exit $status",
        ],
        "additional_parameters": own | dependency | chosen,
    }


def queue() -> dict[str, Queued]:
    """The user's jobs that wait or run, by id.

    Raises:
      UsageError: Slurm does not answer.
    """
    lines = _run("squeue", "--me", "--noheader", "--format=%A|%T|%M|%r").splitlines()
    found = {one: Queued(*rest) for one, *rest in (line.split("|") for line in lines)}
    return {one: job for one, job in found.items() if job.reason != "DependencyNeverSatisfied"}


def cancel(number: str) -> None:
    """Cancels a job, unless it has ended."""
    with contextlib.suppress(UsageError):
        _run("scancel", number)


def newest(job: Job, logs: Path) -> str:
    """Slurm's id of a job's last submission; empty if there is none."""
    files = _folder(job, logs).glob("*_submission.sh")
    ids = [int(file.name.partition("_")[0]) for file in files if file.name[0].isdigit()]
    return str(max(ids)) if ids else ""


def ended(job: Job, number: str, logs: Path) -> Ended | None:
    """How a job's command ended; None if it has not, or if Slurm killed the job."""
    file = _folder(job, logs) / f"{number}.ended"
    if not file.exists():
        return None
    status, seconds = map(int, file.read_text().split())
    return Ended(status, re.sub("^0:0?", "", str(timedelta(seconds=seconds))))  # as squeue's


def log_of(job: Job, logs: Path) -> Path:
    """A job's log, of all its submissions."""
    return logs / f"{job.name}.log"


def _folder(job: Job, logs: Path) -> Path:
    return (logs / "slurm" / job.name).absolute()


def _run(*words: str) -> str:
    """The output of a command of Slurm."""
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise UsageError(f"{words[0]} is not installed here; run this on the cluster") from None
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{words[0]} failed: {_line(error.stderr)}") from None


def _line(text: str) -> str:
    """Messages of Slurm in one line."""
    return "; ".join(re.sub(r"^\w+: (error: )?", "", line) for line in text.splitlines() if line)
