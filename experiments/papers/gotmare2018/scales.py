"""The four scales at which the paper is reproduced, and the runs that each needs."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from ...cli import PACKAGE_ROOT, CurveConfig, ModeConfig, SurfaceConfig, parse_flagfile
from ...jobs import Job
from ..scaling import C, scale_epochs

MODES = "GABCDEF"
CURVES = tuple(f"G{mode}" for mode in MODES[1:])
"""The runs of the curves that connect G with the other modes (Section 3)."""
CURVE_EPOCHS = (20, 40, 60, 80)
PAIRS = {
    "sgdr": ((30, 70), (70, 150), (30, 150)),
    "step": ((55, 65), (145, 165), (55, 165)),
}
"""By training run, the pairs of epochs whose iterates are connected (Section 5)."""
FIGURES = tuple(range(1, 11))
PLANES = {3: (70, 150), 5: (30, 70), 6: (30, 70)}
"""By figure, the epochs of ``sgdr`` whose iterates span its plane with the bend between them."""
SECTION_3 = {1, 4, 8, 9, 10}
SECTION_5 = {2, 7, *PLANES}
PAPER = "cifar10"
"""The scale with the paper's own settings."""
PAPER_STEPS = 500
"""Steps of the paper's epochs."""


def pair_name(run: str, first: int, second: int) -> str:
    """The run that connects two iterates.

    >>> pair_name("sgdr", 70, 150)
    'sgdr_70_150'
    """
    return f"{run}_{first}_{second}"


def pair_names(run: str) -> tuple[str, ...]:
    """The runs that connect iterates of a training run."""
    return tuple(pair_name(run, *pair) for pair in PAIRS[run])


def surface_name(figure: int) -> str:
    """The run whose surface a figure shows.

    >>> surface_name(5)
    'surface_30_70'
    """
    return pair_name("surface", *PLANES[figure])


SURFACE = surface_name(3)
"""The surface by which claims are judged."""


class Scale(NamedTuple):
    """One size of the experiment.

    Attributes:
      name: also the folder of its flagfiles below ``experiments/flags``.
      data: the data set, for the report.
      network: the network, for the report.
      grid: points per side of a surface.
    """

    name: str
    data: str
    network: str
    grid: int

    @property
    def title(self) -> str:
        """Data and network, for headings."""
        return f"{self.data}, {self.network}"

    @property
    def precision(self) -> str:
        """The precision in its flagfiles."""
        return parse_flagfile(ModeConfig, self.flagfile("sgdr")).precision

    def flagfile(self, name: str) -> Path:
        """The flagfile of a run."""
        return PACKAGE_ROOT / "experiments" / "flags" / self.name / f"{name}.cfg"


SCALES = {
    s.name: s
    for s in (
        Scale("digits", "scikit-learn digits, 8x8", "VGG7", 21),
        Scale("fashion_mnist", "Fashion-MNIST, 5,000 images at 14x14", "VGG10 with batch norm", 13),
        Scale("fashion_mnist_vgg16", "Fashion-MNIST, 32x32", "VGG16", 17),
        Scale("cifar10", "CIFAR-10", "VGG16", 17),
    )
}


class Plan(NamedTuple):
    """The runs of one repetition.

    Attributes:
      jobs: in an order in which they can run.
      epochs: by run, the epoch here for each epoch of the paper.
    """

    jobs: tuple[Job, ...]
    epochs: dict[str, dict[int, int]]


def make_plan(
    scale: Scale, workdir: Path, figures: set[int], factor: float, seed: int, shared: dict[str, Any]
) -> Plan:
    """Plans the runs that some figures need.

    Args:
      scale: the size of the experiment.
      workdir: the folder of the run folders.
      figures: numbers of the paper's figures.
      factor: multiplies every epoch count.
      seed: number of the repetition; each repetition has its own seeds.
      shared: flags of every job (``data_dir``, ``precision``).
    """
    planner = _Planner(scale, workdir, factor, seed, shared)
    if figures & SECTION_3:
        for name in MODES:
            planner.mode(name)
        for name in CURVES:
            planner.curve(name, *name)
    for run, pairs in PAIRS.items():
        if figures & SECTION_5:
            planner.mode(run)
            for first, second in pairs:
                planner.pair(run, first, second)
    for pair in dict.fromkeys(plane for figure, plane in PLANES.items() if figure in figures):
        planner.surface(*pair)
    return Plan(tuple(planner.jobs), planner.epochs)


def shown_in(figure: int) -> set[str]:
    """The runs that a figure shows, without the runs that these need."""
    if figure in SECTION_3:
        return set(CURVES)
    if figure in PLANES:
        return {surface_name(figure)}
    return {name for run in PAIRS for name in pair_names(run)}


class _Planner:
    """Collects the jobs of a plan, each after the jobs it needs."""

    def __init__(
        self, scale: Scale, workdir: Path, factor: float, seed: int, shared: dict[str, Any]
    ) -> None:
        self.scale, self.workdir, self.factor = scale, workdir, factor
        self.seed, self.shared = 1000 * seed, shared
        self.jobs: list[Job] = []
        self.epochs: dict[str, dict[int, int]] = {}

    def _config(self, kind: type[C], name: str, **changes: Any) -> C:
        file = self.scale.flagfile(name)
        config, self.epochs[name] = scale_epochs(parse_flagfile(kind, file), self.factor)
        changes = {"workdir": str(self.workdir / name), "seed": config.seed + self.seed} | changes
        return dataclasses.replace(config, **changes, **self.shared)

    def mode(self, name: str) -> None:
        self.jobs.append(Job(name, "train_mode", self._config(ModeConfig, name)))

    def curve(self, name: str, start: str, end: str) -> None:
        config = self._config(
            CurveConfig, name, start=str(self.workdir / start), end=str(self.workdir / end)
        )
        needs = (start.partition("@")[0], end.partition("@")[0])
        self.jobs.append(Job(name, "fit_curve", config, needs))

    def pair(self, run: str, first: int, second: int) -> None:
        here, name = self.epochs[run], pair_name(run, first, second)
        self.curve(name, f"{run}@{here[first]}", f"{run}@{here[second]}")

    def surface(self, first: int, second: int) -> None:
        here, curve = self.epochs["sgdr"], pair_name("sgdr", first, second)
        run = self.workdir / "sgdr"
        points = (f"{run}@{here[first]}", f"{run}@{here[second]}", str(self.workdir / curve))
        name = pair_name("surface", first, second)
        config = SurfaceConfig(
            workdir=str(self.workdir / name),
            points=points,
            curve=str(self.workdir / curve),
            iterates=(str(run),),
            grid=str(self.scale.grid),
            **self.shared,
        )
        self.jobs.append(Job(name, "loss_surface", config, ("sgdr", curve)))
