"""Runs the jobs of a plan in parallel, each in its own process.

Separate processes do not share a compiler, a device's memory or a crash.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..cli import Interrupted, UsageError, say
from ..runs import Run, Status, in_use
from .job import Job


class Running(NamedTuple):
    """A job's process.

    Attributes:
      job: the job.
      process: its process.
      cores: the CPU cores it runs on; empty if they cannot be set.
      began: when it started, by ``time.monotonic``.
      whole: whether it does the whole job; False if it resumes one.
    """

    job: Job
    process: subprocess.Popen[bytes]
    cores: list[int]
    began: float
    whole: bool


Outcome = dict[str, str | None]
"""By job, the reason why it failed or was not run; None if it is done."""


def run_jobs(jobs: Sequence[Job], costs: Mapping[str, float], parallel: int, logs: Path) -> Outcome:
    """Runs all jobs.

    Args:
      jobs: in an order in which they can run.
      costs: estimated seconds of each job on all cores; empty if unknown.
      parallel: number of processes at once; they share the cores evenly.
      logs: folder for the jobs' output.

    Returns:
      How each job ended. A job is not run if a job it needs failed.

    Raises:
      UsageError: a job refused its flags.
      Interrupted: a signal came; the jobs have saved and stopped.
    """
    logs.mkdir(parents=True, exist_ok=True)
    return _Pool(jobs, costs, parallel, logs).run()


class _Pool:
    """Jobs that wait, run and have ended."""

    def __init__(
        self, jobs: Sequence[Job], costs: Mapping[str, float], parallel: int, logs: Path
    ) -> None:
        self.waiting, self.costs, self.logs = list(jobs), costs, logs
        self.took = self.estimated = 0.0  # seconds, of the whole jobs that are done
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.parallel = parallel
        self.slots = [cores[i::parallel] for i in range(parallel)]
        self.total = len(jobs)
        self.running: dict[str, Running] = {}
        self.ended: Outcome = {}
        self.received: list[int] = []
        self.noted: set[str] = set()

    def run(self) -> Outcome:
        before = {
            s: signal.signal(s, lambda n, _: self.received.append(n))
            for s in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            while self.waiting or self.running:
                self._start_ready()
                self._reap()
                if self.received:
                    raise Interrupted(self.received[0])
                time.sleep(0.05)
        finally:
            self._stop_all()
            for signum, handler in before.items():
                signal.signal(signum, handler)
        return self.ended

    def _start_ready(self) -> None:
        for job in list(self.waiting):
            reasons = [f"{n}: {self.ended[n]}" for n in job.needs if self.ended.get(n)]
            if reasons:
                self.waiting.remove(job)
                self.ended[job.name] = f"not run, since {reasons[0]}"
                say(f"{job.name}: {self.ended[job.name]}")
            elif self.slots and all(need in self.ended for need in job.needs):
                # A job may have outlived a killed parent.
                if in_use(Path(job.config.workdir)):
                    self._note(f"{job.name}: waiting for another process that works on it")
                    continue
                self.waiting.remove(job)
                self._start(job)

    def _note(self, text: str) -> None:
        """Prints a line once."""
        if text not in self.noted:
            self.noted.add(text)
            say(text)

    def _start(self, job: Job) -> None:
        before = Run(job.config.workdir).status
        if before == Status.DONE:
            Run(job.config.workdir).check_same(job.kind, job.config)
            self.ended[job.name] = None
            return
        cores = self.slots.pop()
        log = (self.logs / f"{job.name}.log").open("a")
        process = subprocess.Popen(
            job.argv,
            stdout=log,
            stderr=log,
            cwd=os.getcwd(),
            start_new_session=True,  # a Ctrl-C reaches it through _stop_all, once
        )
        log.close()
        if cores:
            os.sched_setaffinity(process.pid, cores)  # before it starts a thread
        began, whole = time.monotonic(), before == Status.NEW
        self.running[job.name] = Running(job, process, cores, began, whole)

    def _reap(self) -> None:
        """Takes in the processes that have ended."""
        for one in list(self.running.values()):
            if one.process.poll() is not None:
                del self.running[one.job.name]
                self.slots.append(one.cores)
                self._end(one, one.process.returncode, time.monotonic() - one.began)

    def _end(self, one: Running, status: int, took: float) -> None:
        job = one.job
        if status == 0:
            self.ended[job.name] = None
            if one.whole and job.name in self.costs:
                self.took += took / self.parallel
                self.estimated += self.costs[job.name]
            say(f"{job.name}: done in {took:.0f} s ({self._left()})")
        elif status == 1 and Run(job.config.workdir).status == Status.FAILED:
            self.ended[job.name] = Run(job.config.workdir).info["reason"]
            say(f"*** {job.name} FAILED: {self.ended[job.name]} ***")
        else:
            log = self.logs / f"{job.name}.log"
            last = (log.read_text().strip().split("\n") or [""])[-1]
            raise UsageError(f"{job.name} ended with status {status}: {last} (see {log})")

    def _left(self) -> str:
        """How many jobs are done, and about how long the others take at the pace so far."""
        left = [*self.waiting, *(one.job for one in self.running.values())]
        text = f"{self.total - len(left)} of {self.total}"
        if not left or not self.costs:
            return text
        pace = self.took / self.estimated if self.estimated else 1.0
        seconds = pace * sum(self.costs[job.name] for job in left)
        return f"{text}, about {seconds / 60:.0f} min left"

    def _stop_all(self) -> None:
        for one in self.running.values():
            one.process.send_signal(signal.SIGTERM)
        for one in self.running.values():
            one.process.wait()
