"""Runs the jobs of a plan, side by side where cores are free; each in a process of its own.

A job is one of the project's commands with its run folder, so a job that was stopped goes on and
one that is done is found done. Processes keep trainings from sharing a compiler, a device's memory
or a crash.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..cli import Interrupted, UsageError, launch, say, to_argv
from ..runs import Run, Status, in_use


class Job(NamedTuple):
    """A command to run.

    Attributes:
      name: the run folder's.
      module: ``train_mode``, ``fit_curve`` or ``loss_surface``.
      config: its flags.
      needs: names of the jobs that must be done before.
    """

    name: str
    module: str
    config: Any
    needs: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What its run folder holds: ``mode``, ``curve`` or ``surface``."""
        return self.module.rpartition("_")[2]


class Outcome(dict):
    """``outcome[job]`` is None for a job that is done, or why it is not, in words."""


def run_jobs(jobs: list[Job], costs: dict[str, float | None], parallel: int, logs: Path) -> Outcome:
    """Runs all jobs.

    Args:
      jobs: in an order in which they can be run.
      costs: about how many seconds each takes on all cores.
      parallel: how many processes at once; each gets its share of the cores.
      logs: folder for what the jobs print.

    Returns:
      How each ended. A job whose needs failed is not run.

    Raises:
      UsageError: a job refused its flags.
      Interrupted: a signal came; the jobs were told to save and stop.
    """
    logs.mkdir(parents=True, exist_ok=True)
    return _Pool(jobs, costs, parallel, logs).run()


class _Pool:
    def __init__(self, jobs, costs, parallel, logs):
        self.waiting, self.costs, self.logs = list(jobs), costs, logs
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self.slots = [cores[i::parallel] for i in range(parallel)]
        self.parallel, self.total, self.began = parallel, len(jobs), time.monotonic()
        self.running: dict[str, tuple[Job, subprocess.Popen, list[int], float]] = {}
        self.ended = Outcome()
        self.received: list[int] = []
        self.said: set[str] = set()

    def run(self):
        before = {
            s: signal.signal(s, lambda n, _: self.received.append(n))
            for s in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            while self.waiting or self.running:
                self._start_what_can_start()
                self._reap()
                if self.received:
                    raise Interrupted(self.received[0])
                time.sleep(0.05)
        finally:
            self._stop_all()
            for signum, handler in before.items():
                signal.signal(signum, handler)
        return self.ended

    def _start_what_can_start(self):
        for job in list(self.waiting):
            reasons = [f"{n}: {self.ended[n]}" for n in job.needs if self.ended.get(n)]
            if reasons:
                self.waiting.remove(job)
                self.ended[job.name] = f"not run, since {reasons[0]}"
                say(f"{job.name}: {self.ended[job.name]}")
            elif self.slots and all(need in self.ended for need in job.needs):
                # A job that outlived its killed parent may work on it.
                if in_use(Path(job.config.workdir)):
                    self._say_once(f"{job.name}: another process works on it; waiting for it")
                    continue
                self.waiting.remove(job)
                self._start(job)

    def _say_once(self, text):
        if text not in self.said:
            self.said.add(text)
            say(text)

    def _start(self, job):
        if Run(job.config.workdir).status == Status.DONE:
            Run(job.config.workdir).check_same(job.module.split("_")[-1], job.config)
            self.ended[job.name] = None
            return
        cores = self.slots.pop()
        log = (self.logs / f"{job.name}.log").open("a")
        process = subprocess.Popen(
            [*launch.argv(job.module), *to_argv(job.config)],
            stdout=log,
            stderr=log,
            cwd=os.getcwd(),
            start_new_session=True,  # a Ctrl-C reaches it through _stop_all, once
        )
        log.close()
        if cores:
            os.sched_setaffinity(process.pid, cores)  # before it starts a thread
        self.running[job.name] = (job, process, cores, time.monotonic())

    def _reap(self):
        for name, (job, process, cores, began) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[name]
            self.slots.append(cores)
            took = time.monotonic() - began
            self._end(job, process.returncode, took)

    def _end(self, job, status, took):
        if status == 0:
            self.ended[job.name] = None
            say(f"{job.name}: done in {took:.0f} s ({self._left()})")
        elif status == 1 and Run(job.config.workdir).status == Status.FAILED:
            self.ended[job.name] = Run(job.config.workdir).info["reason"]
            say(f"*** {job.name} FAILED: {self.ended[job.name]} ***")
        else:
            log = self.logs / f"{job.name}.log"
            last = (log.read_text().strip().split("\n") or [""])[-1]
            raise UsageError(f"{job.name} ended with status {status}: {last} (see {log})")

    def _left(self):
        done = self.total - len(self.waiting) - len(self.running)
        left = [
            self.costs.get(j.name) for j in (*self.waiting, *(r[0] for r in self.running.values()))
        ]
        if not left or any(cost is None for cost in left):
            return f"{done} of {self.total}"
        return f"{done} of {self.total}, about {sum(left) / 60:.0f} min left"

    def _stop_all(self):
        for _, process, _, _ in self.running.values():
            process.send_signal(signal.SIGTERM)
        for _, process, _, _ in self.running.values():
            process.wait()
