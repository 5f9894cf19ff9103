# %% [markdown]
# # Your own network: accuracy, dropout, batch norm, own metrics
#
# Networks of Flax linen, Flax NNX and Equinox, with dropout, batch norm, accuracy and F1. You
# learn what an `Objective` is: all that mcjax knows of a network.

# %%
import functools

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from flax import nnx

from mcjax import api, curves, data, plots
from mcjax.engine import classification, metrics, objectives
from mcjax.flax.objective import cross_entropy

plt.style.use(plots.STYLE)
# %matplotlib inline
digits = data.load("digits")
train, held_out = digits.train._asdict(), digits.validation._asdict()

# %% [markdown]
# ## Flax linen: nothing to write
#
# `cross_entropy(model)` is the objective of a module that is called as `module(images, train)`:
# loss and **accuracy**, **dropout** in training only, **batch norm** with statistics recomputed at
# every point. Variables that are not parameters, here `batch_stats`, are the `state`.


# %%
class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(32)(images.reshape(len(images), -1) / 255)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x))


def create_linen(seed):
    init = jax.jit(LinenNet().init, static_argnums=2)
    variables = dict(init(jax.random.key(seed), train["images"][:1], False))
    return variables.pop("params"), variables


linen = cross_entropy(LinenNet())

# %% [markdown]
# An objective trains the ends as well: `objective.train` is a function to differentiate. It
# returns the loss and, beside it, sums over the batch and the new state. A batch is a dict with
# the rows' `weight`, which is zero for padding.

# %%
adam = optax.adam(3e-3)


@functools.partial(jax.jit, static_argnums=0)
def fit(objective, params, state, seed):
    def step(carry, key):
        params, state, moments = carry
        order, dropout = jax.random.split(key)
        rows = jax.random.randint(order, (50,), 0, len(train["labels"]))
        batch = {name: jnp.asarray(x)[rows] for name, x in train.items()}
        batch["weight"] = jnp.ones(50)
        gradient, (_, state) = jax.grad(objective.train, has_aux=True)(
            params, state, batch, dropout
        )
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(params, updates), state, moments), None

    keys = jax.random.split(jax.random.key(seed), 800)
    (params, state, _), _ = jax.lax.scan(step, (params, state, adam.init(params)), keys)
    return params, state


(start, state), (end, _) = (fit(linen, *create_linen(seed), seed) for seed in (0, 1))
found = api.profile(
    linen, curves.segment(), (start, end), train, held_out, points=11, state=state
)  # fmt: skip
print(
    "validation accuracy on the segment:", found.segment.metrics["validation"]["accuracy"].round(3)
)

# %% [markdown]
# ## Flax NNX: an objective of your own
#
# An objective is a NamedTuple of pure functions of parameters, state and batch. `nnx.split`
# separates the network into its graph, its parameters and its batch statistics. Random keys are
# passed in, so there is no state besides those. `nnx.merge` needs `copy=True`, so that no function
# writes into the arrays of another. `classification` has a classifier's loss and accuracy.


# %%
class Net(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(64, 32, rngs=rngs), nnx.Linear(32, 10, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(32, rngs=rngs), nnx.Dropout(0.2)

    def __call__(self, images, rngs=None):
        x = self.norm(self.first(images.reshape(len(images), -1) / 255))
        return self.last(self.dropout(nnx.relu(x), rngs=rngs))


def create(seed):
    return nnx.split(Net(nnx.Rngs(seed)), nnx.Param, nnx.BatchStat)


graph = create(0)[0]


def network(params, state, **modes):  # modes: deterministic for dropout, ... for batch norm
    model = nnx.merge(graph, params, state, copy=True)
    model.set_attributes(**modes, raise_if_not_found=False)
    return model


def logits(params, state, batch):
    return network(params, state, deterministic=True, use_running_average=True)(batch["images"])


def training(params, state, batch, key):  # dropout on, batch norm uses the batch
    model = network(params, state, deterministic=False, use_running_average=False)
    logits = model(batch["images"], nnx.Rngs(dropout=key))
    loss, sums = classification.training_loss(logits, batch)
    return loss, (sums, nnx.state(model, nnx.BatchStat))


def statistics(params, state, batch):  # those of this batch alone: momentum zero
    model = network(params, state, deterministic=True, use_running_average=False, momentum=0.0)
    model(batch["images"])
    return nnx.state(model, nnx.BatchStat)


own = objectives.Objective(
    training,
    lambda params, state, batch: classification.sums(logits(params, state, batch), batch),
    statistics,
    logits,
)

# %% [markdown]
# ## A metric of your own
#
# A metric is a function of logits and batch with one number per example, here whether the label is
# among the first two. F1 is not a mean over examples but a function of such means: counts by
# class. The [built-in metrics](../commands.md#metrics) have names: `metrics=["ece", f1]`.


# %%
def first_two(logits, batch):
    return (jax.lax.top_k(logits, 2)[1] == batch["labels"][:, None]).any(axis=1)


def counts(logits, batch):
    classes = logits.argmax(axis=1), batch["labels"]
    guessed, actual = (jax.nn.one_hot(x, 10) for x in classes)
    return {"hits": guessed * actual, "guessed": guessed, "actual": actual}


def macro(means):
    return (2 * means["hits"] / (means["guessed"] + means["actual"])).mean(axis=1)


f1 = metrics.Metric("F1", counts, macro)
(start, state), (end, _) = (fit(own, *create(seed)[1:], seed) for seed in (0, 1))
points, _ = api.fit_curve(
    own, start, end, train, optimizer=adam, epochs=20, batch_size=50, state=state,
    key=jax.random.key(2),
)  # fmt: skip
found = api.profile(
    own, api.ONE_BEND, points, train, held_out, points=21, state=state,
    metrics=[f1, first_two],
)  # fmt: skip
plots.curve_figure(found, "Flax NNX with dropout and batch norm")

# %% [markdown]
# On the segment accuracy and F1 fall together, as classes have about equally many images; with
# rare classes they would not. Beware of two things. Both ends share one `state`: it only gives the
# shapes, as the statistics are recomputed at every point. With an objective that has no
# `statistics`, the points would be measured with those of one end, and can look far worse than they
# are. And dropout is off in what you see: the curve was trained with it, on a higher loss.

# %% [markdown]
# ## Equinox: the logits are enough
#
# Without batch norm, nothing but the logits is to be written: `classification.cross_entropy`
# returns the objective, with loss and accuracy. With dropout, `predict` takes a third argument
# `key`, which is None in evaluation. For any other loss, see `objectives.from_loss`.


# %%
def create_equinox(seed):
    model = eqx.nn.MLP(64, 10, width_size=32, depth=1, key=jax.random.key(seed))
    return eqx.partition(model, eqx.is_inexact_array)  # what is trained, and the rest


_, rest = create_equinox(0)


def predict(params, batch):
    return jax.vmap(eqx.combine(params, rest))(batch["images"].reshape(-1, 64) / 255)


equinox = classification.cross_entropy(predict)
ends = [fit(equinox, create_equinox(seed)[0], {}, seed)[0] for seed in (0, 1)]
found = api.profile(equinox, curves.segment(), ends, train, held_out, points=11, metrics=f1)
print({name: x[[0, 5, 10]].round(3) for name, x in found.segment.metrics["validation"].items()})

# %% [markdown]
# The numbers are those at $t = 0, 0.5, 1$. More: [your own model](../your_model.md), in the
# commands [`--metrics`](../commands.md#metrics) and `--dropout`.
