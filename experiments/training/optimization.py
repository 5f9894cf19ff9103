"""A run's optimization, from its flags: learning-rate schedule, weight decay, augmentation."""

import optax

from mcjax import paths
from mcjax.data import augmentation, batches
from mcjax.engine import objectives, schedules
from mcjax.engine.streams import Fetch

from ..cli import Training, UsageError
from . import trackers
from .problem import Problem


def check_training(config: Training) -> None:
    """Raises UsageError for a training flag that is out of range, or a missing tracker."""
    trackers.check(config.tracker)
    if paths.is_url(config.workdir) and (config.profile or "tensorboard" in config.tracker):
        flag = "--profile" if config.profile else "--tracker=tensorboard"
        raise UsageError(f"{flag} writes to local folders only: give a local --workdir or omit it")
    for name, lowest in (
        ("epochs", 1), ("batch_size", 1), ("eval_every", 0), ("crop_padding", 0), ("sgdr_t0", 1),
        ("sgdr_mult", 1), ("lr", 0), ("weight_decay", 0), ("momentum", 0), ("decay_factor", 0),
    ):  # fmt: skip
        value = getattr(config, name)
        if not lowest <= value < float("inf"):
            raise UsageError(f"--{name}={value}: use {lowest} or more")
    for name in ("milestones", "keep_steps"):
        if min(getattr(config, name), default=0) < 0:
            values = ",".join(map(str, getattr(config, name)))
            raise UsageError(f"--{name}={values}: use 0 or more")
    if config.schedule == "sgdr" and not 0 <= config.lr_min <= config.lr > 0:
        raise UsageError(
            f"--lr={config.lr} with sgdr: use a positive rate of at least --lr_min={config.lr_min}"
        )


def steps_per_epoch(problem: Problem, config: Training) -> int:
    """Number of full batches in the training split."""
    return len(problem.dataset.train.labels) // config.batch_size


def check_steps(problem: Problem, config: Training) -> None:
    """Raises UsageError for a step of --keep_steps after the last epoch."""
    last = config.epochs * steps_per_epoch(problem, config)
    late = [step for step in config.keep_steps if step > last]
    if late:
        steps = ",".join(map(str, late))
        raise UsageError(f"--keep_steps={steps}: the run has steps 0 to {last}")


def train_batches(problem: Problem, config: Training) -> Fetch:
    """The function that fetches a training batch, with the run's augmentation."""
    augment = augmentation.Augmentation(padding=config.crop_padding, flip=config.flip)
    return batches.image_batches(problem.mean, problem.std, augment)


def make_schedule(config: Training, steps_per_epoch: int) -> optax.Schedule:
    """The learning-rate schedule of a run, from its flags."""
    lr, epochs, first_epoch = config.lr, config.epochs, 0
    match config.schedule:
        case "constant":
            schedule = optax.constant_schedule(lr)
        case "step":
            schedule = schedules.step_decay(
                lr, config.milestones, steps_per_epoch, config.decay_factor
            )
        case "linear":
            schedule = schedules.linear_decay(lr, epochs, steps_per_epoch)
        case "sgdr":
            schedule = schedules.sgdr(
                lr, epochs, steps_per_epoch, config.sgdr_t0, config.sgdr_mult, config.lr_min
            )
        case _:
            schedule = schedules.curve_schedule(lr, epochs, steps_per_epoch)
            first_epoch = 1  # Garipov et al.'s code counts epochs from 1
    if not config.schedule_per_epoch:
        return schedule
    return schedules.per_epoch(schedule, steps_per_epoch, first_epoch)


def with_weight_decay(config: Training, objective: objectives.Objective) -> objectives.Objective:
    """The objective with the run's L2 penalty; with adamw, the optimizer decays the weights."""
    penalty = 0.0 if config.optimizer == "adamw" else config.weight_decay
    return objectives.with_l2(objective, penalty)
