"""Networks and an objective of a user's own: small enough to compile in a second."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.examples import shared
from mcjax.engine import metrics
from mcjax.flax.objective import cross_entropy

EPSILON = 1e-3


class Normed(nn.Module):
    """Hidden layers with batch norm, whose momenta are far from zero and one."""

    num_classes: int
    axis_name: str | None = None
    hidden: tuple[tuple[int, float], ...] = ((12, 0.7), (9, 0.4))

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(len(images), -1)
        for features, momentum in self.hidden:
            x = nn.Dense(features)(x)
            x = nn.BatchNorm(
                not train, momentum=momentum, epsilon=EPSILON, axis_name=self.axis_name
            )(x)
            x = nn.relu(x)
        return nn.Dense(self.num_classes)(x)


def normed(num_classes, axis_name):
    return Normed(num_classes, axis_name, ((12, 0.7),))


def no_accuracy(model):
    """Cross-entropy that measures the loss alone."""
    whole = cross_entropy(model)

    def loss_only(sums):
        return {name: sums[name] for name in ("loss", "count")}

    def train(*args):
        loss, (sums, state) = whole.train(*args)
        return loss, (loss_only(sums), state)

    return whole._replace(train=train, evaluate=lambda *args: loss_only(whole.evaluate(*args)))


def confidence(model):
    """Measures the mean probability of the answer."""
    whole = cross_entropy(model)

    def evaluate(params, state, batch):
        answer = jax.nn.softmax(whole.logits(params, state, batch)).max(axis=-1)
        weight = batch["weight"]
        return {"confidence": jnp.sum(answer * weight), "count": jnp.sum(weight)}

    return whole._replace(evaluate=evaluate)


def margin(logits, batch):
    """A metric: how far the label's logit is above the mean."""
    own = jnp.take_along_axis(logits, batch["labels"][:, None], axis=1)[:, 0]
    return own - logits.mean(axis=1)


def unbounded(logits, batch):
    """A metric that is not finite."""
    return jnp.log(jnp.minimum(logits.max(axis=1), 0))


def f1(model):
    """Cross-entropy with the macro F1 score, which `Objective.metrics` makes of counts."""
    return metrics.with_metrics(cross_entropy(model), [shared.F1])
