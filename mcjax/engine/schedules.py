"""The paper's learning-rate schedules and the optax chains that use them.

Arguments are in epochs, as in the paper; the schedules are functions of the step, as in optax, with
``steps_per_epoch`` steps per epoch. The learning rate changes within an epoch (``T_cur`` is
fractional, Loshchilov & Hutter 2016); `per_epoch` holds it constant over each epoch.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from mcjax.engine import interop


def step_decay(
    lr: float, milestones: Sequence[int], steps_per_epoch: int, factor: float = 0.2
) -> optax.Schedule:
    """``lr`` multiplied by ``factor`` at the start of each epoch in ``milestones`` (Section 3).

    A milestone that occurs twice counts twice.

    Args:
      lr: the first learning rate.
      milestones: epochs.
      steps_per_epoch: steps per epoch.
      factor: of each decay.

    >>> schedule = step_decay(0.05, (60, 120, 160), steps_per_epoch=10)
    >>> [round(float(schedule(step)), 5) for step in (599, 600, 1200, 1600)]
    [0.05, 0.01, 0.002, 0.0004]
    """
    drops = {m * steps_per_epoch: factor ** milestones.count(m) for m in milestones}
    return interop.standard_promotion()(optax.piecewise_constant_schedule(lr, drops))


def linear_decay(lr: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Decays ``lr`` linearly to zero over ``epochs`` (mode C).

    Args:
      lr: the first learning rate.
      epochs: at their end the rate is zero.
      steps_per_epoch: steps per epoch.

    >>> schedule = linear_decay(0.1, epochs=10, steps_per_epoch=5)
    >>> [round(float(schedule(step)), 3) for step in (0, 25, 50)]
    [0.1, 0.05, 0.0]
    """
    return optax.linear_schedule(lr, 0.0, epochs * steps_per_epoch)


def sgdr_periods(epochs: int, first_period: int, multiplier: int = 2) -> list[int]:
    """Lengths ``T_i``, in epochs, of the SGDR periods that begin within ``epochs``.

    Args:
      epochs: of the whole training.
      first_period: length of the first period, in epochs.
      multiplier: ratio of the lengths of a period and the one before.

    Raises:
      ValueError: the first period or the ratio is less than one.

    >>> sgdr_periods(150, 10)
    [10, 20, 40, 80]
    >>> sgdr_periods(150, 0)
    Traceback (most recent call last):
    ValueError: first_period=0, multiplier=2: use 1 or more
    """
    if first_period < 1 or multiplier < 1:
        raise ValueError(f"first_period={first_period}, multiplier={multiplier}: use 1 or more")
    periods = [first_period]
    while sum(periods) < epochs:
        periods.append(periods[-1] * multiplier)
    return periods


def sgdr(
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    first_period: int = 10,
    multiplier: int = 2,
    lr_min: float = 1e-6,
) -> optax.Schedule:
    """SGD with warm restarts, eq. (1).

    ``eta = eta_min + 0.5 (eta_max - eta_min) (1 + cos(pi T_cur / T_i))``, with
    ``T_i = multiplier * T_{i-1}``. By default it restarts after 10, 30, 70 and 150 epochs.

    Args:
      lr: the learning rate ``eta_max`` at each restart.
      epochs: of the whole training.
      steps_per_epoch: steps per epoch.
      first_period: length of the first period, in epochs.
      multiplier: ratio of the lengths of a period and the one before.
      lr_min: the learning rate ``eta_min`` at each period's end.

    >>> schedule = sgdr(0.05, 150, steps_per_epoch=10)
    >>> [f"{float(schedule(step)):.6f}" for step in (0, 50, 100, 299, 300)]
    ['0.050000', '0.025000', '0.050000', '0.000004', '0.050000']
    """
    steps = [t * steps_per_epoch for t in sgdr_periods(epochs, first_period, multiplier)]
    cosines = [optax.cosine_decay_schedule(lr, s, alpha=lr_min / lr) for s in steps]
    joined = optax.join_schedules(cosines, [sum(steps[:i]) for i in range(1, len(steps))])
    return interop.standard_promotion()(joined)


def curve_schedule(lr: float, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Garipov et al.'s schedule: constant for half the epochs, linear to 1 % at 90 %, constant.

    Args:
      lr: the first learning rate.
      epochs: of the whole training.
      steps_per_epoch: steps per epoch.

    >>> schedule = curve_schedule(1.0, 10, steps_per_epoch=10)
    >>> [round(float(schedule(step)), 4) for step in (0, 50, 70, 90, 99)]
    [1.0, 1.0, 0.505, 0.01, 0.01]
    """
    start, end = (share * epochs * steps_per_epoch for share in (0.5, 0.9))

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        left = jnp.clip((end - jnp.asarray(step, jnp.float32)) / (end - start), 0.0, 1.0)
        return lr * (0.01 + 0.99 * left)

    return schedule


def per_epoch(
    schedule: optax.Schedule, steps_per_epoch: int, first_epoch: int = 0
) -> optax.Schedule:
    """Holds the schedule constant over each epoch.

    Args:
      schedule: a function of the step.
      steps_per_epoch: steps per epoch.
      first_epoch: the number of the first epoch, 0 or 1. With 0, an epoch takes the value at its
        own first step. With 1, as Garipov et al.'s code counts epochs for `curve_schedule`, it
        takes the value at the next epoch's first step.

    >>> schedule = per_epoch(curve_schedule(1.0, 10, 5), steps_per_epoch=5, first_epoch=1)
    >>> [round(float(schedule(step)), 4) for step in (20, 24, 25, 44)]
    [1.0, 1.0, 0.7525, 0.01]
    """
    return lambda step: schedule(
        (jnp.asarray(step) // steps_per_epoch + first_epoch) * steps_per_epoch
    )


def optimizer(
    name: str, schedule: optax.Schedule, momentum: float = 0.9, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """The optax chain for ``sgd`` (with momentum), ``adam`` or ``adamw``.

    The paper's weight decay is an L2 penalty in the loss (`mcjax.engine.objectives.with_l2`), not
    part of the optimizer. ``weight_decay`` is used by ``adamw`` only, whose decay is decoupled from
    the gradient.

    Args:
      name: which of them.
      schedule: the learning rate by step.
      momentum: of ``sgd``; Adam's decay rates are optax's.
      weight_decay: of ``adamw``.

    Raises:
      ValueError: ``name`` is none of these.

    >>> sgd = optimizer("sgd", lambda step: 0.1)
    >>> updates, state = sgd.update(jnp.float32(2), sgd.init(jnp.float32(1)))
    >>> round(float(updates), 3)
    -0.2
    """
    match name:
        case "sgd":
            made = optax.sgd(schedule, momentum=momentum)
        case "adam":
            made = optax.adam(schedule)
        case "adamw":
            made = optax.adamw(schedule, weight_decay=weight_decay)
        case _:
            raise ValueError(f"optimizer={name!r}: expected sgd, adam or adamw")
    return made._replace(update=interop.standard_promotion()(made.update))
