"""Times the forms of a 3x3 convolution on this CPU and prints the table by which mcjax chooses.

    python -m experiments.convolution_table --write

Each number is a pass in a jitted loop, batch 100: forward, and a step, forward and both gradients
(for images of up to three channels, a network's input, the kernel's gradient alone). --write puts
the tables into mcjax/flax/ops/convolution_table.py, where `mcjax.flax.ops.convolution.choose`
reads.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mcjax.flax.ops import convolution

from .cli import LAUNCH, Machine, UsageError, flag, main

BATCH = 100
SHAPES = (
    (32, 3, 64), (32, 3, 16), (32, 8, 8), (32, 16, 16), (32, 32, 32), (32, 64, 64), (16, 1, 32),
    (16, 16, 16), (16, 16, 32), (16, 32, 32), (16, 64, 128), (16, 128, 128), (8, 1, 32), (8, 8, 16),
    (8, 32, 32), (8, 32, 64), (8, 256, 256), (4, 64, 64), (4, 512, 512), (2, 128, 128),
    (2, 512, 512), (1, 64, 64), (1, 512, 512),
)  # fmt: skip
Shape = tuple[int, int, int]
Table = dict[Shape, dict[str, float]]
FIRST_LAYER = 3
"""Images of so few channels are a network's input and need no gradient."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig(Machine):
    """The table of convolutions."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "data_dir", "precision", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    write: bool = flag(False, "Put the table into the package's source.")
    seconds: float = flag(1.0, "Length of all measurements of one form at one shape.")


def run(config: TableConfig) -> tuple[Table, Table]:
    """Times every form at every shape.

    Returns:
      Milliseconds by (pixels a side, channels in, channels out) and form: forward, and a step.

    Raises:
      UsageError: this is no CPU.
    """
    if jax.default_backend() != "cpu":
        raise UsageError("the table is for CPUs alone; run it with JAX_PLATFORMS=cpu")
    tables: tuple[Table, Table] = ({}, {})
    for shape in SHAPES:
        for table, work, what in zip(tables, (_forward, _step), ("forward", "step"), strict=True):
            table[shape] = milliseconds(work, shape, config.seconds)
            found = ", ".join(f"{name} {ms:.3g} ms" for name, ms in table[shape].items())
            print(f"{shape} {what}: {found}")
    if config.write:
        path = Path(convolution.__file__).with_name("convolution_table.py")
        path.write_text(source(*tables))
        print(f"written: {path}")
    return tables


def milliseconds(work: Callable[..., Any], shape: Shape, seconds: float) -> dict[str, float]:
    """A pass in every form, in turns; the fastest of seven of each counts."""
    forms = {n: f for n, f in convolution.FORMS.items() if n != "lax" or work is _forward}
    passes = {name: work(form, *shape) for name, form in forms.items()}
    counts = {name: max(1, round(seconds / 7 / once(2))) for name, once in passes.items()}
    turns = [{name: once(counts[name]) for name, once in passes.items()} for _ in range(7)]
    return {name: 1e3 * min(turn[name] for turn in turns) for name in passes}


def _forward(form, size, channels, features):
    """``count -> seconds`` a forward pass."""
    images, kernel, _ = _draw(size, channels, features)

    @jax.jit
    def repeat(count, images, kernel):
        def again(_, carry):  # every pass has other images, so that nothing can leave the loop
            images, total = carry
            output = jax.nn.relu(form(images, kernel))
            return images.at[0, 0, 0, 0].add(output[0, 0, 0, 0]), total + output

        start = (images, jnp.zeros((*images.shape[:3], features)))
        return jax.lax.fori_loop(0, count, again, start)

    return _timed(repeat, images, kernel)


def _step(form, size, channels, features):
    """``count -> seconds`` a step: forward and the gradients in kernel and, inside, image."""
    images, kernel, weights = _draw(size, channels, features)
    inner = channels > FIRST_LAYER

    def loss(images, kernel, weights):
        return jnp.sum(jnp.square(form(images, kernel)) * weights)

    @jax.jit
    def repeat(count, images, kernel, weights):
        def again(_, carry):
            images, kernel = carry
            gradients = jax.grad(loss, (0, 1) if inner else (1,))(images, kernel, weights)
            moved = images - 1e-9 * gradients[0] if inner else -images
            return moved, kernel - 1e-9 * gradients[-1]

        return jax.lax.fori_loop(0, count, again, (images, kernel))

    return _timed(repeat, images, kernel, weights)


def _draw(size, channels, features):
    images = jax.random.normal(jax.random.key(0), (BATCH, size, size, channels))
    kernel = 0.05 * jax.random.normal(jax.random.key(1), (3, 3, channels, features))
    weights = jax.random.normal(jax.random.key(2), (BATCH, size, size, features))
    return images, kernel, weights


def _timed(repeat, *args):
    def once(count):
        began = time.perf_counter()
        jax.block_until_ready(repeat(count, *args))
        return (time.perf_counter() - began) / count

    once(1)
    return once


def source(forward: Table, step: Table) -> str:
    """The module's text."""

    def rows(table):
        entries = lambda found: ", ".join(f"{n!r}: {ms:.3g}" for n, ms in found.items())  # noqa: E731
        return "".join(f"    {shape}: {{{entries(found)}}},\n" for shape, found in table.items())

    text = SOURCE.replace("FORWARD_ROWS", rows(forward)).replace("STEP_ROWS", rows(step))
    return text.replace("'", '"')


SOURCE = '''"""Times of a 3x3 convolution on CPU, by form; written by convolution_table --write.

Milliseconds, batch 100, by (pixels a side, channels in, channels out); lower is better.
"""

FORWARD: dict[tuple[int, int, int], dict[str, float]] = {
FORWARD_ROWS}

STEP: dict[tuple[int, int, int], dict[str, float]] = {
STEP_ROWS}
'''


if __name__ == "__main__":
    main(TableConfig, run, __doc__)
