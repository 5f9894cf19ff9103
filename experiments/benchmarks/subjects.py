"""Networks and their work in mcjax, to be timed."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mcjax import curves, data
from mcjax.data import batches
from mcjax.engine import evaluation, objectives, parallel, schedules, training
from mcjax.flax import models
from mcjax.flax.objective import cross_entropy

BATCH = 100
"""Examples per step."""
LONGEST = 256
"""The maximal number of units in one measurement."""
DTYPES = {"float32": jnp.float32, "bf16": jnp.bfloat16}


class Work(Protocol):
    """Work that can be repeated."""

    def __call__(self, count: int, /) -> Any:
        """Does ``count`` units of the work, and waits for them."""
        ...


class Net(NamedTuple):
    """A network and the shape of the random data that it is timed on."""

    title: str
    model: str
    width: float
    shape: tuple[int, int, int]
    examples: int


class Subject:
    """The work in mcjax on a net: curve steps, plain steps, points of a surface.

    Args:
      net: the network.
      precision: one of `DTYPES`.
      runs: the number of runs to train at once; None for one, without a leading axis.
      devices: by default all.
    """

    def __init__(
        self,
        net: Net,
        precision: str,
        runs: int | None = None,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        mesh = parallel.make_mesh(devices)
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
        """Trains the curve, or all curves, for some steps."""
        self.curve_state = self._steps(self.curve, self.curve_state, self.ends, count)

    def plain_steps(self, count: int) -> None:
        """Trains the mode for some steps."""
        self.plain_state = self._steps(self.plain, self.plain_state, (), count)

    def _steps(
        self, trainer: training.Trainer, state: training.TrainState, fixed: Any, count: int
    ) -> training.TrainState:
        state, *_ = trainer.run(state, fixed, self.data, self.rows, self.rows, self.key, count)
        return jax.block_until_ready(state)

    @property
    def points_at_once(self) -> int:
        """Points of a surface that are evaluated at the same time."""
        return self.evaluator.points_per_call * self.evaluator.at_once

    def points(self, count: int) -> None:
        """Evaluates points of the plane through three networks."""
        coefficients = np.random.default_rng(0).dirichlet(np.ones(3), count)
        bend = self.curve_state.params[0]
        self.evaluator((self.ends[0], bend, self.ends[1]), coefficients, {})


def random_images(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Random uint8 images ``[N, H, W, C]`` and int32 labels ``[N]`` of ten classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (net.examples, *net.shape), dtype=np.uint8)
    return images, rng.integers(0, 10, net.examples).astype(np.int32)


def forward_flops(model: nn.Module, shape: tuple[int, int, int]) -> float:
    """Multiplications and additions of a forward pass over one image, by direct convolution."""
    total: list[float] = []

    def count(
        next_call: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        result = next_call(*args, **kwargs)
        if isinstance(context.module, nn.Conv | nn.Dense) and context.method_name == "__call__":
            kernel = context.module.variables["params"]["kernel"].shape
            total.append(2.0 * np.prod(result.shape) * np.prod(kernel[:-1]))
        return result

    with nn.intercept_methods(count):
        jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, *shape)), False), jax.random.key(0))
    return sum(total)


def seconds_each(work: Work, count: int) -> float:
    """Does ``count`` units of work; returns the seconds of one."""
    began = time.perf_counter()
    work(count)
    return (time.perf_counter() - began) / count


def milliseconds(ms: float) -> str:
    """A time for a table, with three significant digits and all of its integer part."""
    return f"{ms:.3g}" if ms < 100 else f"{ms:,.0f}"


def units(work: Work, seconds: float, at_once: int = 1) -> int:
    """The number of units that take about so many seconds; the first ones compile.

    Args:
      work: the work.
      seconds: how long to measure.
      at_once: units done at the same time, which the result is a multiple of.
    """
    work(at_once)
    once = seconds_each(work, at_once)
    return at_once * max(1, min(LONGEST // at_once, round(seconds / once / at_once)))
