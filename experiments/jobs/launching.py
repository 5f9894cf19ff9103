"""What became of the jobs of a plan, and submitting to Slurm what is missing."""

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..cli import Launched, UsageError, say, show
from ..runs import Status
from . import slurm
from .job import Job


class State(enum.StrEnum):
    """The state of a job."""

    NEW = "new"
    BEGUN = "begun"
    """Not done, and not by a job of Slurm."""
    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    """Its job ended before it was done."""
    DONE = "done"
    FAILED = "failed"
    """Its run is marked failed, so to submit it again would not help."""
    NOT_RUN = "not run"
    """A job that it needs failed."""


IN_QUEUE = (State.QUEUED, State.RUNNING)
MISSING = (State.NEW, State.BEGUN, State.STOPPED)
"""States of the jobs to submit."""


class Found(NamedTuple):
    """What became of a job.

    Attributes:
      job: the job.
      state: its state.
      number: Slurm's id; empty if it was not submitted.
      time: how long it has run.
      why: why it waits, stopped, failed or was not run.
      log: its log.
    """

    job: Job
    state: State
    number: str
    time: str
    why: str
    log: Path


def check_flags(config: Launched) -> dict[str, Any]:
    """Checks the flags of the launcher, and whether it can work here.

    Returns:
      The options of sbatch.

    Raises:
      MissingExtraError: submitit is not installed.
      UsageError: a flag is wrong, or Slurm is not installed.
    """
    if config.launcher == "slurm" and not config.status:
        return slurm.options(config.slurm_options)
    if config.slurm_options and config.launcher != "slurm":
        raise UsageError("--slurm_options needs --launcher=slurm")
    return {}


def submit(jobs: Sequence[Job], logs: Path, options: dict[str, Any]) -> None:
    """Submits the jobs that are neither done nor failed nor in Slurm's queue.

    A job without run folders, which collects the results, is submitted in any case; if others are
    submitted and it still waits, it is replaced.

    Args:
      jobs: in an order in which they can run.
      logs: folder for their logs.
      options: of sbatch, from `check_flags`.

    Raises:
      UsageError: Slurm refused a job, or does not answer.
    """
    ids: dict[str, str] = {}
    submitted = 0
    for one in look(jobs, logs):
        name, collects = one.job.name, not one.job.runs
        after = [ids[need] for need in one.job.needs if need in ids]
        if one.state in IN_QUEUE and not (collects and submitted):
            ids[name] = one.number
        elif one.state in MISSING or collects:
            if one.state == State.RUNNING:  # it has the folder's lock
                after.append(one.number)
            ids[name] = slurm.submit(one.job, after, logs, options)
            if one.state == State.QUEUED:
                slurm.cancel(one.number)
            submitted += 1
    show_table(jobs, logs)
    say(f"{submitted} of {len(jobs)} jobs submitted; the same command with --status looks at them")


def look(jobs: Sequence[Job], logs: Path) -> list[Found]:
    """Finds out what became of jobs: from Slurm's queue, their run folders and their ends.

    Args:
      jobs: in an order in which they can run.
      logs: folder of their logs.

    Raises:
      UsageError: Slurm does not answer, or a run folder cannot be read.
    """
    numbers = {job.name: slurm.newest(job, logs) for job in jobs}
    queue = slurm.queue() if any(numbers.values()) else {}  # before the folders are read
    found: dict[str, Found] = {}
    for job in jobs:
        number = numbers[job.name]
        found[job.name] = _look(job, number, queue.get(number), found, logs)
    return list(found.values())


def _look(
    job: Job, number: str, queued: slurm.Queued | None, others: Mapping[str, Found], logs: Path
) -> Found:
    """What became of a job, after those that it needs."""
    log, ended = slurm.log_of(job, logs), slurm.ended(job, number, logs)
    state, why = _of_runs(job)
    time = ended.time if ended else ""
    if state in MISSING and queued:
        state = State.QUEUED if queued.state == "PENDING" else State.RUNNING
        time, why = queued.time, queued.reason if state == State.QUEUED else ""
    elif state in MISSING and (lost := _lost(job, others)):
        state, why = State.NOT_RUN, lost
    elif state in MISSING and number:
        state, why = _of_end(job, ended, number, log)
    return Found(job, state, number, time, why, log)


def _of_runs(job: Job) -> tuple[State, str]:
    """The state of a job by its runs alone, and why they failed."""
    statuses = {run.status for run in job.runs}
    if statuses == {Status.DONE}:
        return State.DONE, ""
    if statuses and statuses <= {Status.DONE, Status.FAILED}:
        failed = [run for run in job.runs if run.status == Status.FAILED]
        return State.FAILED, "; ".join(run.info["reason"] for run in failed)
    return (State.NEW if statuses <= {Status.NEW} else State.BEGUN), ""


def _lost(job: Job, others: Mapping[str, Found]) -> str:
    """Which job that this one needs failed; empty if it can run."""
    for name in () if job.tolerant else job.needs:
        if others[name].state in (State.FAILED, State.NOT_RUN):
            return f"needs {name}, which {others[name].state}"
    return ""


def _of_end(job: Job, ended: slurm.Ended | None, number: str, log: Path) -> tuple[State, str]:
    """The state of a job that has left the queue and is not done by its runs, and why."""
    if ended and ended.status == 0 and not job.runs:
        return State.DONE, ""
    how = f"status {ended.status}" if ended else f"killed or cancelled (sacct -j {number})"
    return (State.STOPPED if job.runs else State.FAILED), f"{how}{_last_line(log)}"


def _last_line(log: Path) -> str:
    """The last line of a log, after a colon; empty if there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if line.strip() and not line.startswith("srun: ")]
    return f": {said[-1]}" if said else ""


def table(found: Sequence[Found]) -> str:
    """The states of jobs as a table, then a line for each that failed or stopped."""
    rows = [("job", "state", "Slurm id", "time", "log")]
    for one in found:
        state = f"{one.state} ({one.why})" if one.state == State.QUEUED else one.state
        log = str(one.log) if one.log.exists() else ""
        rows.append((one.job.name, state, one.number, one.time, log))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for one in found:
        if one.why and one.state != State.QUEUED:
            log = f"; log: {one.log}" if one.log.exists() else ""
            lines.append(f"{one.job.name}: {one.state}: {one.why}{log}")
    counts = Counter(one.state for one in found)
    lines.append(", ".join(f"{counts[state]} {state}" for state in State if counts[state]))
    return "\n".join(lines)


def show_table(jobs: Sequence[Job], logs: Path) -> None:
    """Prints the table of `look`."""
    show(table(look(jobs, logs)))
