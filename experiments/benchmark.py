"""Times mcjax against a PyTorch reference of the same work, side by side on this machine.

    python -m experiments.benchmark --workdir=runs/benchmark

Each round times every task once in mcjax and once in PyTorch, one right after the other, so that a
slow minute of the machine affects both. A ratio is mcjax's time over PyTorch's in the same round;
the table shows the median of these ratios and their range, and the ratio that mcjax aims at on two
CPU cores (the goal). Shares are relative to the rate of a matrix product measured in the same
rounds, and count the arithmetic of direct convolution (a fast algorithm can exceed 100 %). PyTorch
(``pip install torch``) is optional; it uses its faster memory format, and evaluates at its faster
batch size. On a GPU every task is timed in full float32 and with networks in bfloat16 (PyTorch:
autocast).

    python -m experiments.benchmark --quick --before=runs/before/benchmark.json

--quick times the two small networks, in less than two minutes on two CPU cores. --before takes the
file that an earlier run wrote to its --workdir, and prints a warning for each task whose time, as a
ratio to PyTorch's and to the matrix product's, is 20 % longer than in that file: ratios, because
the machine or its other work may differ.
"""

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcjax.engine import threads
from mcjax.flax import models

from .benchmarks.subjects import (
    BATCH,
    DTYPES,
    Net,
    Subject,
    Work,
    forward_flops,
    milliseconds,
    random_images,
    seconds_each,
    units,
)
from .cli import PRECISIONS, BenchmarkConfig, UsageError, main, say
from .runs import json_text, write_atomically

QUICK: dict[str, Any] = {"nets": ("digits", "quarter"), "rounds": 3, "seconds": 0.5}
"""Flags that --quick sets."""
SLOWER = 1.2
"""A task is slower than before if its ratio is so many times as high."""
CURVES = 6
"""Curves trained at once."""


NETS = {
    "vgg16": Net("VGG16 full, 32x32", "vgg16", 1.0, (32, 32, 3), 1000),
    "quarter": Net("VGG16 width 1/4, 32x32", "vgg16", 0.25, (32, 32, 3), 1000),
    "digits": Net("digits net of the quickstart", "vgg7", 1.0, (8, 8, 1), 1797),
}


class Task(NamedTuple):
    """A row of the table.

    Attributes:
      title: of the row.
      net: one of `NETS`.
      ours: the work in mcjax.
      other: the work that it is compared with, or None.
      against: the name of that.
      goal: the ratio to reach on two CPU cores.
      flops: multiplications and additions per unit, by direct convolution.
      at_once: units that mcjax does at the same time.
    """

    title: str
    net: str
    ours: Work
    other: Work | None
    against: str
    goal: float
    flops: float
    at_once: int = 1


class Timing(NamedTuple):
    """A task in one round: seconds per unit, and the matrix product's flops per second."""

    ours: float
    other: float | None
    rate: float


def run(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Times everything, prints the table, and writes ``benchmark.json`` and ``benchmark.md``.

    Returns:
      A row per task, as in ``benchmark.json``.

    Raises:
      UsageError: a net is unknown, --rounds or --seconds is not positive, or the file of --before
        cannot be read.
    """
    if config.quick:
        config = dataclasses.replace(config, **QUICK)
    if unknown := sorted(set(config.nets) - set(NETS)):
        raise UsageError(f"--nets={unknown[0]}: there are {', '.join(NETS)}")
    if config.rounds < 1 or config.seconds <= 0:
        raise UsageError("--rounds and --seconds must be positive")
    before = _read(config.before) if config.before else []
    folder = Path(config.workdir) if config.workdir else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    on_gpu = jax.default_backend() != "cpu"
    rows = []
    for precision in ("float32", "bf16") if on_gpu else ("float32",):
        with jax.default_matmul_precision(PRECISIONS[precision]):
            for net in config.nets:
                rows += _time_net(net, precision, config)
    table = markdown(rows)
    print(table)
    if config.before:
        print("\n".join(compared(rows, before, config.before)))
    if folder:
        write_atomically(folder / "benchmark.json", json_text.dumps(rows, indent=1) + "\n")
        write_atomically(folder / "benchmark.md", table + "\n")
        say(f"written: {folder / 'benchmark.json'}")
    return rows


def _read(file: str) -> list[dict[str, Any]]:
    """The rows of an earlier ``benchmark.json``."""
    try:
        rows = json.loads(Path(file).read_bytes())
        _by_work(rows)
    except OSError as error:
        raise UsageError(f"--before={file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise UsageError(f"--before={file} is not a benchmark.json of this command") from None
    return rows


def compared(rows: list[dict[str, Any]], before: list[dict[str, Any]], file: str) -> list[str]:
    """A warning for each row that is `SLOWER` than before by all its ratios, and their number.

    Args:
      rows: of ``benchmark.json``.
      before: rows of an earlier one.
      file: its name.
    """
    earlier, lines, found = _by_work(before), list[str](), 0
    for (work, precision), costs in _by_work(rows).items():
        then = earlier.get((work, precision), {})
        ratios = {name: costs[name] / then[name] for name in costs.keys() & then.keys()}
        found += bool(ratios)
        if ratios and min(ratios.values()) > SLOWER:
            times = " and ".join(f"{ratios[n]:.2f} times, against {n}" for n in sorted(ratios))
            lines.append(f"warning: {work}, {precision}: slower than before: {times}")
    share = f"{100 * (SLOWER - 1):.0f} %"
    summary = f"{len(lines)} of {found} rows that {file} has, too, are {share} slower"
    return [*lines, summary]


def _by_work(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    return {(row["work"], row["precision"]): _costs(row) for row in rows}


def _costs(row: dict[str, Any]) -> dict[str, float]:
    """The time of a row in proportion to other work: the matrix product, and what it is against."""
    own = {"the matrix product": 1 / row["share"]}
    ratios = row["ratios"]
    return own | {row["against"]: statistics.median(ratios)} if ratios else own


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the rows, in Markdown."""
    lines = [
        machine(),
        "",
        "| work | precision | mcjax, ms | compared with, ms | ratio: median (range) | goal "
        "| share of the measured matrix product: mcjax, PyTorch |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        other, ratio, shares = "-", "-", f"{100 * row['share']:.0f} %"
        if row["ratios"]:
            low, high = min(row["ratios"]), max(row["ratios"])
            other = f"{row['against']} {milliseconds(row['other_ms'])}"
            ratio = f"{statistics.median(row['ratios']):.2f} ({low:.2f} to {high:.2f})"
            if row["against"] == "PyTorch":
                shares += f", {100 * row['other_share']:.0f} %"
        lines.append(
            f"| {row['work']} | {row['precision']} | {milliseconds(row['ms'])} | {other} "
            f"| {ratio} | {row['goal']} | {shares} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """The machine and the versions, in one line."""
    device = jax.devices()[0]
    what = _processor() if device.platform == "cpu" else device.device_kind
    torch = _torch()
    words = f"{what}, {threads.cores()} CPU cores, JAX {jax.__version__}"
    return words + (f", PyTorch {torch.__version__}" if torch else ", no PyTorch")


def _processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _torch() -> ModuleType | None:
    """PyTorch, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def _time_net(name: str, precision: str, config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Times the tasks of a net; returns their rows."""
    say(f"{NETS[name].title}, {precision}: compiling")
    tasks = _tasks(name, precision)
    matmul = _matmul(DTYPES[precision])
    counts = [
        (units(t.ours, config.seconds, t.at_once), units(t.other, config.seconds) if t.other else 0)
        for t in tasks
    ]
    timings: list[list[Timing]] = [[] for _ in tasks]
    for number in range(config.rounds):
        for task, count, rounds in zip(tasks, counts, timings, strict=True):
            rate = matmul()
            other = seconds_each(task.other, count[1]) if task.other else None
            rounds.append(Timing(seconds_each(task.ours, count[0]), other, rate))
        say(f"{NETS[name].title}, {precision}: round {number + 1} of {config.rounds}")
    return [_row(task, precision, rounds) for task, rounds in zip(tasks, timings, strict=True)]


def _row(task: Task, precision: str, rounds: list[Timing]) -> dict[str, Any]:
    """The row of a task, with medians over the rounds."""
    ours = statistics.median(x.ours for x in rounds)
    others = [x.other for x in rounds if x.other is not None]
    other = statistics.median(others) if others else None
    rate = statistics.median(x.rate for x in rounds)
    return {
        "work": task.title,
        "precision": precision,
        "ms": 1e3 * ours,
        "against": task.against,
        "other_ms": other and 1e3 * other,
        "ratios": [x.ours / x.other for x in rounds if x.other],
        "goal": task.goal,
        "flops": task.flops,
        "matmul_flops_per_second": rate,
        "share": task.flops / ours / rate,
        "other_share": other and task.flops / other / rate,
    }


def _matmul(dtype: Any) -> Callable[[], float]:
    """A function that measures the flops per second of a large square matrix product."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(x, x))

    def rate() -> float:
        began = time.perf_counter()
        results = [product(x, x) for _ in range(3)]
        jax.block_until_ready(results)
        return 2.0 * size**3 / ((time.perf_counter() - began) / 3)

    return rate


def _tasks(name: str, precision: str) -> list[Task]:
    """The tasks of a net, compiled for a precision."""
    net = NETS[name]
    ours = Subject(net, precision)
    reference = _reference(net, precision) if _torch() else None
    forward = forward_flops(ours.model, net.shape)
    step = 3 * forward * BATCH

    def theirs(work: Callable[[Any, int], Any]) -> Work | None:
        return (lambda count: work(reference, count)) if reference else None

    tasks = [
        Task(f"curve step, {net.title}, batch {BATCH}", name, ours.curve_steps,
             theirs(lambda r, n: r.steps(n, BATCH, True)), "PyTorch", GOALS[name][0], step),
        Task(f"training step, {net.title}, batch {BATCH}", name, ours.plain_steps,
             theirs(lambda r, n: r.steps(n, BATCH, False)), "PyTorch", GOALS[name][0], step),
        Task(f"a point of a surface, {net.title}, {net.examples} images", name, ours.points,
             theirs(lambda r, n: [r.surface_point() for _ in range(n)]), "PyTorch",
             GOALS[name][1], forward * net.examples, ours.points_at_once),
        Task(f"curve step against training step, {net.title}", name, ours.curve_steps,
             ours.plain_steps, "training step", 1.05, step),
    ]  # fmt: skip
    if name == "digits":
        several = Subject(net, precision, CURVES)
        tasks += [
            Task(f"a step of {CURVES} curves at once, {net.title}", name, several.curve_steps,
                 theirs(lambda r, n: r.steps(CURVES * n, BATCH, True)), "PyTorch", 0.4,
                 CURVES * step),
            Task(f"{CURVES} curves at once against one after another, {net.title}", name,
                 several.curve_steps, lambda n: ours.curve_steps(CURVES * n), "one by one", 0.7,
                 CURVES * step),
        ]  # fmt: skip
    return tasks


GOALS = {"vgg16": (0.8, 0.8), "quarter": (1.0, 0.8), "digits": (0.5, 0.8)}
"""Goals for the ratio to PyTorch on two CPU cores: of a step, and of a point of a surface."""


def _reference(net: Net, precision: str) -> Any:
    """The PyTorch reference in its faster memory format, with its faster batch size."""
    from .benchmarks import torch_reference

    images, labels = random_images(net)
    floats = (images.astype(np.float32) / 255 - 0.5) / 0.25
    model: Any = models.create(net.model, num_classes=10, width=net.width)
    stages, dense = model.stages, model.dense
    scaled = lambda numbers: [round(n * net.width) for n in numbers]  # noqa: E731
    found = []
    for channels_last in (True, False):
        reference = torch_reference.Reference(
            lambda: torch_reference.vgg(
                [scaled(s) for s in stages], scaled(dense), net.shape, model.dropout
            ),
            floats,
            labels,
            channels_last,
            half=precision == "bf16",
        )
        reference.steps(2, BATCH, True)
        step = lambda n, r=reference: r.steps(n, BATCH, True)  # noqa: E731
        took = min(seconds_each(step, 2) for _ in range(3))
        found.append((took, reference))
    fastest = min(found, key=lambda pair: pair[0])[1]
    fastest.choose_evaluation_batch((BATCH, 500))
    return fastest


if __name__ == "__main__":
    main(BenchmarkConfig, run, __doc__)
