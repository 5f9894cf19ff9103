# %% [markdown]
# # Instability
#
# Train a network to step $k$. Then train two copies of it to the end, which see the data in
# different orders. Is there a barrier between them? You learn from which step on the order of the
# data no longer decides in which valley training ends (Frankle et al., 2020).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

from mcjax import api, data, plots
from mcjax.analysis import instability
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

plt.style.use(plots.STYLE)
# %matplotlib inline
digits = data.load("digits")
train, held_out = (
    {"images": split.images / 255, "labels": split.labels}
    for split in (digits.train, digits.validation)
)
model = models.create("mlp", num_classes=10, width=0.25)  # two hidden layers of 32 units
objective = cross_entropy(model)

# %% [markdown]
# **A fork** is a common training up to step $k$ and another order of the data from there on.
# Everything else is the same: initial parameters, momentum, and the place in the schedule.

# %%
STEPS, PER_EPOCH = 900, len(train["labels"]) // 50


@jax.jit
def run(params, first, second, k, peak=0.3):
    """Trains in one order of the data to step k, and in another from there on."""
    sgd = optax.sgd(optax.linear_schedule(peak, 0.0, STEPS), momentum=0.9)

    def step(carry, i):
        params, moments = carry
        key = jax.random.fold_in(jnp.where(i < k, first, second), i)
        rows = jax.random.randint(key, (50,), 0, len(train["labels"]))
        batch = {name: jnp.asarray(x)[rows] for name, x in train.items()}
        batch["weight"] = jnp.ones(50)
        gradient, _ = jax.grad(objective.train, has_aux=True)(params, {}, batch, jax.random.key(0))
        updates, moments = sgd.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, (params, sgd.init(params)), jnp.arange(STEPS))[0][0]


# %% [markdown]
# **The children**: three from each fork point. Their first $k$ steps are the same, and the rest
# differs in the order of the data alone. (They repeat those $k$ steps, which takes milliseconds
# here; the command below trains them once.)

# %%
forks, orders = (0, 10, 20, 40, 80, 160), jax.random.split(jax.random.key(1), 4)
init = jax.jit(model.init, static_argnums=2)
params = init(jax.random.key(0), train["images"][:1], False)["params"]


def children(k, peak=0.3):
    return [run(params, orders[0], orders[child], k, peak) for child in (1, 2, 3)]


networks = [children(k) for k in forks]

# %% [markdown]
# **Measure** the segments between the children of each fork. One call evaluates all pairs of
# networks that it gets.


# %%
def compare(networks):
    return api.interpolate(objective, networks, train, held_out, points=9)


found = [compare(each) for each in networks]

# %% [markdown]
# **The result** has the barriers of all pairs. The error barrier is how far the error rises above
# the mean of the ends; below 2 points, training is called stable.

# %%
result = instability.collect([f"s{k}" for k in forks], forks, PER_EPOCH, found)
first = result.stable_from("train_accuracy")
for step, *heights in zip(result.step, *result.spread("train_accuracy"), strict=True):
    mean, _, low, high = (100 * x for x in heights)
    print(f"fork at step {step:3}: {mean:4.1f} points, {low:.1f} to {high:.1f}")
print("stable from", "none of them on" if first is None else f"step {result.step[first]} on")
plots.instability_figure(result)

# %% [markdown]
# **A lower learning rate** changes the answer. With a peak of 0.1 instead of 0.3:

# %%
lower = instability.collect(
    ["s0", "s10"], [0, 10], PER_EPOCH, [compare(children(k, 0.1)) for k in (0, 10)]
)
for step, mean in zip(lower.step, lower.spread("train_accuracy").mean, strict=True):
    print(f"fork at step {step:3}: {100 * mean:4.1f} points")

# %% [markdown]
# Children that part in the first epoch end in different valleys; ten common steps at this high
# learning rate do not help at all. Children that part at step 80 still have a barrier; those that
# part at step 160, in the seventh epoch, have none. No fork here lies between the two.
#
# What misleads: the step depends on the learning rate, as the last two forks show. The bands are
# the lowest and the highest of three pairs of three children, which share networks, so they are not
# confidence intervals. Two points are a convention. And there is one parent: train several before
# you name a step.
#
# `python -m experiments.instability` does the same for any network, with data augmentation. It
# resumes, and trains the children side by side: [Forks and
# instability](../commands.md#forks-and-instability).
