"""Times the forms of a 3x3 convolution on this CPU and prints the table by which mcjax chooses.

    python -m experiments.convolution_table --write

Each number is a step in a jitted loop, batch 100: the forward pass and both gradients (for images
of up to three channels, a network's input, the kernel's gradient alone). --write puts the table
into mcjax/models/convolution_table.py, from where `mcjax.models.convolution.choose` reads it.
"""

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from experiments import command
from experiments.config import Machine, UsageError, flag
from mcjax.models import convolution

BATCH = 100
SHAPES = (
    (32, 3, 64), (32, 3, 16), (32, 8, 8), (32, 16, 16), (32, 32, 32), (32, 64, 64), (16, 1, 32),
    (16, 16, 16), (16, 32, 32), (16, 128, 128), (8, 1, 32), (8, 8, 16), (8, 32, 32), (8, 256, 256),
    (4, 64, 64), (4, 512, 512), (2, 128, 128), (2, 512, 512), (1, 64, 64), (1, 512, 512),
)  # fmt: skip
FIRST_LAYER = 3
"""Images of so few channels are a network's input and need no gradient."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig(Machine):
    """The table of convolutions."""

    write: bool = flag(False, "Put the table into the package's source.")
    seconds: float = flag(1.0, "Length of all measurements of one form at one shape.")


def run(config: TableConfig) -> dict[tuple[int, int, int], dict[str, float]]:
    """Times every form at every shape.

    Returns:
      Milliseconds by (pixels a side, channels in, channels out) and form.

    Raises:
      UsageError: this is no CPU.
    """
    if jax.default_backend() != "cpu":
        raise UsageError("only CPUs choose among forms; GPU and TPU keep lax's convolution")
    table = {}
    for shape in SHAPES:
        table[shape] = milliseconds(shape, config.seconds)
        print(shape, ", ".join(f"{name} {ms:.3g} ms" for name, ms in table[shape].items()))
    if config.write:
        path = Path(convolution.__file__).with_name("convolution_table.py")
        path.write_text(source(table))
        print(f"written: {path}")
    return table


def milliseconds(shape: tuple[int, int, int], seconds: float) -> dict[str, float]:
    """A step in every form, in turns; the fastest of seven of each counts."""
    steps = {name: _step(form, *shape) for name, form in convolution.FORMS.items()}
    counts = {name: max(1, round(seconds / 7 / step(2))) for name, step in steps.items()}
    turns = [{name: step(counts[name]) for name, step in steps.items()} for _ in range(7)]
    return {name: 1e3 * min(turn[name] for turn in turns) for name in steps}


def _step(form, size, channels, features):
    """``count -> seconds`` a step: forward and the gradients in kernel and, inside, image."""
    images = jax.random.normal(jax.random.key(0), (BATCH, size, size, channels))
    kernel = 0.05 * jax.random.normal(jax.random.key(1), (3, 3, channels, features))
    weights = jax.random.normal(jax.random.key(2), (BATCH, size, size, features))
    inner = channels > FIRST_LAYER

    def loss(images, kernel, weights):
        return jnp.sum(jnp.square(form(images, kernel)) * weights)

    @jax.jit
    def repeat(count, images, kernel, weights):
        def step(_, carry):  # every step has other images, so that nothing can leave the loop
            images, kernel = carry
            gradients = jax.grad(loss, (0, 1) if inner else (1,))(images, kernel, weights)
            moved = images - 1e-9 * gradients[0] if inner else -images
            return moved, kernel - 1e-9 * gradients[-1]

        return jax.lax.fori_loop(0, count, step, (images, kernel))

    def once(count):
        began = time.perf_counter()
        jax.block_until_ready(repeat(count, images, kernel, weights))
        return (time.perf_counter() - began) / count

    once(1)
    return once


def source(table: dict[tuple[int, int, int], dict[str, float]]) -> str:
    """The module's text."""
    rows = "".join(
        f"    {shape}: {{{', '.join(f'{n!r}: {ms:.3g}' for n, ms in found.items())}}},\n"
        for shape, found in table.items()
    )
    return SOURCE.replace("ROWS", rows).replace("'", '"')


SOURCE = '''"""Times of a 3x3 convolution on CPU, by form; written by convolution_table --write."""

MILLISECONDS: dict[tuple[int, int, int], dict[str, float]] = {
ROWS}
"""A step of batch 100 by (pixels a side, channels in, channels out); lower is better."""
'''


if __name__ == "__main__":
    command.main(TableConfig, run, __doc__)
