"""The four scales at which the paper is rebuilt, and the plan of runs that it takes."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from ...cli import PACKAGE_ROOT, CurveConfig, ModeConfig, SurfaceConfig, parse_flagfile
from ..jobs import Job
from ..scaling import scale_epochs

MODES = "GABCDEF"
CURVE_EPOCHS = (20, 40, 60, 80)
PAIRS = {
    "sgdr": ((30, 70), (70, 150), (30, 150)),
    "step": ((55, 65), (145, 165), (55, 165)),
}
SURFACES = {(70, 150): 3, (30, 70): 5}
FIGURES = tuple(range(1, 11))
SECTION_3 = {1, 4, 8, 9, 10}
SECTION_5 = {2, 3, 5, 6, 7}
PAPER = "cifar10"
"""The scale with the paper's own settings."""
PAPER_STEPS = 500
"""Steps of the paper's epochs."""


class Scale(NamedTuple):
    """One size of the experiment.

    Attributes:
      name: also the folder of its flagfiles below ``experiments/flags``.
      data: what it is trained on, for the report.
      network: likewise.
      grid: points a side of a surface.
      epoch_seconds: cost of a training epoch, as measured on ``machine``; None where nobody has.
      point_seconds: cost of an evaluated point, likewise.
      machine: where that was.
    """

    name: str
    data: str
    network: str
    grid: int
    epoch_seconds: float | None
    point_seconds: float | None
    machine: str

    @property
    def title(self) -> str:
        """What it is in a few words."""
        return f"{self.data}, {self.network}"


SCALES = {
    s.name: s
    for s in (
        Scale("digits", "scikit-learn digits, 8x8", "VGG7", 21, 0.09, 0.03, "2 CPU cores"),
        Scale(
            "fashion_mnist",
            "Fashion-MNIST, 5,000 images at 14x14",
            "VGG10 with batch norm",
            13,
            2.6,
            1.5,
            "2 CPU cores",
        ),
        Scale("fashion_mnist_vgg16", "Fashion-MNIST, 32x32", "VGG16", 21, None, None, "one GPU"),
        Scale("cifar10", "CIFAR-10", "VGG16", 21, None, None, "one GPU or TPU"),
    )
}


class Plan(NamedTuple):
    """What has to be run for some figures.

    Attributes:
      jobs: in an order in which they can be run.
      epochs: for each run, the epoch here for an epoch of the paper.
    """

    jobs: tuple[Job, ...]
    epochs: dict[str, dict[int, int]]


def make_plan(
    scale: Scale, workdir: Path, figures: set[int], factor: float, seed: int, shared: dict[str, Any]
) -> Plan:
    """The runs that the figures need.

    Args:
      scale: which size.
      workdir: the folder that holds the run folders.
      figures: numbers of the paper's figures.
      factor: multiplies every epoch count.
      seed: number of this repetition; its runs have seeds of their own.
      shared: flags that every job gets (``data_dir``, ``precision``).
    """
    planner = _Planner(scale, workdir, factor, seed, shared)
    if figures & SECTION_3:
        for name in MODES:
            planner.mode(name)
        for name in MODES[1:]:
            planner.curve(f"G{name}", "G", name)
    for run, pairs in PAIRS.items():
        if figures & SECTION_5:
            planner.mode(run)
            for first, second in pairs:
                planner.pair(run, first, second)
    for pair in SURFACES:
        if figures & ({3} if pair == (70, 150) else {5, 6}):
            planner.surface(*pair)
    return Plan(tuple(planner.jobs), planner.epochs)


def shown_in(figure: int) -> set[str]:
    """The runs that a figure shows, without those that they need."""
    if figure in SECTION_3:
        return {f"G{name}" for name in MODES[1:]}
    surfaces = {3: "surface_70_150", 5: "surface_30_70", 6: "surface_30_70"}
    if figure in surfaces:
        return {surfaces[figure]}
    return {f"{run}_{a}_{b}" for run, pairs in PAIRS.items() for a, b in pairs}


class _Planner:
    def __init__(self, scale, workdir, factor, seed, shared):
        self.scale, self.workdir, self.factor = scale, workdir, factor
        self.seed, self.shared = 1000 * seed, shared
        self.jobs: list[Job] = []
        self.epochs: dict[str, dict[int, int]] = {}

    def _config(self, kind, name, **changes):
        file = PACKAGE_ROOT / "experiments" / "flags" / self.scale.name / f"{name}.cfg"
        config, self.epochs[name] = scale_epochs(parse_flagfile(kind, file), self.factor)
        changes = {"workdir": str(self.workdir / name), "seed": config.seed + self.seed} | changes
        return dataclasses.replace(config, **changes, **self.shared)

    def mode(self, name):
        self.jobs.append(Job(name, "train_mode", self._config(ModeConfig, name)))

    def curve(self, name, start, end):
        config = self._config(
            CurveConfig, name, start=str(self.workdir / start), end=str(self.workdir / end)
        )
        needs = (start.partition("@")[0], end.partition("@")[0])
        self.jobs.append(Job(name, "fit_curve", config, needs))

    def pair(self, run, first, second):
        here = self.epochs[run]
        self.curve(f"{run}_{first}_{second}", f"{run}@{here[first]}", f"{run}@{here[second]}")

    def surface(self, first, second):
        here, curve = self.epochs["sgdr"], f"sgdr_{first}_{second}"
        run = self.workdir / "sgdr"
        points = (f"{run}@{here[first]}", f"{run}@{here[second]}", str(self.workdir / curve))
        name = f"surface_{first}_{second}"
        config = SurfaceConfig(
            workdir=str(self.workdir / name),
            points=points,
            curve=str(self.workdir / curve),
            iterates=(str(run),),
            grid=str(self.scale.grid),
            **self.shared,
        )
        self.jobs.append(Job(name, "loss_surface", config, ("sgdr", curve)))


def seconds(scale: Scale, job: Job) -> float | None:
    """About how long a job takes on the scale's machine, start and compilation included."""
    if scale.epoch_seconds is None or scale.point_seconds is None:
        return None
    if job.module == "loss_surface":
        return 10 + scale.point_seconds * (scale.grid**2 + 20)
    epochs = 10 + scale.epoch_seconds * job.config.epochs
    if job.module == "train_mode":
        return epochs
    rounds = 2 + len(job.config.eval_epochs)
    return epochs + scale.point_seconds * rounds * job.config.points
