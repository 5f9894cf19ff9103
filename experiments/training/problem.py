"""The problem of a run: data on the devices, network, objective and evaluator."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mcjax import data
from mcjax.data import augmentation, batches
from mcjax.engine import evaluation, metric_checks, objectives, parallel, sampling, streams

from ..cli import ModeConfig, UsageError, say
from ..runs import same_value
from . import further, networks

SPLITS = ("train", "validation")
PROBLEM_FLAGS = (
    "dataset", "use_test", "train_size", "validation_size", "downsample", "pad_to",
    "normalization", "model", "width", "dropout", "objective",
)  # fmt: skip
"""The flags that define a problem."""
DATA_FLAGS = ("dataset", "train_size", "validation_size", "use_test")
"""Those of them in which --allow_different lets networks differ."""


MEASURED = ("splits", "metrics", "also_evaluate")
"""The flags that choose what is measured; with other values, a run is evaluated again."""


class Problem(NamedTuple):
    """Data, network and objective, shared by all modes that can be connected.

    Attributes:
      mode: the flags that define it: `PROBLEM_FLAGS`, the data folder and the precision.
      dataset: on the host.
      train: the training split, on all devices, or on the host if it does not fit them.
      mean: mean pixel value per channel, for normalization.
      std: standard deviation per channel.
      model: the network.
      objective: what is minimised and measured.
      evaluator: of the splits ``train`` and ``validation`` without augmentation.
      mesh: all devices.
    """

    mode: ModeConfig
    dataset: data.Dataset
    train: data.Split
    mean: np.ndarray
    std: np.ndarray
    model: nn.Module
    objective: objectives.Objective
    evaluator: evaluation.Evaluator
    mesh: jax.sharding.Mesh


def check_problem(mode: ModeConfig) -> None:
    """Checks a problem's flags, without reading data.

    Raises:
      UsageError: a data set, network or objective is unknown, or a setting is out of range.
    """
    try:
        data.check(mode.dataset, mode.data_dir)
        if mode.normalization is not None:
            augmentation.check_statistics(mode.normalization)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for name in ("train_size", "validation_size", "downsample", "pad_to"):
        value = getattr(mode, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}={value}: use 1 or more")
    networks.check_network(mode)


def pin_data(mode: ModeConfig) -> ModeConfig:
    """Completes the name of the user's own data by path and checksum, which a run records.

    Raises:
      UsageError: they cannot be read.
    """
    try:
        return dataclasses.replace(mode, dataset=data.pinned(mode.dataset, mode.data_dir))
    except ValueError as error:
        raise UsageError(str(error)) from None


def check_measured(splits: tuple[str, ...], metrics: str | None) -> None:
    """Checks --splits and --metrics.

    Raises:
      UsageError: there is no such split, ``train`` is missing, or there is no such metric.
    """
    if "train" not in splits or not {*splits} <= {*SPLITS, "test"}:
        raise UsageError(f"--splits={','.join(splits)}: give train, and any of validation and test")
    if metrics:
        networks.find_metrics(metrics)


def make_problem(mode: ModeConfig, precision: str | None = None) -> Problem:
    """Makes the problem of a mode's flags: reads the data and places them on the devices.

    A command calls it once, after `check_problem`.

    Args:
      mode: the flags.
      precision: the command's precision, by default the mode's.

    Raises:
      UsageError: a data set, model or objective is unknown or unusable.
    """
    flags = {name: getattr(mode, name) for name in (*PROBLEM_FLAGS, "data_dir")}
    mode = ModeConfig(**flags, precision=precision or mode.precision)
    try:
        return _make(mode)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _make(mode: ModeConfig) -> Problem:
    dataset = load_dataset(mode)
    model, objective = _network(mode, dataset)
    mesh = parallel.make_mesh()
    mean, std = statistics(mode, dataset)
    placed = _place({"train": dataset.train, "validation": dataset.validation}, mesh)
    fetch = batches.image_batches(mean, std)
    evaluator = evaluation.Evaluator(objective, fetch, placed, mesh)
    return Problem(mode, dataset, placed["train"], mean, std, model, objective, evaluator, mesh)


def _network(mode: ModeConfig, dataset: data.Dataset) -> tuple[nn.Module, objectives.Objective]:
    """The network for a data set, checked on the shape of its images, and its objective."""
    model = networks.make_model(mode, dataset.num_classes)
    networks.check_model(model, dataset)
    return model, networks.make_objective(mode, model)


def for_mode(problem: Problem, mode: ModeConfig) -> Problem:
    """Adapts a problem to another mode that can be connected to its own.

    The two may differ in dropout (`same_problem`); data and evaluated splits are shared.
    """
    if mode.dropout == problem.mode.dropout:
        return problem
    mode = dataclasses.replace(problem.mode, dropout=mode.dropout)
    model, objective = _network(mode, problem.dataset)
    problem = problem._replace(mode=mode, model=model, objective=objective)
    return _with_evaluator(problem, objective, problem.evaluator.splits)


def measuring(
    problem: Problem,
    splits: tuple[str, ...],
    metrics: str | None = None,
    also: tuple[str, ...] = (),
) -> Problem:
    """The problem with an evaluator of other splits, further data or additional metrics.

    Args:
      problem: from `make_problem`.
      splits: ``train`` and any of ``validation`` and ``test``.
      metrics: --metrics, to measure in addition to the problem's own.
      also: --also_evaluate, completed by `further.pin`.

    Raises:
      UsageError: a metric fails on a few examples, without the network, or further data do not
        match the network.
    """
    if (splits, metrics, also) == (SPLITS, None, ()):
        return problem
    placed, more = dict(problem.evaluator.splits), further.read(also, problem.dataset, problem.mode)
    if "test" in splits:
        more = {"test": problem.dataset.test} | more
    placed |= _place(more, problem.mesh, placed)
    objective = problem.objective
    if metrics:
        batch = streams.first_batch(
            problem.evaluator.fetch, problem.dataset.train, metric_checks.EXAMPLES
        )
        variables = shapes(problem, problem.mode)
        objective = networks.with_metrics(
            objective, metrics, problem.model, variables, batch, problem.mesh
        )
    chosen = {name: placed[name] for name in dict.fromkeys((*splits, *more))}
    return _with_evaluator(problem, objective, chosen)


def sampled(problem: Problem, count: int, stop_above: float | None) -> Problem:
    """The problem with a `mcjax.engine.sampling.Sampled` evaluator."""
    evaluator = sampling.Sampled(problem.evaluator, count, stop_above=stop_above)
    return problem._replace(evaluator=evaluator)


def _with_evaluator(
    problem: Problem, objective: objectives.Objective, splits: Mapping[str, Any]
) -> Problem:
    fetch = problem.evaluator.fetch
    evaluator = evaluation.Evaluator(objective, fetch, splits, problem.mesh)
    return problem._replace(evaluator=evaluator)


def load_dataset(mode: ModeConfig) -> data.Dataset:
    """Loads the data set of a mode's flags."""
    return data.load(
        mode.dataset,
        data_dir=mode.data_dir,
        use_test=mode.use_test,
        train_size=mode.train_size,
        validation_size=mode.validation_size,
        downsample=mode.downsample,
        pad_to=mode.pad_to,
    )


def statistics(mode: ModeConfig, dataset: data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel of a mode's normalization, each ``[channels]``."""
    if mode.normalization is None:
        return augmentation.statistics(dataset.train)
    return augmentation.fixed_statistics(mode.normalization, dataset.train.images.shape[-1])


def init(problem: Problem, mode: ModeConfig, key: jax.Array) -> tuple[Any, Any]:
    """Initializes a network; returns its parameters and its state (all other collections)."""
    return _compiled(*_shaped_model(problem, mode))(key)


def shapes(problem: Problem, mode: ModeConfig) -> tuple[Any, Any]:
    """The shapes and dtypes of the parameters and the state that `init` returns."""
    return jax.eval_shape(_compiled(*_shaped_model(problem, mode)), jax.random.key(0))


def _shaped_model(problem: Problem, mode: ModeConfig) -> tuple[nn.Module, tuple[int, ...]]:
    """A mode's network, and the shape of one image with its batch axis."""
    model = networks.make_model(mode, problem.dataset.num_classes)
    return model, (1, *problem.dataset.train.images.shape[1:])


@functools.cache
def _compiled(model: nn.Module, shape: tuple[int, ...]) -> Callable[[jax.Array], tuple[Any, Any]]:
    """A program that runs once: on CPU, optimizing its random bits would take LLVM seconds."""
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(functools.partial(_initialized, model, shape), compiler_options=quick)


def _initialized(model: nn.Module, shape: tuple[int, ...], key: jax.Array) -> tuple[Any, Any]:
    variables = dict(model.init(key, jnp.zeros(shape), False))
    return variables.pop("params"), variables


def check_batch(problem: Problem, mode: ModeConfig, batch_size: int, strata: int = 1) -> None:
    """Raises UsageError for a batch size that does not fit the data set or the devices."""
    size, devices = len(problem.dataset.train.labels), problem.mesh.size
    if not 0 < batch_size <= size:
        raise UsageError(f"--batch_size={batch_size}: the training split has {size} examples")
    if jax.tree.leaves(shapes(problem, mode)[1]) and batch_size % (devices * strata):
        parts = f" in {strata} parts (--t_strata)" if strata > 1 else ""
        raise UsageError(
            f"--batch_size={batch_size}{parts} cannot be divided over {devices} devices into the "
            f"equal parts that batch norm requires; use a multiple of {devices * strata}"
        )


def same_problem(a: ModeConfig, b: ModeConfig) -> list[str]:
    """The differing flags that prevent two modes from being connected; empty if they can be."""
    return list(_differing(a, b).values())


def check_joined(
    a: ModeConfig, b: ModeConfig, allowed: Collection[str] | None, refusal: str
) -> None:
    """Checks that two modes can be connected, by their flags.

    Args:
      a: the mode whose data are used.
      b: the other.
      allowed: --allow_different; None if the command does not have it.
      refusal: the beginning of the message, such as "a and b do not share a plane".

    Raises:
      UsageError: they differ in another flag; or ``allowed`` has one that must not differ.
    """
    for name in allowed or ():
        if name not in DATA_FLAGS:
            there = ", ".join(DATA_FLAGS)
            raise UsageError(f"--allow_different={name}: networks may only differ in {there}")
    differing = _differing(a, b)
    refused = [name for name in differing if name not in (allowed or ())]
    if not refused:
        return
    remedy = ""
    if allowed is not None and {*refused} <= {*DATA_FLAGS}:
        names = ",".join((*allowed, *refused))
        remedy = f"; --allow_different={names} joins them on the data of the first"
    raise UsageError(f"{refusal}: they differ in {differing[refused[0]]}{remedy}")


def data_words(mode: ModeConfig) -> str:
    """The training data of a mode in words, such as ``digits, train_size 500``."""
    words = [data.without_folder(mode.dataset)]
    if mode.train_size is not None:
        words.append(f"train_size {mode.train_size}")
    return ", ".join(words + ["use_test"] * mode.use_test)


def _differing(a: ModeConfig, b: ModeConfig) -> dict[str, str]:
    """The differing flags of two problems, in words, by name."""
    pairs = [(name, getattr(a, name), getattr(b, name)) for name in PROBLEM_FLAGS]
    return {
        name: f"--{name}: {there} and {here}"
        for name, there, here in pairs
        if name != "dropout" and not same_value(name, there, here)
    }


def _place(
    splits: dict[str, Any], mesh: jax.sharding.Mesh, placed: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Places splits on the devices, or on the host if they do not fit next to those in ``placed``.

    Prints a note for each split that will be streamed from the host.
    """
    taken = sum(streams.num_bytes(x) for x in (placed or {}).values() if not streams.is_streamed(x))
    found = streams.place(splits, mesh, streams.device_limit() - taken)
    for name in (name for name, x in found.items() if streams.is_streamed(x)):
        say(
            f"note: with the {name} split of {streams.num_bytes(splits[name]) / 2**30:.3g} GiB, "
            "the data would take over half of a device's memory: it is streamed from the host"
        )
    return found
