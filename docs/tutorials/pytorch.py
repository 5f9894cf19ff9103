# %% [markdown]
# # PyTorch checkpoints, in and out
#
# A network trained in PyTorch becomes an end of a curve, and a point of a curve goes back to
# PyTorch. You learn which names are known, what no checkpoint says, and how to see that nothing
# was lost. torch itself is needed for `.pt` files only; here is a `.safetensors` file.

# %%
import subprocess
import sys

import jax
import matplotlib.pyplot as plt
import numpy as np

from experiments import runs
from mcjax import plots
from mcjax.exchange import torch_files, torch_names, torch_weights
from mcjax.flax import models

plt.style.use(plots.STYLE)
# %matplotlib inline


def run(command):
    """Runs what you would type in a terminal."""
    print("$ python -m", command)
    done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


# %% [markdown]
# **A checkpoint to begin with.** We train two small networks here, and write the second as a
# state dict: so we know what must come back. `vgg7_bn` has the names of Garipov's code.

# %%
network = "--dataset=digits --model=vgg7_bn --width=0.125"
for seed in (0, 1):
    flags = f"{network} --epochs=6 --batch_size=50 --seed={seed}"
    run(f"experiments.train_mode {flags} --workdir=run{seed}")
run("experiments.export --run=run1 --format=safetensors --output=theirs.safetensors")

# %% [markdown]
# **Look inside.** PyTorch's kernels are `[out, in, height, width]` and `[out, in]`, Flax's
# `[height, width, in, out]` and `[in, out]`. `layers_of` has both names of each layer; for
# networks that it does not know, write a name map.

# %%
theirs = torch_files.read("theirs.safetensors")
for layer in torch_names.layers_of(models.create("vgg7_bn", num_classes=10)):
    print(f"{layer.theirs:18} {theirs[f'{layer.theirs}.weight'].shape!s:18} is {layer.ours}")

# %% [markdown]
# **Import it.** No checkpoint says how the training images were normalised, so `--normalization`
# must: here `own`, the training split's mean and deviation. A wrong one is no error: the accuracy
# at the end tells. Compare it with the known one.

# %%
flags = f"{network} --normalization=own"
run(f"experiments.import_torch --file=theirs.safetensors {flags} --workdir=imported")
ours, back = (runs.load(name).params for name in ("run1", "imported"))
apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, back)
print("largest difference:", max(jax.tree.leaves(apart)))

# %% [markdown]
# **Use it** wherever a network is used. The imported network and the other one have a barrier
# between them:

# %%
run("experiments.interpolate --points=run0,imported --num_points=9 --workdir=segment")
found = runs.load("segment").result
plots.pairs_figure(found, "loss")

# %% [markdown]
# Batch norm's statistics are recomputed at each point of the segment. At its ends, too: so the
# loss there may differ a little from PyTorch's, whose running averages are unbiased and lag
# behind the weights.
#
# **And out again.** A point of a curve or segment is exported like a mode, `--run=RUN~0.5
# --format=pt` (with torch) or `safetensors`; for a network that no command knows,
# `torch_weights.from_flax` takes the variables and the names:

# %%
loaded = runs.load("imported")
layers = torch_names.layers_of(models.create("vgg7_bn", num_classes=10, width=0.125))
arrays = torch_weights.from_flax({"params": loaded.params, **loaded.state}, layers)
torch_files.write("mine.safetensors", arrays)
print(all(np.array_equal(arrays[name], x) for name, x in theirs.items()), len(arrays), "arrays")

# %% [markdown]
# All arrays are unchanged. A point of a curve has batch norm statistics of its own, recomputed
# here and biased (by a ratio of $(n-1)/n$); PyTorch takes them for its running averages.
#
# Other names, and averages stored beside the weights (SWA, EMA):
# [PyTorch](../your_model.md#pytorch).
