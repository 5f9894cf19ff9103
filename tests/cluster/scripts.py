"""The job scripts of BUILD.md, adapted to this machine as a reader adapts them."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from experiments.runs import restore
from experiments.runs.folder import Run

ROOT = Path(__file__).parents[2]
PYTHON = (".venv/bin/python", sys.executable)
TWO_NODES = (
    "--nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8",
    "--nodes=2 --ntasks-per-node=1 --gpus-per-node=1 --cpus-per-task=1",
)
MODE = """--dataset=digits
--model=mlp
--width=0.25
--train_size=390
--validation_size=101
--dropout=0.2
--batch_size=30
--schedule=constant
--epochs=3
"""
CURVE = """--modes_dir={folder}/modes
--epochs={epochs}
--batch_size=30
--points=7
--eval_every=0
"""


def printed(command):
    """The job script that BUILD.md prints for a command."""
    blocks = re.findall(r"```\n(#!/bin/bash\n.*?)```", (ROOT / "BUILD.md").read_text(), re.S)
    (found,) = (block for block in blocks if f"-m experiments.{command} " in block)
    return found


def adapt(script, *changes):
    """The script with each text of ``changes`` replaced by another."""
    for old, new in changes:
        assert old in script, f"{old!r} is not in BUILD.md's script"
        script = script.replace(old, new)
    return script


def fit_curve(folder, *changes):
    """BUILD.md's script of a curve, over two nodes."""
    flagfile = ("experiments/flags/cifar10/GA.cfg", f"{folder}/GA.cfg")
    return adapt(printed("fit_curve"), TWO_NODES, PYTHON, flagfile, *changes)


def exported(folder):
    """The option of sbatch that sets the two variables of the scripts."""
    return f"--export=ALL,DATA={folder}/data,SCRATCH={folder}"


def write_flagfiles(folder, epochs):
    """Three modes, the curve GA and the three pairs, small, on digits."""
    (folder / "data").mkdir()
    for seed, name in enumerate("GAB"):
        (folder / f"{name}.cfg").write_text(f"{MODE}--seed={seed}\n")
    curve = CURVE.format(folder=folder, epochs=epochs)
    ends = f"--start={folder}/G.cfg\n--end={folder}/A.cfg\n"
    (folder / "GA.cfg").write_text(curve + ends)
    modes = ",".join(f"{folder}/{name}.cfg" for name in "GAB")
    (folder / "pairs.cfg").write_text(f"{curve}--modes={modes}\n")


def alone(cluster, command, *flags):
    """Runs a command as a single process with as many devices as the jobs have."""
    subprocess.run(
        [sys.executable, "-m", f"experiments.{command}", "--cpu_devices=2", *flags],
        env=cluster.environment, cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip


def final(run):
    """The last checkpoint of a run, flat."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(restore(Run(run))["params"])])


def report(*cells):
    """Prints a row of the table in docs/clusters.md."""
    print(f"\n| {' | '.join(map(str, cells))} |", flush=True)
