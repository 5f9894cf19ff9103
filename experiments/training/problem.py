"""What a run is about: the data on the devices, the network, its objective and its evaluator."""

import dataclasses
import functools
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special

from mcjax import data
from mcjax.data import augmentation, batches
from mcjax.engine import evaluation, objectives, parallel, schedules
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

from ..cli.configs import ModeConfig, Training
from ..cli.errors import UsageError
from . import trackers

CHANCE_LEVEL = 1e-3
SPLITS = ("train", "validation")
PROBLEM_FLAGS = (
    "dataset", "use_test", "train_size", "validation_size", "downsample", "pad_to",
    "normalization", "model", "width", "dropout", "objective",
)  # fmt: skip


class Problem(NamedTuple):
    """Data, network and objective, shared by all modes that can be connected.

    Attributes:
      dataset: on the host.
      train: the training split, on all devices.
      mean: per channel, for normalization.
      std: per channel.
      model: the network.
      objective: what is minimised and measured.
      evaluator: for the splits ``train`` and ``validation``, on clean data.
      mesh: all devices.
    """

    dataset: data.Dataset
    train: data.Split
    mean: np.ndarray
    std: np.ndarray
    model: nn.Module
    objective: objectives.Objective
    evaluator: evaluation.Evaluator
    mesh: jax.sharding.Mesh


def make_problem(
    mode: ModeConfig,
    precision: str | None = None,
    splits: tuple[str, ...] = SPLITS,
    metrics: str | None = None,
) -> Problem:
    """The problem of a mode's flags; made once for all modes that agree on it.

    Args:
      mode: the flags.
      precision: of the command, if it is not the one that trains the mode.
      splits: what its evaluator measures on: ``train`` and any of ``validation`` and ``test``.
      metrics: ``package.module:factory`` of an objective that is measured beside the mode's own.

    Raises:
      UsageError: a data set, model or objective is unknown or unusable, or there is no such split.
    """
    if "train" not in splits or not {*splits} <= {*SPLITS, "test"}:
        raise UsageError(f"--splits={','.join(splits)}: train, and any of validation and test")
    chosen = tuple(getattr(mode, name) for name in PROBLEM_FLAGS)
    try:
        make_model(mode, num_classes=10)  # init_scale is not among the problem's flags
        return _measuring(chosen, mode.data_dir, precision or mode.precision, splits, metrics)
    except ValueError as error:
        raise UsageError(str(error)) from None


@functools.lru_cache(maxsize=4)
def _measuring(chosen, data_dir, precision, splits, metrics):
    """The problem, with an evaluator of these splits and metrics."""
    problem = _make_problem(chosen, data_dir, precision)
    if (splits, metrics) == (SPLITS, None):
        return problem
    placed = dict(problem.evaluator.splits)
    if "test" in splits:
        placed["test"] = parallel.replicate(problem.dataset.test, problem.mesh)
    objective = problem.objective
    if metrics:
        more = _users_objective("metrics", metrics, problem.model)
        objective = _measured_beside(objective, more)
    evaluator = evaluation.Evaluator(
        objective,
        problem.evaluator.fetch,
        {split: placed[split] for split in splits},
        problem.mesh,
    )
    return problem._replace(evaluator=evaluator)


def _measured_beside(own, more):
    """The objective ``own``, reported with the metrics of ``more``; of one name, its own."""
    apart = "more/"

    def evaluate(*args):
        others = {apart + name: value for name, value in more.evaluate(*args).items()}
        return others | own.evaluate(*args)

    def metrics(means):
        others = {n.removeprefix(apart): x for n, x in means.items() if n.startswith(apart)}
        mine = {name: x for name, x in means.items() if not name.startswith(apart)}
        count = others.pop("count")  # in units of its own: each is divided by its own count
        others = {name: (x.T / count).T for name, x in others.items()}
        return _reported(more, others) | _reported(own, mine)

    return own._replace(evaluate=evaluate, metrics=metrics)


def _reported(objective, means):
    return objective.metrics(means) if objective.metrics else means


@functools.lru_cache(maxsize=4)
def _make_problem(chosen, data_dir, precision):
    flags: dict[str, Any] = dict(zip(PROBLEM_FLAGS, chosen, strict=True))
    mode = ModeConfig(**flags, precision=precision)
    model = make_model(mode, num_classes=10)  # a name that is wrong is said before data are read
    dataset = load_dataset(mode, data_dir)
    model = make_model(mode, dataset.num_classes)
    _check_model(model, dataset)
    objective = make_objective(mode, model)
    mesh = parallel.make_mesh()
    mean, std = statistics(mode, dataset)
    if dataset.train.images.nbytes > device_limit():
        raise ValueError(
            f"the training images take {dataset.train.images.nbytes / 2**30:.1f} GiB, over half of "
            "a device's memory, and the evaluator needs them there: use --train_size"
        )
    placed = {
        "train": parallel.replicate(dataset.train, mesh),
        "validation": parallel.replicate(dataset.validation, mesh),
    }
    fetch = batches.image_batches(mean, std)
    evaluator = evaluation.Evaluator(objective, fetch, placed, mesh)
    return Problem(dataset, placed["train"], mean, std, model, objective, evaluator, mesh)


def load_dataset(mode: ModeConfig, data_dir: str | None) -> data.Dataset:
    """The data set of a mode's flags."""
    return data.load(
        mode.dataset,
        data_dir=data_dir,
        use_test=mode.use_test,
        train_size=mode.train_size,
        validation_size=mode.validation_size,
        downsample=mode.downsample,
        pad_to=mode.pad_to,
    )


def statistics(mode: ModeConfig, dataset: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation by which a mode's images are normalized: the given, or the data's own."""
    if mode.normalization is None:
        return augmentation.statistics(dataset.train)
    return augmentation.fixed_statistics(mode.normalization, dataset.train.images.shape[-1])


def make_model(mode: ModeConfig, num_classes: int) -> nn.Module:
    """The network of a mode's flags."""
    return models.create(
        mode.model,
        num_classes=num_classes,
        width=mode.width,
        dropout=mode.dropout,
        init_scale=mode.init_scale,
        axis_name=parallel.DATA_AXIS,
    )


def make_objective(mode: ModeConfig, model: nn.Module) -> objectives.Objective:
    """Cross-entropy in the mode's precision, or the user's objective for this model."""
    dtype = jnp.bfloat16 if mode.precision == "bf16" else None
    if mode.objective is None:
        return cross_entropy(model, dtype)
    if dtype is not None:
        raise UsageError(
            "--precision=bf16 is for cross-entropy: an --objective of your own chooses the dtype "
            "that the network computes in"
        )
    return _users_objective("objective", mode.objective, model)


def _users_objective(flag, text, model):
    """The objective of a user's ``package.module:factory``."""
    module, _, name = text.partition(":")
    try:
        objective = getattr(importlib.import_module(module), name)(model)
    except Exception as error:
        raise UsageError(f"--{flag}={text}: {error}") from None
    if not isinstance(objective, objectives.Objective):
        raise UsageError(f"--{flag}={text} gave no mcjax.engine.objectives.Objective")
    return objective


def init(problem: Problem, mode: ModeConfig, key: jax.Array) -> tuple[Any, Any]:
    """A network's first parameters and state (its collections beside ``params``)."""
    model = make_model(mode, problem.dataset.num_classes)
    shape = (1, *problem.dataset.train.images.shape[1:])
    variables = dict(_initializer(model, shape)(key))
    return variables.pop("params"), variables


@functools.lru_cache(maxsize=8)
def _initializer(model, shape):
    """The model's initialisation, compiled once for all modes that share it."""
    return jax.jit(lambda key: model.init(key, jnp.zeros(shape), False))


def check_training(config: Training) -> None:
    """Raises UsageError for a flag of training that is out of range, or a missing tracker."""
    trackers.check(config.tracker)
    for name, lowest in (
        ("epochs", 1), ("eval_every", 0), ("crop_padding", 0), ("sgdr_t0", 1), ("sgdr_mult", 1),
        ("lr", 0), ("weight_decay", 0),
    ):  # fmt: skip
        value = getattr(config, name)
        if not lowest <= value < float("inf"):
            raise UsageError(f"--{name}={value}: use {lowest} or more")
    if config.schedule == "sgdr" and not 0 <= config.lr_min <= config.lr > 0:
        raise UsageError(
            f"--lr={config.lr} with sgdr: use more than 0 and --lr_min={config.lr_min}"
        )


def check_batch(problem: Problem, batch_size: int, model_state: Any, strata: int = 1) -> None:
    """Raises UsageError for a batch that the data set or the devices cannot take."""
    size, devices = len(problem.dataset.train.labels), problem.mesh.size
    if not 0 < batch_size <= size:
        raise UsageError(f"--batch_size={batch_size}: the training split has {size} examples")
    if jax.tree.leaves(model_state) and batch_size % (devices * strata):
        parts = f" in {strata} parts (--t_strata)" if strata > 1 else ""
        raise UsageError(
            f"--batch_size={batch_size}{parts}: {devices} devices do not divide it, and batch "
            f"norm's statistics need equal shares; use a multiple of {devices * strata}"
        )


def steps_per_epoch(problem: Problem, config: Training) -> int:
    """Whole batches in the training split."""
    return len(problem.dataset.train.labels) // config.batch_size


def train_batches(problem: Problem, config: Training):
    """The ``fetch`` of training, with the run's augmentation."""
    chosen = augmentation.Augmentation(padding=config.crop_padding, flip=config.flip)
    return batches.image_batches(problem.mean, problem.std, chosen)


def make_schedule(config: Training, steps_per_epoch: int) -> optax.Schedule:
    """The learning-rate schedule of a run's flags."""
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
            first_epoch = 1  # as in Garipov et al.'s code
    if not config.schedule_per_epoch:
        return schedule
    return schedules.per_epoch(schedule, steps_per_epoch, first_epoch)


def same_problem(a: ModeConfig, b: ModeConfig) -> list[str]:
    """The flags in which two modes differ so that they cannot be connected."""
    differing = (name for name in PROBLEM_FLAGS if getattr(a, name) != getattr(b, name))
    return [f"--{n}: {getattr(a, n)} and {getattr(b, n)}" for n in differing if n != "dropout"]


def chance_failure(problem: Problem, accuracy: float, network: str) -> str | None:
    """Why a network with this training accuracy did not train, in words, or None.

    Args:
      problem: its data.
      accuracy: on the training split.
      network: which network, for the words: "the last epoch's network".
    """
    labels = problem.dataset.train.labels
    if is_above_chance(labels, accuracy):
        return None
    share = np.bincount(labels).max() / len(labels)
    return (
        f"training accuracy {100 * accuracy:.1f} % of {network} is at chance (the most frequent "
        f"label has {100 * share:.1f} % of {len(labels)} examples): it did not train"
    )


def is_above_chance(labels: np.ndarray, accuracy: float) -> bool:
    """Whether answers that do not depend on the images reach an accuracy in less than 1 of 1,000.

    Let ``p`` and ``q`` be the shares of the most and the second most frequent label. The
    probability that ``k`` of ``n`` such answers are right is at most ``P(Binomial(n, p) >= k)``
    (Hoeffding, 1956), and at most ``(q / p)^(k - n p)``: answers other than the most frequent
    label gain an example with a probability of at most ``q`` and lose one with ``p`` (Chernoff's
    bound). The first decides where classes are balanced, the second where one dominates. A
    constant network never exceeds ``p`` and is at chance.

    Args:
      labels: integers ``[n]`` of the split.
      accuracy: on that split; NaN is at chance.
    """
    n = len(labels)
    first, second = np.sort(np.append(np.bincount(labels), 0))[:-3:-1]
    right = np.rint(accuracy * n)
    luck = min(special.bdtrc(right - 1, n, first / n), (second / first) ** max(right - first, 0))
    return bool(luck < CHANCE_LEVEL)


def device_limit() -> float:
    """Bytes of data that may lie on a device: half of its memory, or 4 GiB where unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", 2**33) / 2


def with_weight_decay(config: Training, objective: objectives.Objective) -> objectives.Objective:
    """The objective with the run's L2 penalty; adamw decays in the optimizer instead."""
    penalty = 0.0 if config.optimizer == "adamw" else config.weight_decay
    return objectives.with_l2(objective, penalty)


def _check_model(model, dataset):
    """Tries the network on a batch's shape, before any work."""
    shape = (2, *dataset.train.images.shape[1:])
    try:
        variables = jax.eval_shape(
            lambda k: model.init(k, jnp.zeros(shape), False), jax.random.key(0)
        )
        logits = jax.eval_shape(lambda v: model.apply(v, jnp.zeros(shape), False), variables)
    except Exception as error:
        message = str(error).split("\n")[0]
        raise UsageError(
            f"--model: module(images, train), with images of shape {shape}, has to give logits; it "
            f"fails: {message}"
        ) from None
    if getattr(logits, "shape", None) != (2, dataset.num_classes):
        raise UsageError(
            f"--model gives {getattr(logits, 'shape', type(logits).__name__)} for two images: "
            f"expected logits of shape {(2, dataset.num_classes)}"
        )
    leaves = jax.tree_util.tree_flatten_with_path(variables.get("params", {}))[0]
    if not leaves:
        raise UsageError("--model has no parameters")
    for name, values in (("logits", logits), *((jax.tree_util.keystr(k), x) for k, x in leaves)):
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise UsageError(f"--model: {name} are {values.dtype}, and no floating-point numbers")


def mode_config(info: dict[str, Any], **changes: Any) -> ModeConfig:
    """The mode's flags as ``run.json`` holds them, for a mode or for a curve between modes."""
    kept = info["flags"] if info["kind"] == "mode" else info["mode"]
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
    return dataclasses.replace(ModeConfig(**values), **changes)
