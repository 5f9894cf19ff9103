"""Times mcjax against a PyTorch reference of the same work, side by side on this machine.

    python -m experiments.benchmark --workdir=runs/benchmark

Each round times every work once in mcjax and once in PyTorch, one after the other, so that a slow
minute of the machine strikes both. A ratio is mcjax's time over PyTorch's in the same round; the
table gives the median over the rounds and their range. Shares are of the rate of a matrix product
measured in the same rounds, counted in the arithmetic of direct convolution (a fast algorithm can
exceed 100 %). PyTorch (``pip install torch``) is optional; it runs in the memory format, and
evaluates at the batch size, that is faster for it. On a GPU every work is timed in full float32 and
with networks in bfloat16 (PyTorch: by autocast).
"""

import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, data
from mcjax.data import batches
from mcjax.engine import evaluation, objectives, parallel, schedules, training
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

from .cli import PRECISIONS, BenchmarkConfig, UsageError, cores, main, say
from .runs import json_text, write_atomically

BATCH = 100
LONGEST = 256
CURVES = 6
DTYPES = {"float32": jnp.float32, "bf16": jnp.bfloat16}


class Net(NamedTuple):
    """A network and random data of the shape it is timed on."""

    title: str
    model: str
    width: float
    shape: tuple[int, int, int]
    examples: int


NETS = {
    "vgg16": Net("VGG16 full, 32x32", "vgg16", 1.0, (32, 32, 3), 1000),
    "quarter": Net("VGG16 width 1/4, 32x32", "vgg16", 0.25, (32, 32, 3), 1000),
    "digits": Net("digits net of the quickstart", "vgg7", 1.0, (8, 8, 1), 1797),
}


class Work(NamedTuple):
    """A row of the table.

    Attributes:
      title: what is done.
      net: on which of `NETS`.
      ours: ``count -> None``, that many units of work in mcjax.
      other: likewise in what it is compared with, or None.
      against: what that is.
      goal: the ratio to reach on two CPU cores.
      flops: of a unit, in the arithmetic of direct convolution.
    """

    title: str
    net: str
    ours: Callable[[int], Any]
    other: Callable[[int], Any] | None
    against: str
    goal: float
    flops: float


def run(config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Times everything, prints the table, and writes ``benchmark.json`` and ``benchmark.md``.

    Returns:
      A row for each work, as in ``benchmark.json``.

    Raises:
      UsageError: an unknown net, or no rounds.
    """
    if strange := sorted(set(config.nets) - set(NETS)):
        raise UsageError(f"--nets={strange[0]}: there are {', '.join(NETS)}")
    if config.rounds < 1 or config.seconds <= 0:
        raise UsageError("--rounds and --seconds are above zero")
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
    if folder:
        write_atomically(folder / "benchmark.json", json_text.dumps(rows, indent=1) + "\n")
        write_atomically(folder / "benchmark.md", table + "\n")
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the rows, for a README."""
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
            other = f"{row['against']} {row['other_ms']:.3g}"
            ratio = f"{statistics.median(row['ratios']):.2f} ({low:.2f} to {high:.2f})"
            if row["against"] == "PyTorch":
                shares += f", {100 * row['other_share']:.0f} %"
        lines.append(
            f"| {row['work']} | {row['precision']} | {row['ms']:.3g} | {other} | {ratio} "
            f"| {row['goal']} | {shares} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """The machine and the versions, in a line."""
    device = jax.devices()[0]
    what = _processor() if device.platform == "cpu" else device.device_kind
    torch = _torch()
    words = f"{what}, {cores()} CPU cores, JAX {jax.__version__}"
    return words + (f", PyTorch {torch.__version__}" if torch else ", no PyTorch")


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _torch():
    try:
        import torch
    except ImportError:
        return None
    return torch


def _time_net(name, precision, config):
    """Rows of a net's works."""
    say(f"{NETS[name].title}, {precision}: compiling")
    works = _works(name, precision)
    gemm = _matmul(DTYPES[precision])
    counts = [(_count(w.ours, config), w.other and _count(w.other, config)) for w in works]
    times: list[list[tuple[float, float | None, float]]] = [[] for _ in works]
    for number in range(config.rounds):
        for work, count, found in zip(works, counts, times, strict=True):
            flops, seconds = gemm()
            other = _seconds(work.other, count[1]) if work.other and count[1] else None
            found.append((_seconds(work.ours, count[0]), other, flops / seconds))
        say(f"{NETS[name].title}, {precision}: round {number + 1} of {config.rounds}")
    return [_row(w, precision, found) for w, found in zip(works, times, strict=True)]


def _row(work, precision, found):
    ours = statistics.median(x[0] for x in found)
    other = statistics.median(x[1] for x in found) if work.other else None
    rate = statistics.median(x[2] for x in found)
    return {
        "work": work.title,
        "precision": precision,
        "ms": 1e3 * ours,
        "against": work.against,
        "other_ms": other and 1e3 * other,
        "ratios": [x[0] / x[1] for x in found if x[1]],
        "goal": work.goal,
        "flops": work.flops,
        "matmul_flops_per_second": rate,
        "share": work.flops / ours / rate,
        "other_share": other and work.flops / other / rate,
    }


def _seconds(work, count):
    """Seconds a unit of work."""
    began = time.perf_counter()
    work(count)
    return (time.perf_counter() - began) / count


def _count(work, config):
    """Units that take about ``--seconds``."""
    work(1)
    once = _seconds(work, 1)
    return max(1, min(LONGEST, round(config.seconds / once)))


def _matmul(dtype):
    """``() -> (flops, seconds)`` of one large square matrix product."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(x, x))

    def once():
        began = time.perf_counter()
        results = [product(x, x) for _ in range(3)]
        jax.block_until_ready(results)
        return 2.0 * size**3, (time.perf_counter() - began) / 3

    return once


def _works(name, precision):
    net = NETS[name]
    ours = Subject(net, precision)
    reference = _reference(net, precision) if _torch() else None
    forward = forward_flops(ours.model, net.shape)
    step = 3 * forward * BATCH

    def theirs(work):
        return (lambda count: work(reference, count)) if reference else None

    works = [
        Work(f"curve step, {net.title}, batch {BATCH}", name, ours.curve_steps,
             theirs(lambda r, n: r.steps(n, BATCH, True)), "PyTorch", GOALS[name][0], step),
        Work(f"training step, {net.title}, batch {BATCH}", name, ours.plain_steps,
             theirs(lambda r, n: r.steps(n, BATCH, False)), "PyTorch", GOALS[name][0], step),
        Work(f"a point of a surface, {net.title}, {net.examples} images", name, ours.points,
             theirs(lambda r, n: [r.surface_point() for _ in range(n)]), "PyTorch",
             GOALS[name][1], forward * net.examples),
        Work(f"curve step against training step, {net.title}", name, ours.curve_steps,
             ours.plain_steps, "training step", 1.05, step),
    ]  # fmt: skip
    if name == "digits":
        several = Subject(net, precision, CURVES)
        works.append(
            Work(f"a step of {CURVES} curves at once, {net.title}", name, several.curve_steps,
                 theirs(lambda r, n: r.steps(CURVES * n, BATCH, True)), "PyTorch", 0.4,
                 CURVES * step)
        )  # fmt: skip
    return works


GOALS = {"vgg16": (0.8, 0.8), "quarter": (1.0, 0.8), "digits": (0.5, 0.4)}
"""Ratios to PyTorch to reach on two CPU cores: of a step, and of a point of a surface."""


class Subject:
    """mcjax at work on a net: curve steps, plain steps, points of a surface."""

    def __init__(self, net: Net, precision: str, runs: int | None = None):
        mesh = parallel.make_mesh()
        axis = parallel.DATA_AXIS
        self.model = models.create(net.model, num_classes=10, width=net.width, axis_name=axis)
        init = jax.jit(lambda key: self.model.init(key, jnp.zeros((1, *net.shape)), False))
        keys = jax.random.split(jax.random.key(0), (runs or 1, 3))
        each = [[init(key)["params"] for key in three] for three in keys]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) if runs else each[0]
        if runs:
            mesh = parallel.with_rows(mesh, math.gcd(runs, mesh.size))
        place = parallel.split if runs else parallel.replicate
        self.ends = place((stacked[0], stacked[2]), mesh)
        self.data = parallel.replicate(data.Split(*random_images(net)), mesh)
        objective = cross_entropy(self.model, DTYPES[precision])
        fetch = batches.image_batches(np.full(net.shape[2], 0.5), np.full(net.shape[2], 0.25))
        penalised = objectives.with_l2(objective, 5e-4)
        options: dict[str, Any] = {"size": net.examples, "batch_size": BATCH, "mesh": mesh}
        optimizer = schedules.optimizer("sgd", lambda _: 1e-3)
        make = lambda train: training.make_trainer(train, fetch, optimizer, **options, runs=runs)  # noqa: E731
        self.curve = make(objectives.on_curve(curves.polygonal_chain(1), penalised))
        self.plain = make(objectives.at_point(penalised))
        self.curve_state = self.curve.init((stacked[1],), self.ends, {}, self.data)
        self.plain_state = self.plain.init(stacked[1], (), {}, self.data)
        self.evaluator = evaluation.Evaluator(objective, fetch, {"train": self.data}, mesh)
        rows = np.random.default_rng(0).integers(0, net.examples, (runs or 1, LONGEST * BATCH))
        self.rows = (rows if runs else rows[0]).astype(np.int32)
        key = jax.random.key(1)
        self.key = jax.random.split(key, runs) if runs else key

    def curve_steps(self, count: int) -> None:
        """Steps of the curve (of all curves, where there are several)."""
        self.curve_state = self._steps(self.curve, self.curve_state, self.ends, count)

    def plain_steps(self, count: int) -> None:
        """Steps of a mode."""
        self.plain_state = self._steps(self.plain, self.plain_state, (), count)

    def _steps(self, trainer, state, fixed, count):
        state, *_ = trainer.run(state, fixed, self.data, self.rows, self.rows, self.key, count)
        return jax.block_until_ready(state)

    def points(self, count: int) -> None:
        """Points of the plane through three networks."""
        coefficients = np.random.default_rng(0).dirichlet(np.ones(3), count)
        bend = self.curve_state.params[0]
        self.evaluator((self.ends[0], bend, self.ends[1]), coefficients, {})


def random_images(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images and labels of ten classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (net.examples, *net.shape), dtype=np.uint8)
    return images, rng.integers(0, 10, net.examples).astype(np.int32)


def _reference(net, precision):
    """The PyTorch reference in its faster memory format, and at its faster batch."""
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
        took = min(_seconds(lambda n, r=reference: r.steps(n, BATCH, True), 2) for _ in range(3))
        found.append((took, reference))
    fastest = min(found, key=lambda pair: pair[0])[1]
    fastest.choose_evaluation_batch((BATCH, 500))
    return fastest


def forward_flops(model: nn.Module, shape: tuple[int, int, int]) -> float:
    """Multiplications and additions of a forward pass over one image, by direct convolution."""
    total = []

    def count(next_call, args, kwargs, context):
        result = next_call(*args, **kwargs)
        if isinstance(context.module, nn.Conv | nn.Dense) and context.method_name == "__call__":
            kernel = context.module.variables["params"]["kernel"].shape
            total.append(2.0 * np.prod(result.shape) * np.prod(kernel[:-1]))
        return result

    with nn.intercept_methods(count):
        jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, *shape)), False), jax.random.key(0))
    return sum(total)


if __name__ == "__main__":
    main(BenchmarkConfig, run, __doc__)
