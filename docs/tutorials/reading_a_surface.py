# %% [markdown]
# # What a surface shows, and what it does not
#
# A surface is a plane cut through a space of thousands of dimensions. You learn which plane to
# choose, how to pay less for it, and five ways in which its figure misleads.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from IPython.display import display

from mcjax import api, data, plots
from mcjax.analysis import directions

plt.style.use(plots.STYLE)
# %matplotlib inline
digits = data.load("digits")
train = {
    "images": digits.train.images.reshape(-1, 64) / np.float32(255),
    "labels": digits.train.labels,
}
adam = optax.adam(3e-3)


def create(seed):
    keys = jax.random.split(jax.random.key(seed))
    return {
        "hidden": jax.random.normal(keys[0], (64, 32)) / 8,
        "bias": jnp.zeros(32),
        "out": jax.random.normal(keys[1], (32, 10)) / 32**0.5,
    }


def loss(params, batch):
    logits = jax.nn.relu(batch["images"] @ params["hidden"] + params["bias"]) @ params["out"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()


@jax.jit
def step(params, state, batch):
    updates, state = adam.update(jax.grad(loss)(params, batch), state)
    return optax.apply_updates(params, updates), state


def fit(seed):
    params, iterates = create(seed), {}
    state = adam.init(params)
    for i, rows in enumerate(
        np.random.default_rng(seed).integers(len(train["labels"]), size=(1000, 50))
    ):
        if i % 25 == 0 and i // 25 in (0, 1, 2, 4, 8, 16, 24, 32):
            iterates[i // 25] = params  # by epochs of 25 steps
        params, state = step(params, state, {name: x[rows] for name, x in train.items()})
    return params, iterates | {40: params}


(start, iterates), (end, _) = fit(0), fit(1)

# %% [markdown]
# ## The plane through three points
#
# Two networks and the bend of the curve between them: the whole curve lies in this plane, so that
# the colours along it are its losses. `refine=0.02` evaluates only points whose loss is in doubt
# and interpolates the rest; others, drawn at random, measure by how much that misses.

# %%
points, _ = api.fit_curve(
    loss, start, end, train, optimizer=adam, epochs=40, batch_size=50, key=jax.random.key(2)
)  # fmt: skip
plane = api.surface(
    loss, (start, end, points[1]), train, curve=(api.ONE_BEND, points), iterates=iterates,
    grid=(41, 41), refine=0.02,
)  # fmt: skip
print(
    f"evaluated {plane.refinement.evaluated.mean():.0%} of {plane.refinement.evaluated.size} points"
)
print(f"largest miss {plane.refinement.misses['train']['loss'].max():.2%} of the drawn range")
plots.surface_figure(plane, "train_loss")

# %% [markdown]
# The valley from network to network goes through the bend. Do not read more: the plane was
# *chosen* to contain a low path, so it says nothing of how common such paths are.
#
# ## Projections
#
# The iterates of the first network's training are projected onto the plane; the number in
# parentheses is the distance that this removes. The contour under an iterate is the loss of
# another network, which is that far away, and on a figure a path may even climb while its loss
# falls. So markers have the colour of the iterate's own loss:

# %%
found = plane.iterates
columns = np.abs(plane.x[:, None] - found.xy[:, 0]).argmin(axis=0)
rows = np.abs(plane.y[:, None] - found.xy[:, 1]).argmin(axis=0)
print("epoch  distance  own loss  colour below")
for i, epoch in enumerate(found.epoch):
    own, below = (
        found.metrics["train"]["loss"][i],
        plane.metrics["train"]["loss"][rows[i], columns[i]],
    )
    print(f"{epoch:5d} {found.distance[i]:9.2f} {own:9.3f} {below:13.3f}")
print(f"the plane holds {found.variance_share:.0%} of the iterates' variance")

# %% [markdown]
# ## Random directions
#
# Around one network, along two directions. A Gaussian direction moves every weight by about as
# much; with *filter normalisation* each unit's weights move in proportion to their size, so that
# networks whose units have other scales but the same function look alike. `extent` is in units of
# these directions' length, and the axes are true weight distances.

# %%
around = {}
for name, make in (("Gaussian", directions.random), ("filters", directions.filter_normalized)):
    pair = [make(start, jax.random.key(seed)) for seed in (3, 4)]
    around[name] = api.surface(
        loss, directions.around(start, pair), train, extent=1.0, grid=(15, 15),
        names=("start", f"{name} 1", f"{name} 2"),
    )  # fmt: skip
for found in around.values():
    display(plots.surface_figure(found, "train_loss"))

# %% [markdown]
# A round bowl, for nearly every network and pair of directions: among thousands of directions two
# random ones almost surely miss the few in which the loss stays low, such as the curve's. A bowl
# is therefore no sign of an isolated minimum, and random directions find no second network.
#
# ## Extent and clip
#
# The same network on a tenth of the extent, and the plane above with the colours clipped at
# another loss:

# %%
pair = [directions.filter_normalized(start, jax.random.key(seed)) for seed in (3, 4)]
near = api.surface(
    loss, directions.around(start, pair), train, extent=0.1, grid=(15, 15),
    names=("start", "filters 1", "filters 2"),
)  # fmt: skip
for name, found in (("extent 1", around["filters"]), ("extent 0.1", near)):
    values = found.metrics["train"]["loss"]
    print(f"{name}: losses from {values.min():.4f} to {values.max():.4f}")
own = near.networks.metrics["train"]["loss"][0]
print(f"the network's own loss: {own:.4f}")

plots.surface_figure(plane, "train_loss", clip=10)

# %% [markdown]
# With `clip=10` the wall of the first figure is a gentle slope: the numbers are the same. By
# default the clip depends on the losses shown. Compare figures of equal extent and clip only, and
# read *clipped* and *not finite* beside a figure before its shape.
