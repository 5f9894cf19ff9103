# %% [markdown]
# # A language model
#
# mcjax knows nothing about images: it needs parameters, a loss and data. Here the network is a
# small transformer over characters in plain JAX, and the data are ten chapters of Jane Austen.
# You learn what changes for such a model, which is little.

# %%
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

from experiments.examples import language_model, shared
from mcjax import api, plots

plt.style.use(plots.STYLE)
# %matplotlib inline
file = Path(language_model.__file__).with_name("austen.txt")
characters, codes = np.unique(np.frombuffer(file.read_bytes(), np.uint8), return_inverse=True)
length = language_model.LENGTH
codes = codes.astype(np.int32)[: len(codes) // length * length].reshape(-1, length)
train, held_out = codes[:500], codes[-200:]
print(f"{len(characters)} characters, {len(train)} sequences of {length}")
print(bytes(characters[train[0]]))

# %% [markdown]
# **Data** are any pytree with a leading axis of examples; here one array, an example is a
# sequence. **The loss** is the mean over the characters of a batch; all sequences are equally
# long, so it is a mean over examples, too. **The network** is two blocks of attention and MLP,
# whose weights are stacked for `jax.lax.scan`.

# %%
params = [language_model.create(jax.random.key(seed), len(characters)) for seed in (0, 1)]
for name, x in params[0].items():
    print(name, x.shape)

# %% [markdown]
# **Train two networks**, and fit the curve.

# %%
loss = language_model.loss
start, end = (shared.train(loss, params[i], train, i, epochs=10, batch_size=32) for i in (0, 1))
points, losses = api.fit_curve(
    loss, start, end, train, optimizer=shared.ADAM, epochs=10, batch_size=32, key=jax.random.key(2)
)
print("mean loss on the curve by epoch:", losses.round(2))

# %% [markdown]
# **Measure.** `perplexity` is the exponential of the mean loss, and the only built-in metric that
# needs no logits.

# %%
found = api.profile(loss, api.ONE_BEND, points, train, held_out, points=9, metrics="perplexity")
for name, path in found.paths.items():
    own = path.metrics["validation"]["perplexity"]
    print(f"{name}: perplexity {own[0]:.2f} and {own[-1]:.2f} at the ends, at most {own.max():.2f}")
plots.curve_figure(found, "A transformer on characters")

# %% [markdown]
# The curve joins two networks whose segment is far worse. These networks are small and barely
# trained (a perplexity above 10 is poor), so the numbers say that the method works for a language
# model, not how its landscape looks. Perplexity is right only because all sequences are equally
# long: a mean over examples is then a mean over characters.
#
# With a larger network, give `batch_size` to bound the memory, and see [choosing a
# level](../levels.md) for your own training loop.
