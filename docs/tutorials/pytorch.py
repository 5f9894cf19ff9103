# %% [markdown]
# # PyTorch checkpoints, in and out
#
# A network trained in PyTorch becomes an end of a curve, and a network of mcjax goes back to
# PyTorch. You learn how layers get their names, what no checkpoint says, and how to see that
# nothing was lost. torch is needed for `.pt` files only; this page has a `.safetensors` file, and
# no torch.

# %%
import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from experiments import runs
from mcjax import api, data, plots
from mcjax.exchange import torch_files, torch_names, torch_weights
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

plt.style.use(plots.STYLE)
# %matplotlib inline

# %% [markdown]
# **Two networks** stand for yours: VGGs with batch norm on digits, small ones. The images are
# normalised by mean and deviation of the training split, as PyTorch's users do.

# %%
digits = data.load("digits")
mean, std = (f(digits.train.images / np.float32(255)) for f in (np.mean, np.std))
train = {
    "images": (digits.train.images / np.float32(255) - mean) / std,
    "labels": digits.train.labels,
}
model = models.create("vgg7_bn", num_classes=10, width=0.125)
objective, adam = cross_entropy(model), optax.adam(0.01)


@jax.jit
def fit(key):
    def step(carry, key):
        params, state, moments = carry
        rows = jax.random.randint(key, (50,), 0, len(train["labels"]))
        batch = {name: jnp.asarray(x)[rows] for name, x in train.items()} | {"weight": jnp.ones(50)}
        gradient, (_, state) = jax.grad(objective.train, has_aux=True)(params, state, batch, key)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), state, moments), None

    variables = model.init(key, train["images"][:1], False)
    params, state = variables["params"], {"batch_stats": variables["batch_stats"]}
    carry = params, state, adam.init(params)
    return jax.lax.scan(step, carry, jax.random.split(key, 150))[0][:2]


mine, theirs = fit(jax.random.key(0)), fit(jax.random.key(1))

# %% [markdown]
# **Names and layouts.** PyTorch's kernels are `[out, in, height, width]` and `[out, in]`, Flax's
# `[height, width, in, out]` and `[in, out]`. `layers_of` pairs the names of each layer. It knows
# those of Garipov's code and of torchvision; for another network, [a name
# map](../your_model.md#pytorch) has them.

# %%
layers = torch_names.layers_of(model)
arrays = torch_weights.from_flax({"params": theirs[0], **theirs[1]}, layers)
for layer in layers:
    print(f"{layer.ours:12} is {layer.theirs:16} {arrays[f'{layer.theirs}.weight'].shape}")

# %% [markdown]
# **Out.** That state dict is what `model.load_state_dict` takes in PyTorch, after
# `safetensors.torch.load_file`. For a run, or a point of a curve (`RUN~0.5`),
# `python -m experiments.export --run=RUN --format=safetensors --output=FILE` does both steps; so
# does `--format=pt`, with torch.

# %%
torch_files.write("theirs.safetensors", arrays)

# %% [markdown]
# **In.** `import_torch` makes a run folder of the file, which every command takes like a mode. No
# checkpoint says how its images were normalised, so `--normalization` must: here `own`, the
# training split's mean and deviation. A wrong one is not an error; the accuracy at the end is
# lower. Compare it with the one you know.

# %%
known = model.apply({"params": theirs[0], **theirs[1]}, train["images"], False).argmax(-1)
print(f"known: training accuracy {np.mean(known == train['labels']):.2%}")
command = (
    "experiments.import_torch --file=theirs.safetensors --dataset=digits --model=vgg7_bn "
    "--width=0.125 --normalization=own --workdir=imported"
)
done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True)
assert done.returncode == 0, done.stderr
print(f"$ python -m {command}\n{done.stdout}")

# %% [markdown]
# There are two accuracies. The second is with the file's running averages, and must agree with
# PyTorch's. The first is with statistics recomputed on the training split, as at each point of a
# curve.
#
# **Nothing was lost**, and the network can be an end: here of a segment from the other network.

# %%
back = runs.load("imported").params
differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), theirs[0], back)
print("largest difference of a parameter:", max(jax.tree.leaves(differences)))
found = api.interpolate(
    objective, [mine[0], back], train, names=["mine", "theirs"], state=mine[1], points=9
)
segment = found.paths["segment"]
figure, axes = plt.subplots(1, 2, figsize=(6.75, 2.4))
for ax, name in zip(axes, ("loss", "accuracy"), strict=True):
    values = plots.drawn(f"train_{name}", segment.metrics["train"][name][0])
    ax.plot(found.t, values, "o-", ms=3)
    ax.set(xlabel="t, from mine to theirs", ylabel=plots.metric_label(f"train_{name}"))

# %% [markdown]
# This pair has a barrier, as networks trained apart usually have, and a [curve](first_curve.py) or
# an [alignment](aligned_interpolation.py) may join them. The ends here are evaluated with
# recomputed statistics, so a loss may differ a little from what PyTorch prints: its running
# averages lag behind the weights, and their variances are unbiased.
#
# Other names, and averages stored beside the weights (SWA, EMA):
# [PyTorch](../your_model.md#pytorch).
