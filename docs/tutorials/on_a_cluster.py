# %% [markdown]
# # On a cluster
#
# Every process runs the same command, and JAX divides the work. You learn to start two real
# processes, to see that they give the numbers of one, and what to submit.

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


def start(command, *flags):
    """Starts what you would type in a terminal."""
    print("$ python -m", command, *flags)
    words = [sys.executable, "-m", *command.split(), *flags]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Waits for it, and returns what it printed."""
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return out


# %% [markdown]
# **One process** trains two small networks and fits the curve between them.

# %%
network = "--dataset=digits --model=mlp --width=0.25 --epochs=8 --batch_size=50"
for seed in (0, 1):
    end(start(f"experiments.train_mode {network} --seed={seed} --workdir=mode{seed}"))
fit = "experiments.fit_curve --start=mode0 --end=mode1 --epochs=6 --batch_size=50 --points=13"
print(end(start(fit, "--workdir=one")))

# %% [markdown]
# **Two processes**, as on two machines: the same command in both, with the address of the first,
# how many there are, and which one this is. Each takes 25 of the 50 examples of a step. The first
# prints and writes; the folder must be one that all of them see.

# %%
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
together = ["--workdir=two", f"--coordinator={address}", "--num_processes=2"]
processes = [start(fit, *together, f"--process_id={i}") for i in range(2)]
for i, process in enumerate(processes):
    print(f"process {i} printed {len(end(process).splitlines())} lines")

# %% [markdown]
# **The same numbers?** Seeds, order of the data, dropout masks and $t$ do not depend on the
# number of devices. Sums are taken in another order, so the last bits of float32 differ, and each
# step of training multiplies that.

# %%
one, two = (runs.load(name).result for name in ("one", "two"))
for name in one.paths:
    a, b = (found.paths[name].metrics["train"]["loss"] for found in (one, two))
    print(f"{name}: training loss up to {a.max():.5f} and {b.max():.5f}", end=", ")
    print(f"largest difference {np.abs(a - b).max():.1e}")
print("devices:", runs.load("one").info["device"], "and", runs.load("two").info["device"])
figure, axes = plots.grid(1, 2, 0.7)
for ax, found, title in zip(axes[0], (one, two), ("one process", "two processes"), strict=True):
    plots.profile(ax, found, "train_loss").set_title(title)
    ax.legend()
figure

# %% [markdown]
# **What you submit** to Slurm, after a line `#!/bin/bash`. `--distributed` finds the other
# processes, so there is no address. A minute before the time is up the job is told to stop; it
# saves, and status 75 asks for its place in the queue again.
#
# ```bash
# #SBATCH --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8
# #SBATCH --time=04:00:00 --signal=TERM@60 --requeue --open-mode=append
# srun --kill-on-bad-exit=1 .venv/bin/python -m experiments.fit_curve --distributed \
#     --start=$SCRATCH/G --end=$SCRATCH/A --epochs=200 --workdir=$SCRATCH/GA
# [ $? -eq 75 ] && scontrol requeue $SLURM_JOB_ID
# ```
#
# This script has not been run, for lack of a cluster; the two processes above have. Two processes
# on one small machine are slower than one. For many independent curves use an array of jobs
# instead, which need not talk to one another. Both, and Kubernetes and TPUs:
# [BUILD](../../BUILD.md#several-processes).
