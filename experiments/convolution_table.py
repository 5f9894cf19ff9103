"""Times the forms of a 3x3 convolution on this CPU: the table from which mcjax chooses one.

    python -m experiments.convolution_table --write

Each number is the time of one pass in a jitted loop, batch 100: of a forward pass, and of a step,
forward and both gradients (for images of up to three channels, a network's input, the kernel's
gradient alone). --write writes the tables into mcjax/flax/ops/convolution_table.py, which
`mcjax.flax.ops.convolution.choose` reads.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, ClassVar, Protocol

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
"""Images of up to this many channels are a network's input and need no gradient."""


class Form(Protocol):
    """A form of the convolution, of `mcjax.flax.ops.convolution.FORMS`."""

    def __call__(self, images: jax.Array, kernel: jax.Array, /) -> jax.Array:
        """Convolves images ``[B, H, W, I]`` with a kernel ``[3, 3, I, O]``."""
        ...


class Pass(Protocol):
    """A compiled pass."""

    def __call__(self, count: int, /) -> float:
        """Repeats the pass ``count`` times; returns the seconds per pass."""
        ...


class Compile(Protocol):
    """Compiles a pass through one form: `_forward` or `_step`."""

    def __call__(self, form: Form, size: int, channels: int, features: int, /) -> Pass:
        """Compiles it for images ``[BATCH, size, size, channels]`` and as many features."""
        ...


class Repeat(Protocol):
    """A jitted loop."""

    def __call__(self, count: int, /, *args: jax.Array) -> Any:
        """Repeats a pass over some arrays ``count`` times."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig(Machine):
    """The table of convolutions."""

    unused: ClassVar[tuple[str, ...]] = (
        "workdir", "data_dir", "precision", *LAUNCH, "checkpoint_seconds",
    )  # fmt: skip
    resumes: ClassVar[bool] = False
    write: bool = flag(False, "Write the table into the package's source.")
    seconds: float = flag(1.0, "Length of all measurements of one form and shape, in seconds.")


def run(config: TableConfig) -> tuple[Table, Table]:
    """Times every form at every shape.

    Returns:
      Milliseconds by (pixels per side, channels in, channels out) and form: of a forward pass, and
      of a step.

    Raises:
      UsageError: JAX's default device is not a CPU.
    """
    if jax.default_backend() != "cpu":
        raise UsageError("the table is for CPUs; run this with JAX_PLATFORMS=cpu")
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


def milliseconds(work: Compile, shape: Shape, seconds: float) -> dict[str, float]:
    """Times a pass in every form, in turns; takes the fastest of seven measurements of each."""
    forms = {n: f for n, f in convolution.FORMS.items() if n != "lax" or work is _forward}
    passes = {name: work(form, *shape) for name, form in forms.items()}
    counts = {name: max(1, round(seconds / 7 / once(2))) for name, once in passes.items()}
    turns = [{name: once(counts[name]) for name, once in passes.items()} for _ in range(7)]
    return {name: 1e3 * min(turn[name] for turn in turns) for name in passes}


def _forward(form: Form, size: int, channels: int, features: int) -> Pass:
    """Compiles a forward pass."""
    images, kernel, _ = _draw(size, channels, features)

    @jax.jit
    def repeat(count: int, images: jax.Array, kernel: jax.Array) -> Any:
        def again(_: Any, carry: Any) -> Any:  # images change, so XLA can hoist nothing
            images, total = carry
            output = jax.nn.relu(form(images, kernel))
            return images.at[0, 0, 0, 0].add(output[0, 0, 0, 0]), total + output

        start = (images, jnp.zeros((*images.shape[:3], features)))
        return jax.lax.fori_loop(0, count, again, start)

    return _timed(repeat, images, kernel)


def _step(form: Form, size: int, channels: int, features: int) -> Pass:
    """Compiles a step: a forward pass, the kernel's gradient and, in inner layers, the images'."""
    images, kernel, weights = _draw(size, channels, features)
    inner = channels > FIRST_LAYER

    def loss(images: jax.Array, kernel: jax.Array, weights: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(form(images, kernel)) * weights)

    @jax.jit
    def repeat(count: int, images: jax.Array, kernel: jax.Array, weights: jax.Array) -> Any:
        def again(_: Any, carry: Any) -> Any:
            images, kernel = carry
            gradients = jax.grad(loss, (0, 1) if inner else (1,))(images, kernel, weights)
            moved = images - 1e-9 * gradients[0] if inner else -images
            return moved, kernel - 1e-9 * gradients[-1]

        return jax.lax.fori_loop(0, count, again, (images, kernel))

    return _timed(repeat, images, kernel, weights)


def _draw(size: int, channels: int, features: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Random images, kernel, and weights of the outputs."""
    images = jax.random.normal(jax.random.key(0), (BATCH, size, size, channels))
    kernel = 0.05 * jax.random.normal(jax.random.key(1), (3, 3, channels, features))
    weights = jax.random.normal(jax.random.key(2), (BATCH, size, size, features))
    return images, kernel, weights


def _timed(repeat: Repeat, *args: jax.Array) -> Pass:
    """Compiles the loop and returns a function that times it."""

    def once(count: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(repeat(count, *args))
        return (time.perf_counter() - began) / count

    once(1)
    return once


def source(forward: Table, step: Table) -> str:
    """The source of mcjax/flax/ops/convolution_table.py."""

    def rows(table: Table) -> str:
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
