# %% [markdown]
# # A first curve
#
# Two networks trained from different seeds are both good, and the straight line between them is
# not. A curve of low loss joins them all the same. You learn the three calls that find it, in ten
# lines.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from mcjax import api, data, plots

plt.style.use(plots.STYLE)
# %matplotlib inline

# %% [markdown]
# **Bring parameters, a loss and data.** Parameters are any pytree of arrays, data any pytree of
# arrays with a leading axis of examples, and the loss is a mean over examples. Here: 1,293 images
# of digits, and two layers in plain JAX.

# %%
digits = data.load("digits")
train, held_out = digits.train._asdict(), digits.validation._asdict()
print({name: x.shape for name, x in train.items()})


def create(key):
    keys = jax.random.split(key)
    return {
        "hidden": jax.random.normal(keys[0], (64, 32)) / 8,
        "bias": jnp.zeros(32),
        "out": jax.random.normal(keys[1], (32, 10)) / 32**0.5,
    }


def loss(params, batch):
    images = batch["images"].reshape(-1, 64) / 255
    logits = jax.nn.relu(images @ params["hidden"] + params["bias"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()


# %% [markdown]
# **Train the ends.** Any training loop will do; mcjax does not see it. The seed decides the
# initial parameters and the order of the data.

# %%
adam = optax.adam(3e-3)


@jax.jit
def step(params, state, batch):
    updates, state = adam.update(jax.grad(loss)(params, batch), state)
    return optax.apply_updates(params, updates), state


def fit(seed):
    params = create(jax.random.key(seed))
    state = adam.init(params)
    for rows in np.random.default_rng(seed).integers(len(train["labels"]), size=(1500, 50)):
        params, state = step(params, state, {name: x[rows] for name, x in train.items()})
    return params


start, end = fit(0), fit(1)
print(f"training loss of the ends: {loss(start, train):.4f}, {loss(end, train):.4f}")
print(f"half way between: {loss(jax.tree.map(lambda a, b: (a + b) / 2, start, end), train):.4f}")

# %% [markdown]
# **Fit the curve.** It has one bend: two straight pieces from `start` through $\theta$ to `end`.
# Only $\theta$ is trained, with the loss at a random $t$ of the curve in each step. `losses` is
# the mean of each epoch.

# %%
points, losses = api.fit_curve(
    loss, start, end, train, optimizer=adam, epochs=40, batch_size=50, key=jax.random.key(2)
)  # fmt: skip
print(
    f"mean loss on the curve: {losses[0]:.3f} in epoch 1, {losses[-1]:.4f} in epoch {len(losses)}"
)

# %% [markdown]
# **Measure it**, on data that was not used to train as well. A *barrier* is by how much the
# highest loss on the path exceeds the loss of the worse end.

# %%
found = api.profile(loss, api.ONE_BEND, points, train, held_out)
for name, path in found.paths.items():
    low = path.barriers["validation"]["loss"].over_max
    print(f"{name}: {path.barriers['train']['loss'].over_max:.3f} training, {low:.3f} validation")

plots.curve_figure(found, "Two networks on digits")

# %% [markdown]
# The dashed segment leaves the region of low loss, the curve stays in it: that is *mode
# connectivity*. Two things the figure does not say. The curve is not the only one, another seed
# finds another. And its validation loss may rise where its training loss does not, so look at
# both.
#
# Accuracy, dropout, batch norm and metrics of your own: [your own network](own_network.py). What
# is around the curve: [reading a surface](reading_a_surface.py).
