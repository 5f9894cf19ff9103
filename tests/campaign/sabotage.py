"""Runs a command in a process that is killed at a chosen moment, or whose disk or clock is bad.

    python -m tests.campaign.sabotage KIND:COUNT experiments.train_mode FLAGS

KIND is ``write`` (half of a small file is written, then SIGKILL), ``metrics`` (half of a line),
``checkpoint`` (some milliseconds after a checkpoint was handed over), ``figure`` (half of a
figure) or ``rename`` (before a file gets its final name); COUNT is the how-manieth time. Or it is
``disk`` (no file may grow beyond COUNT bytes) or ``clock`` (at every other look it is COUNT hours
later).
"""

import itertools
import os
import resource
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

import matplotlib.figure

from experiments.runs.folder import Run
from mcjax.engine.checkpoints import Checkpoints


def kill() -> None:
    """As the machine going away."""
    os.kill(os.getpid(), signal.SIGKILL)


def at(count: int, owner: type, name: str, instead) -> None:
    """Replaces the ``count``-th call of a method by ``instead(original, self, *args)``."""
    original, calls = getattr(owner, name), []

    def called(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == count:
            return instead(original, self, *args, **kwargs)
        return original(self, *args, **kwargs)

    setattr(owner, name, called)


def half_a_file(original, path, content):
    """Writes half of it and dies."""
    original(path, content[: len(content) // 2])
    kill()


def half_a_line(original, run, **line):
    """Writes half of a metrics line and dies."""
    before = (run.path / "metrics.jsonl").stat().st_size if line["epoch"] > 1 else 0
    original(run, **line)
    file = run.path / "metrics.jsonl"
    with file.open("rb+") as opened:
        opened.truncate(before + (file.stat().st_size - before) // 2)
    kill()


def half_a_figure(original, figure, path, **options):
    """Writes half of it and dies."""
    original(figure, path, **options)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    kill()


def soon(milliseconds):
    """Hands the checkpoint over and dies while it is being written."""

    def instead(original, self, *args):
        threading.Thread(target=lambda: (time.sleep(milliseconds / 1e3), kill())).start()
        return original(self, *args)

    return instead


def jump(hours):
    """A clock that jumps forth and back."""
    original, looks = time.time, itertools.count()
    time.time = lambda: original() + 3600 * hours * (next(looks) % 2)
    time.time_ns = lambda: int(1e9 * time.time())


def main() -> None:
    """Arms the sabotage and runs the command."""
    kind, _, count = sys.argv[1].partition(":")
    number = int(count)
    if kind == "write":
        at(number, Path, "write_bytes", half_a_file)
    elif kind == "rename":
        at(number, Path, "replace", lambda *_: kill())
    elif kind == "metrics":
        at(number, Run, "add_metrics", half_a_line)
    elif kind == "figure":
        at(number, matplotlib.figure.Figure, "savefig", half_a_figure)
    elif kind == "checkpoint":
        at(1 + number % 5, Checkpoints, "save", soon(7 * number % 90))
    elif kind == "clock":
        jump(number)
    elif kind == "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with EFBIG
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
