# %% [markdown]
# # Aligned interpolation
#
# Hidden units can be permuted without changing what a network computes. Two trained networks have
# theirs in unrelated orders, and part of the barrier between them comes from this alone. You
# learn to find the symmetries of any JAX function, to match the units of two networks, and to
# correct what averaging does to them (REPAIR).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from mcjax import curves, data, plots, results, symmetries
from mcjax.analysis import barriers

plt.style.use(plots.STYLE)
# %matplotlib inline
digits = data.load("digits")
train, held_out = (
    {"images": split.images.reshape(-1, 64) / 255, "labels": split.labels}
    for split in (digits.train, digits.validation)
)
adam = optax.adam(3e-3)


def create(key, sizes=(64, 128, 128, 10)):
    keys = jax.random.split(key, 3)
    return {
        f"layer{i}": {"kernel": jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, "bias": jnp.zeros(n)}
        for i, (k, m, n) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True))
    }


def logits(params, images):
    x = images
    for i in range(3):
        x = x @ params[f"layer{i}"]["kernel"] + params[f"layer{i}"]["bias"]
        x = jax.nn.relu(x) if i < 2 else x
    return x


def loss(params, batch):
    found = logits(params, batch["images"])
    return optax.softmax_cross_entropy_with_integer_labels(found, batch["labels"]).mean()


@jax.jit
def fit(key):
    def step(carry, key):
        params, moments = carry
        rows = jax.random.randint(key, (50,), 0, len(train["labels"]))
        batch = {name: jnp.asarray(x)[rows] for name, x in train.items()}
        updates, moments = adam.update(jax.grad(loss)(params, batch), moments)
        return (optax.apply_updates(params, updates), moments), None

    params = create(key)
    return jax.lax.scan(step, (params, adam.init(params)), jax.random.split(key, 800))[0][0]


a, b = fit(jax.random.key(0)), fit(jax.random.key(1))

# %% [markdown]
# **Find the symmetries.** They are read from the program of the function: there is nothing to
# declare.

# %%
spec = symmetries.find(logits, a, train["images"])
print(spec)

# %% [markdown]
# **Check them**: under random permutations of all groups, the outputs must not change.

# %%
change = symmetries.check(spec, logits, b, train["images"])
print(f"largest change, relative to the largest output: {change:.1e}")

# %% [markdown]
# **Match** the units of B with those of A, by the weights. The aligned network computes what B
# computes.

# %%
match = symmetries.match_weights(spec, a, b)
aligned = symmetries.apply(spec, match.permutations, b)


def distance(p, q):
    return optax.global_norm(jax.tree.map(jnp.subtract, p, q))


print(
    f"<A, B> = {match.history[0]:.1f} before, {match.inner_product:.1f} after",
    match.rounds,
    "rounds",
)
print(f"||A - B|| = {distance(a, b):.2f} before, {distance(a, aligned):.2f} after")
print(f"loss of B: {loss(b, train):.5f} and {loss(aligned, train):.5f}")

# %% [markdown]
# **Interpolate** before and after.
#
# **REPAIR** sets the mean and the standard deviation of each hidden unit to the interpolation of
# those at the ends, because the average of two units that are not quite the same varies less than
# either.

# %%
t = np.linspace(0, 1, 11)


def segment(p, q):
    return [curves.point(curves.segment(), (p, q), s) for s in t]


repaired = symmetries.repair_path(spec, logits, a, aligned, [(train["images"],)], t)
paths = {
    "before": segment(a, b),
    "after": segment(a, aligned),
    "repaired": [one.params for one in repaired],
}


@jax.jit
def measure(params):
    batches = {"train": train, "validation": held_out}
    right = {n: logits(params, x["images"]).argmax(-1) == x["labels"] for n, x in batches.items()}
    return {n: {"loss": loss(params, x), "accuracy": right[n].mean()} for n, x in batches.items()}


def along(path):
    points = [measure(point) for point in path]
    found = jax.tree.map(lambda *x: np.array(x), *points)
    heights = {n: {"loss": barriers.heights(x["loss"], t)} for n, x in found.items()}
    return results.PathMetrics(found, barriers=heights)


found = results.Profile(t, {name: along(path) for name, path in paths.items()})
for name, path in found.paths.items():
    height = {split: x["loss"].over_max for split, x in path.barriers.items()}
    middle = path.metrics["validation"]["accuracy"][len(t) // 2]
    print(
        f"{name:8} barrier {height['train']:.3f} training, {height['validation']:.3f} validation; "
        f"accuracy half way {middle:.1%}"
    )
plots.curve_figure(found, "Segments between two networks on digits")

# %% [markdown]
# Matching takes away most of the barrier, and REPAIR more than half of what is left: most of it
# was the order of the units, not two different solutions. Look at the accuracy half way, too:
# REPAIR hardly changes it here. What is left grows for narrower networks, and for deeper ones
# matching the activations ([how well it works](../symmetries.md)) can do better than matching the
# weights.
#
# `python -m experiments.align` does all this for two checkpoints, and its result can be an end of
# a curve.
