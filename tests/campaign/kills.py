"""Kills commands at chosen and at random moments, restarts them, and compares the ends."""

import json
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.campaign import commands

MOMENTS = {
    "mode": {"write": 7, "rename": 5, "metrics": 6, "checkpoint": 12, "random": 1},
    "curve": {"write": 10, "rename": 12, "metrics": 4, "checkpoint": 12, "figure": 4, "random": 1},
    "surface": {"write": 12, "rename": 13, "figure": 4, "random": 1},
    "reproduction": {"write": 9, "rename": 6, "figure": 3, "random": 1, "with its jobs": 1},
}
"""Where a command can be killed, and how often each moment comes in an untouched run."""


class Trial(NamedTuple):
    """One command, killed once or several times and then left to finish.

    Attributes:
      command: which.
      moment: of the first kill.
      kills: how often it was killed before it finished.
      why: what went wrong, or "".
    """

    command: str
    moment: str
    kills: int
    why: str


class Ground(NamedTuple):
    """What all trials share: the modes, the compiled programs, the ends of untouched runs."""

    modes: Path
    cache: Path
    ends: dict[str, dict]
    seconds: dict[str, float]


def prepare(folder: Path, names: Sequence[str] = tuple(MOMENTS)) -> Ground:
    """Trains the modes and a curve, and runs the named commands without harm; or finds it done."""
    modes, cache, whole = folder / "modes", folder / "cache", folder / "whole"
    if set(names) != {"mode"}:
        for name, seed in (("A", 1), ("B", 2)):
            flags = [*commands.MODE, "--epochs=4", f"--seed={seed}", f"--workdir={modes}/{name}"]
            _must(commands.finish("train_mode", flags, cache))
        ends = [f"--start={modes}/A", f"--end={modes}/B", f"--workdir={modes}/AB"]
        _must(commands.finish("fit_curve", [*commands.CURVE, *ends], cache))
    record = folder / "seconds.json"
    seconds = json.loads(record.read_text()) if record.exists() else {}
    if not set(names) <= seconds.keys():
        seconds = {}
        for _ in range(2):  # the second time with all programs compiled, as the trials have them
            shutil.rmtree(whole, ignore_errors=True)
            for name in names:
                module, flags = commands.commands(whole, modes)[name]
                began = time.monotonic()
                _must(commands.finish(module, flags, cache))
                seconds[name] = time.monotonic() - began
        record.write_text(json.dumps(seconds))
    results = {name: commands.result(whole / name) for name in names}
    return Ground(modes, cache, results, seconds)


def _must(outcome):
    status, error = outcome
    if status:
        raise RuntimeError(error)


def run(ground: Ground, folder: Path, kills: int, seed: int, report: Callable[[Trial], None],
        workers: int = 2) -> list[Trial]:  # fmt: skip
    """Trials until so many kills have been made in all."""
    rng, lock = random.Random(seed), threading.Lock()
    made, trials = [0], []

    def work():
        while True:
            with lock:
                if made[0] >= kills:
                    return
                plan = _plan(rng, ground)
            trial = _trial(ground, folder, *plan)
            with lock:
                made[0] += trial.kills
                trials.append(trial)
                report(trial)

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    return trials


def _plan(rng, ground):
    names = sorted(ground.ends)  # a reproduction is many runs, and comes less often
    command = rng.choices(names, [1 if name == "reproduction" else 3 for name in names])[0]
    moment, times_it_comes = rng.choice(list(MOMENTS[command].items()))
    times = [rng.uniform(0.2, 1.0) for _ in range(rng.choice((0, 1, 2, 3)))]
    return command, moment, rng.randint(1, times_it_comes), rng.uniform(0.2, 1.0), times


def _trial(ground, folder, command, moment, count, when, more):
    here = Path(tempfile.mkdtemp(dir=folder))
    module, flags = commands.commands(here, ground.modes)[command]
    span = ground.seconds[command]
    children = moment == "with its jobs"
    sabotage = "" if moment == "random" or children else f"{moment}:{count}"
    first = (sabotage, 600.0) if sabotage else ("", when * span)
    attempts = [first, *(("", share * span) for share in more)]
    kills = sum(
        commands.finish(module, flags, ground.cache, *attempt, children)[0] == -9
        for attempt in attempts
    )
    status, error = commands.finish(module, flags, ground.cache)
    if status:
        why = f"status {status}: {error.strip()[-300:]}"
    else:
        found, whole = commands.result(here / command), ground.ends[command]
        differing = [key for key in whole if found.get(key) != whole[key]]
        why = f"differs in {', '.join(differing)}" if differing else ""
    if not why:
        shutil.rmtree(here)
    return Trial(command, moment, kills, f"{here}: {why}" if why else "")
