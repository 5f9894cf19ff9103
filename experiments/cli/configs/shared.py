"""Flags that several commands share."""

import dataclasses
from typing import ClassVar

from ..flags import LAUNCH, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how a command runs; of these flags only `precision` changes what is computed.

    Attributes:
      divides: whether the command divides points or curves over the devices.
      resumes: whether the same command continues a run that was stopped.
      topic: heading of the command's own flags in ``--help``.
      unused: inherited flags that this command ignores; ``--help`` omits them.
      local: flags of `flags.URLS` that must be on this machine in this command.
    """

    divides: ClassVar[bool] = False
    resumes: ClassVar[bool] = True
    topic: ClassVar[str] = "this command"
    unused: ClassVar[tuple[str, ...]] = ()
    local: ClassVar[tuple[str, ...]] = ()
    workdir: str = flag(
        "",
        "Folder of the run, here or at s3:// or gs://. A new run is started in it, an interrupted "
        "one is resumed, a finished one is reused.",
        identity=False,
    )
    data_dir: str | None = flag(
        None,
        "Folder with data files that you already have, here or at s3:// or gs://; missing ones are "
        "downloaded. Paths of your own data are relative to it.",
        identity=False,
    )
    precision: str = flag(
        "float32",
        "Precision of the network: float32 throughout; tf32, faster matrix products of lower "
        "precision on GPU and TPU; bf16, activations in bfloat16, with parameters and losses in "
        "float32.",
        ("float32", "tf32", "bf16"),
    )
    compilation_cache: bool = flag(
        True, "Cache compiled programs in the user's cache folder for later runs.", identity=False
    )
    cpu_devices: int = flag(
        0,
        "Number of devices to divide the CPU into. 0: one device with all cores "
        "for training, one per core (up to 8) for surfaces and for several curves.",
        identity=False,
    )
    distributed: bool = flag(
        False,
        "Join the other processes of a cluster that JAX detects (Slurm, TPU, GKE, MPI).",
        identity=False,
    )
    coordinator: str | None = flag(
        None,
        "HOST:PORT of the first of several processes, for a cluster that JAX does not detect.",
        identity=False,
    )
    num_processes: int | None = flag(
        None, "Number of processes, with --coordinator.", identity=False
    )
    process_id: int | None = flag(
        None, "Index of this process, from 0, with --coordinator.", identity=False
    )
    checkpoint_seconds: float = flag(
        60.0,
        "Seconds between checkpoints to resume from, in addition to those of kept epochs.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launched(Machine):
    """Where the jobs of a command run."""

    launcher: str = flag(
        "local",
        "Where to run what is missing: local, on this machine; slurm, as jobs of Slurm, with a "
        "last one that collects their results; none, nowhere: only the results are collected.",
        ("local", "slurm", "none"),
        identity=False,
    )
    slurm_options: tuple[str, ...] = flag(
        (),
        "slurm: options of sbatch for every job, NAME=VALUE, such as partition=gpu,account=me,"
        "time=04:00:00,gpus=1,cpus-per-task=8,mem=32G.",
        identity=False,
    )
    status: bool = flag(
        False, "Print what became of each job, and run and submit nothing.", identity=False
    )


DEVICES = ("precision", "compilation_cache", "cpu_devices", *LAUNCH, "checkpoint_seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing(Machine):
    """How figures look."""

    style: tuple[str, ...] = flag(
        (),
        "Matplotlib styles to apply after mcjax's own: names or .mplstyle files. "
        "mcjax.one_column makes figures one column wide. A finished run is redrawn.",
        identity=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measuring(Drawing):
    """What to measure along a curve or on a surface."""

    splits: tuple[str, ...] = flag(
        ("train", "validation"),
        "Splits to evaluate on: train, and any of validation and test. For modes trained with "
        "--use_test, validation already means the test images.",
        evaluation=True,
    )
    metrics: str | None = flag(
        None,
        "Metrics to measure besides the modes' own, with commas between: error, ece (calibration "
        "error), top5_accuracy (any number), class_accuracy, perplexity, or your own: "
        "package.module:function of (logits, batch) returns a value per example, "
        "package.module:metric is an mcjax.engine.metrics.Metric, package.module:factory of a "
        "model returns an mcjax.engine.objectives.Objective.",
        evaluation=True,
    )
    save_logits: tuple[str, ...] = flag(
        (),
        "Splits on which to save the logits of all examples at every point, in WORKDIR/logits; "
        "their size is printed first.",
        evaluation=True,
    )
    also_evaluate: tuple[str, ...] = flag(
        (),
        "Further data to evaluate on, each [NAME=]DATA[+OPTION=VALUE]... with DATA one of train, "
        "validation and test, or another --dataset, of which split=SPLIT is used, by default its "
        "test images. label=3 or 0/1/8 keeps classes, indices=FILE positions; noise=0.1, blur=1, "
        "contrast=0.5 and random_labels=0.2 corrupt, with seed=N. Example: "
        "test+noise=0.1,low=test+label=0/1/2,npz:FILE.",
        evaluation=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combining(Measuring):
    """Networks that are combined, and measured on common data."""

    allow_different: tuple[str, ...] = flag(
        (),
        "Flags of their data in which networks may differ: dataset, train_size, validation_size, "
        "use_test. The data, "
        "the normalization and batch norm's statistics are those of the first network.",
        identity=False,
    )
