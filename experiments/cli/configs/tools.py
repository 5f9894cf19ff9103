"""The flags of the other commands."""

import dataclasses
from typing import ClassVar

from ..flags import LAUNCH, flag
from .shared import DEVICES, Drawing, Launched, Machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReproduceConfig(Drawing, Launched):
    """The whole paper."""

    unused: ClassVar[tuple[str, ...]] = LAUNCH
    local: ClassVar[tuple[str, ...]] = ("workdir", "data_dir")
    precision: str = flag(
        "scale",
        "Precision of the networks: scale, that of the scale's flagfiles (bf16 for "
        "fashion_mnist_vgg16 and cifar10, else float32); float32, tf32 and bf16 as in the other "
        "commands.",
        ("scale", "float32", "tf32", "bf16"),
    )
    paper: str = flag("gotmare2018", "The paper to reproduce.", ("gotmare2018",))
    scale: str = flag(
        "digits",
        "Size of the experiments: data set and networks.",
        ("digits", "fashion_mnist", "fashion_mnist_vgg16", "cifar10"),
    )
    figures: tuple[int, ...] = flag(
        (), "Figures of the paper to reproduce, 1 to 10; all by default.", identity=False
    )
    epochs_factor: float = flag(
        1.0, "Factor by which to multiply every number of epochs, in schedules and --keep too."
    )
    seeds: int = flag(1, "Number of repetitions with different seeds, for intervals.")
    jobs: int = flag(
        0,
        "local: number of processes to run at once; 0 for one per core, or a single one on GPU and "
        "TPU.",
        identity=False,
    )
    kept: str = flag(
        "",
        "Folder with the small files of finished runs: judge and draw from these and run nothing. "
        "With --workdir, the files of its finished runs are copied there first. Scale, epochs and "
        "seeds are those of the kept runs.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(Machine):
    """Speed compared with PyTorch's."""

    unused: ClassVar[tuple[str, ...]] = ("data_dir", "precision", *LAUNCH, "checkpoint_seconds")
    local: ClassVar[tuple[str, ...]] = ("workdir",)
    resumes: ClassVar[bool] = False
    workdir: str = flag(
        "", "Folder to write benchmark.json and benchmark.md to; only printed by default."
    )
    nets: tuple[str, ...] = flag(("vgg16", "quarter", "digits"), "Networks to time.")
    rounds: int = flag(7, "Number of measurements; the table shows their medians.")
    seconds: float = flag(2.0, "Length of one measurement in seconds.")
    quick: bool = flag(False, "Set --nets=digits,quarter --rounds=3 --seconds=0.5: two minutes.")
    before: str = flag("", "An earlier benchmark.json, to warn of what is 20 % slower.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(Machine):
    """A finished run, or a checkpoint, in another format."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "cpu_devices", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    run: str = flag(
        "",
        "Folder of a finished curve or surface; pt, safetensors: a checkpoint RUN[@EPOCH][~T]. "
        "Required.",
    )
    format: str | None = flag(
        None,
        "Format to write: garipov, the curve.npz or plane.npz of Garipov's code; h5, the surface "
        "file of Goldstein's; vtp, a surface for ParaView; pt, safetensors, weights for PyTorch. "
        "Required.",
        ("garipov", "h5", "vtp", "pt", "safetensors"),
    )
    output: str = flag("", "File to write. Required.", identity=False)
    name_map: str | None = flag(
        None,
        "pt, safetensors: file that maps names, lines 'THEIRS = OURS'; Garipov's or torchvision's "
        "names by default.",
    )
    metric: str = flag("train_loss", "vtp: metric to plot as height.")
    log: bool = flag(False, "vtp: plot the metric's decimal logarithm.")
    clip: float | None = flag(
        None, "vtp: value at which to clip the metric; chosen from the losses by default."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig(Machine):
    """A finished run as an interactive page."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    run: str = flag("", "Folder of a finished surface or curve. Required.")
    output: str = flag("", "HTML file to write; RUN/view.html by default.", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneConfig(Machine):
    """The checkpoints of finished runs."""

    unused: ClassVar[tuple[str, ...]] = ("workdir", "data_dir", *DEVICES)
    runs: tuple[str, ...] = flag((), "Folders of finished modes or curves. Required.")
    drop: tuple[int, ...] = flag(
        (), "Kept epochs whose checkpoints to delete too; the last epoch always stays."
    )
