# %% [markdown]
# # On a cluster
#
# Every process runs the same command, and JAX divides the work. You learn to start two real
# processes, to check that they give the numbers of one, and what to submit.

# %%
import socket
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np

from experiments import runs
from mcjax import plots

plt.style.use(plots.STYLE)
# %matplotlib inline


def start(command):
    """Starts what you would type in a terminal."""
    print("$ python -m", command)
    words = [sys.executable, "-m", *command.split()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Waits for it, and returns what it printed."""
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out


# %% [markdown]
# **One process** trains two small networks, which two files of flags describe, and fits the curve
# between them.

# %%
for seed in (0, 1):
    with open(f"mode{seed}.cfg", "w") as file:
        flags = (
            "dataset=digits",
            "model=mlp",
            "width=0.25",
            "epochs=8",
            "batch_size=50",
            f"seed={seed}",
        )
        file.writelines(f"--{flag}\n" for flag in flags)
fit = "experiments.fit_curve --epochs=6 --batch_size=50 --points=13"
print(end(start(f"{fit} --start=mode0.cfg --end=mode1.cfg --modes_dir=modes --workdir=one")))

# %% [markdown]
# **Two processes**, as on two machines: the same command in both, with the address of the first,
# how many there are, and which one this is. Each takes 25 of the 50 examples of a step. The first
# prints and writes; the folder must be one that both see.

# %%
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
together = f"--coordinator=127.0.0.1:{port} --num_processes=2"
processes = [
    start(f"{fit} --start=modes/mode0 --end=modes/mode1 --workdir=two {together} --process_id={i}")
    for i in range(2)
]
for i, process in enumerate(processes):
    print(f"process {i} printed {len(end(process).splitlines())} lines")

# %% [markdown]
# **The same numbers?** Seeds, order of the data, dropout masks and $t$ do not depend on the number
# of devices. Sums are taken in another order, so the last bits of float32 differ, and every step of
# training multiplies that.

# %%
one, two = (runs.load(name) for name in ("one", "two"))
print("devices:", one.info["device"], "and", two.info["device"])
for name in one.result.paths:
    a, b = (run.result.paths[name].metrics["train"]["loss"] for run in (one, two))
    print(f"{name}: highest training loss {a.max():.6f} and {b.max():.6f}", end=", ")
    print(f"largest difference {np.abs(a - b).max():.1e}")
figure, axes = plt.subplots(1, 2, figsize=(6.75, 2.4), sharey=True)
for ax, run, title in zip(axes, (one, two), ("one process", "two processes"), strict=True):
    plots.profile(ax, run.result, "train_loss").set_title(title)
_ = axes[0].legend()

# %% [markdown]
# On other hardware, or after many more steps, expect more digits to differ.
#
# **What you submit** to Slurm, for 32 GPUs, after a line `#!/bin/bash`. `--distributed` finds the
# other processes, so there is no address. A minute before its time is up the job is told to stop;
# it saves, and status 75 puts it back into the queue.
#
# ```bash
# #SBATCH --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8
# #SBATCH --time=04:00:00 --signal=TERM@60 --requeue --open-mode=append
# srun --kill-on-bad-exit=1 .venv/bin/python -m experiments.fit_curve --distributed \
#     --start=$SCRATCH/G --end=$SCRATCH/A --epochs=200 --workdir=$SCRATCH/GA
# status=$?
# [ $status -eq 75 ] && scontrol requeue $SLURM_JOB_ID
# exit $status
# ```
#
# [On a cluster](../clusters.md) shows what became of such scripts on a Slurm of two nodes, without
# GPUs. Many independent curves need not run together: use an array of jobs. That, Kubernetes and
# TPUs: [BUILD](../../BUILD.md#several-processes).
