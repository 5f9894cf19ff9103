"""The flags of the commands that evaluate and compare trained networks."""

import dataclasses
from typing import ClassVar

from ..flags import flag
from .shared import Combining, Drawing, Measuring
from .training import ModeConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceConfig(Combining):
    """The loss on the plane through three checkpoints, or around one, with their data and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "surface"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    points: tuple[str, ...] = flag(
        (),
        "Three checkpoints RUN[@EPOCH][~T] that span the plane, or its centre with --directions.",
    )
    align: str | None = flag(
        None,
        "Permute the units of the second point to match the first, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    directions: str | None = flag(
        None,
        "Directions of the plane around one checkpoint: random; filter, random with the norm of "
        "each filter of the weights; pca, principal components of --iterates (centred at the last "
        "by default); hessian, eigenvectors of the two largest eigenvalues.",
        ("random", "filter", "pca", "hessian"),
    )
    direction_seed: int = flag(0, "random, filter: seed of the directions.")
    ignore_vectors: bool = flag(
        True,
        "random, filter: keep biases and batch norm's scales and shifts fixed. Otherwise their "
        "directions are random too, where Li et al.'s code takes the weights themselves.",
    )
    extent: float | None = flag(
        None,
        "random, filter, hessian: how far the plane extends on each side of its centre, in units "
        "of a direction's norm (random, filter: the norm of the weights; hessian: 1); 1 by "
        "default.",
        evaluation=True,
    )
    curve: str = flag("", "Curve to draw on the plane, RUN[@EPOCH]; none by default.")
    iterates: tuple[str, ...] = flag(
        (),
        "Iterates to project onto the plane: RUN for all of its kept epochs, or RUN@30,RUN@70.",
    )
    grid: str = flag(
        "21",
        "Number of grid points per side, such as 21, or along x and y, such as 31x21.",
        evaluation=True,
    )
    margin: float = flag(
        0.2,
        "Margin around everything that is drawn, as a fraction of its larger extent.",
        evaluation=True,
    )
    refine: float | None = flag(
        None,
        "Evaluate only some of the grid's points, and interpolate the others so that losses miss "
        "by at most this share of the range that the figure shows, such as 0.02; all points by "
        "default.",
        evaluation=True,
    )
    examples: int | None = flag(
        None,
        "Measure the points on a random sample of this many examples of each split, with standard "
        "errors; on all examples by default.",
        evaluation=True,
    )
    stop_above: float | None = flag(
        None,
        "With --examples, a loss beyond which the sample is enough, such as that of --clip: points "
        "that are not above it by three standard errors are measured on all examples.",
        evaluation=True,
    )
    clip: float | None = flag(
        None,
        "Loss at the upper end of the colour scale; chosen from the losses by default.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterpolateConfig(Combining):
    """The segments between every two of several checkpoints, with their data and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "interpolation"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    points: tuple[str, ...] = flag(
        (),
        "Checkpoints RUN[@EPOCH][~T], two or more; the ends of a single --curve by default. "
        "RUN@all stands for all kept checkpoints of a run, RUN@10- for those from epoch 10 on, "
        "RUN@10-30 for those of epochs 10 to 30.",
    )
    against: tuple[str, ...] = flag(
        (),
        "Checkpoints of a second group, such as other seeds: means and 95 % intervals between the "
        "groups and within each are added.",
    )
    curve: tuple[str, ...] = flag(
        (), "Fitted curves to show beside their segments, RUN[@EPOCH]; none by default."
    )
    align: str | None = flag(
        None,
        "Also permute the units of each pair's second network to match its first, by their weights "
        "or their activations, and evaluate the segment between these.",
        ("weights", "activations"),
    )
    t_range: str = flag(
        "0,1",
        "The first and the last t, such as -0.5,1.5: the networks are at 0 and 1, beyond is "
        "extrapolation.",
        evaluation=True,
    )
    num_points: int = flag(
        25, "Number of points on each segment, equally spaced over --t_range.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayersConfig(Combining):
    """Layer-wise barriers between two checkpoints, with their data set and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "layers"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    start: str = flag(
        "",
        "The network where layers stay: RUN[@EPOCH], or RUN[@EPOCH]~T for a point on a curve. "
        "Required.",
    )
    end: str = flag("", "The network to which layers move, given as --start. Required.")
    align: str | None = flag(
        None,
        "First permute the units of --end to match --start, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    num_points: int = flag(
        11, "Number of points on each path, t equally spaced from 0 to 1.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstabilityConfig(ModeConfig, Measuring):
    """Networks that are trained from points of one training on, with other orders of the data."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "instability"
    unused: ClassVar[tuple[str, ...]] = ("fork", "fork_weights", "profile", "save_logits")
    forks: tuple[str, ...] = flag(
        (),
        "Points of the parent's training to fork from, two or more: epochs, with 0 for the "
        "untrained network, or steps such as s40. Required.",
    )
    children: int = flag(
        2, "Number of networks per fork, with the data seeds --seed + 1, --seed + 2 and so on."
    )
    num_points: int = flag(
        25, "Number of points on each segment, equally spaced, with its ends.", evaluation=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignConfig(Drawing):
    """A network with its units permuted to match another's, with their data set and model."""

    topic: ClassVar[str] = "alignment"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    start: str = flag(
        "", "The reference network: RUN[@EPOCH], or RUN[@EPOCH]~T for a point on a curve. Required."
    )
    end: str = flag("", "The network whose units to permute, given as --start. Required.")
    method: str = flag(
        "weights",
        "What to match: weights, or activations on the training split.",
        ("weights", "activations"),
    )
    restarts: int = flag(1, "Number of random orders in which to match; the best result is kept.")
    seed: int = flag(0, "Seed of these orders.")
    points: int = flag(25, "Number of points of each profile, t equally spaced from 0 to 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoupConfig(Measuring):
    """An average of several checkpoints, with their data set and model."""

    divides: ClassVar[bool] = True
    topic: ClassVar[str] = "soup"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds", "save_logits")
    points: tuple[str, ...] = flag(
        (),
        "Checkpoints RUN[@EPOCH][~T] to average, two or more. RUN@all stands for all kept "
        "checkpoints of a run, RUN@10- for those from epoch 10 on, RUN@10-30 for those of "
        "epochs 10 to 30. Required.",
    )
    recipe: str = flag(
        "uniform",
        "The average that the run keeps. uniform: of all points. greedy: from the point of best "
        "validation accuracy down, each that does not lower it. swa: of the points of one run from "
        "--swa_start on. ema: exponential moving average over the points of one run. All that "
        "apply are evaluated.",
        ("uniform", "greedy", "swa", "ema"),
    )
    swa_start: float | None = flag(
        None, "swa: first epoch of the average; 75 % of the last point's by default."
    )
    ema_decay: float = flag(
        0.8, "ema: the weight of a point in the average is this times that of the next one."
    )
    align: str | None = flag(
        None,
        "First permute the units of all points to match the first, by their weights or their "
        "activations; no permutation by default.",
        ("weights", "activations"),
    )
    curve: tuple[str, ...] = flag(
        (),
        "Fitted curves, RUN[@EPOCH], that end at two of the points: their barriers and the "
        "ensembles of their points are shown beside.",
    )
    num_points: int = flag(
        11, "Number of points on the segment between every two points, with its ends."
    )
    splits: tuple[str, ...] = flag(
        ("train", "validation", "test"),
        "Splits to evaluate on: train and validation, and test if wanted. The greedy soup is "
        "chosen on validation, and test is the split that no choice has seen.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharpnessConfig(Drawing):
    """The Hessian's largest eigenvalues along a curve, with its modes' data set and model."""

    topic: ClassVar[str] = "sharpness"
    unused: ClassVar[tuple[str, ...]] = ("checkpoint_seconds",)
    curve: str = flag("", "The curve, RUN[@EPOCH]. Required.")
    points: int = flag(
        11, "Number of points to evaluate, t equally spaced from 0 to 1.", evaluation=True
    )
    eigenvalues: int = flag(
        2, "Number of eigenvalues per point, from the largest down.", evaluation=True
    )
