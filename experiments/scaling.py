"""Measures how the cost grows with examples, points, parameters and devices, and draws it.

    python -m experiments.scaling --cpu_devices=8 --workdir=runs/scaling

Times are those of the digits net, its width and data varied, on one device. What devices send each
other is counted in the compiled programs, which fake devices on a CPU have as well.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mcjax import plots
from mcjax.engine import streams
from mcjax.paths import AnyPath

from .benchmarks.collectives import collectives
from .benchmarks.subjects import BATCH, Net, Subject, Work, milliseconds, seconds_each, units
from .cli import LAUNCH, Machine, UsageError, flag, main, say, show
from .runs import at, json_text, write_atomically

EXAMPLES = (500, 1000, 2000, 4000, 8000)
POINTS = (4, 8, 16, 32, 64)
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
DEVICES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScalingConfig(Machine):
    """Cost against size."""

    unused: ClassVar[tuple[str, ...]] = ("data_dir", "precision", *LAUNCH, "checkpoint_seconds")
    local: ClassVar[tuple[str, ...]] = ("workdir",)
    resumes: ClassVar[bool] = False
    workdir: str = flag("", "Folder to write scaling.json and the figure to. Required.")
    rounds: int = flag(5, "Number of measurements of each size; the medians are shown.")
    seconds: float = flag(0.5, "Length of one measurement in seconds.")


def run(config: ScalingConfig) -> dict[str, Any]:
    """Measures, prints the tables, writes ``scaling.json`` and draws ``figures/scaling``.

    Returns:
      What is in ``scaling.json``: ``times`` are lists of size and milliseconds, ``sent`` has a row
      per number of devices.

    Raises:
      UsageError: --workdir is missing, or --rounds or --seconds is not positive.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the folder of the figure")
    if config.rounds < 1 or config.seconds <= 0:
        raise UsageError("--rounds and --seconds must be positive")
    folder = at(config.workdir)
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "times": _times(config),
        "sent": [_sent(n) for n in DEVICES if n <= jax.device_count()],
    }
    write_atomically(folder / "scaling.json", json_text.dumps(found, indent=1) + "\n")
    show(_table(found))
    show(f"figure: {_draw(found, folder)}")
    return found


def _subject(width: float = 1.0, examples: int = 1000, devices: int = 1) -> Subject:
    net = Net("digits net", "vgg7", width, (8, 8, 1), examples)
    return Subject(net, "float32", devices=jax.devices()[:devices])


def _times(config: ScalingConfig) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds by what is varied: pairs of size and time."""
    examples: list[tuple[float, float]] = []
    parameters: list[tuple[float, float]] = []
    for count in EXAMPLES:
        say(f"a point of a surface, {count} examples")
        examples.append((count, _milliseconds(_subject(examples=count).points, config)))
    say("points of a surface")
    subject = _subject()
    each = {
        n: _milliseconds(lambda k, n=n: [subject.points(n) for _ in range(k)], config)
        for n in POINTS
    }
    for width in WIDTHS:
        say(f"a curve step, width {width}")
        subject = _subject(width)
        size = sum(x.size for x in jax.tree.leaves(subject.ends[0]))
        parameters.append((size, _milliseconds(subject.curve_steps, config)))
    return {"examples": examples, "points": list(each.items()), "parameters": parameters}


def _milliseconds(work: Work, config: ScalingConfig) -> float:
    """The median time of a unit of work."""
    count = units(work, config.seconds)
    return 1e3 * statistics.median(seconds_each(work, count) for _ in range(config.rounds))


def _sent(devices: int) -> dict[str, int]:
    """Collectives and bytes of a curve step, and bytes of a point of a surface."""
    say(f"compiling for {_count(devices)}")
    subject = _subject(devices=devices)
    rows = jnp.zeros(BATCH, jnp.int32)
    program: Any = subject.curve.run
    step = program.lower(
        subject.curve_state, subject.ends, subject.data, rows, rows, subject.key, 1
    )
    evaluator = subject.evaluator
    splits = {name: streams.Chunk(data) for name, data in evaluator.splits.items()}
    coefficients = jnp.zeros((evaluator.points_per_call, 2))
    points = jax.eval_shape(evaluator._combine, subject.ends, coefficients)
    each_point: Any = evaluator._block
    block = each_point.lower(points, {}, splits)
    moved = collectives(step.compile())
    return {
        "devices": devices,
        "parameter_bytes": sum(x.nbytes for x in jax.tree.leaves(subject.ends[0])),
        "step_collectives": len(moved),
        "bytes_of_step": sum(size for _, size in moved),
        "bytes_of_point": sum(size for _, size in collectives(block.compile()))
        // evaluator.points_per_call,
    }


def _table(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, pairs in found["times"].items():
        what = "a curve step" if name == "parameters" else "surface"
        lines += [f"{what}: {size:,} {name}: {milliseconds(ms)} ms" for size, ms in pairs]
        size, ms = np.log(pairs).T
        slope = np.polyfit(size, ms, 1)[0]
        lines.append(f"{what}: time grows as {name} to the power of {slope:.2f}")
    for row in found["sent"]:
        lines.append(
            f"{_count(row['devices'])}: a curve step sends {row['bytes_of_step']:,} bytes in "
            f"{row['step_collectives']} collectives ({row['parameter_bytes']:,} of parameters), a "
            f"point of a surface {row['bytes_of_point']}"
        )
    return "\n".join(lines)


def _count(devices: int) -> str:
    return "1 device" if devices == 1 else f"{devices} devices"


def _draw(found: dict[str, Any], folder: AnyPath) -> AnyPath:
    """Four panels: what is timed against its size, and what is sent by each number of devices."""
    titles = {
        "examples": "one point, ms", "points": "all points, ms", "parameters": "one curve step, ms",
    }  # fmt: skip
    several = [row for row in found["sent"] if row["devices"] > 1]
    with plots.style():
        figure, axes = plots.grid(2, 2, height=0.6)
        *timed, sent = axes.ravel()
        for ax, (name, title) in zip(timed, titles.items(), strict=True):
            size, ms = np.array(found["times"][name]).T
            ax.loglog(size, ms, "o-", color=plots.color(0), label="measured")
            ax.loglog(size, ms[-1] * size / size[-1], "--", color="0.6", label="linear")
            ax.set(xlabel=name, ylabel=title)
            _ticks(ax, size)
        timed[0].legend()
        if several:
            _draw_sent(sent, several)
        else:
            sent.set_axis_off()  # one device sends nothing
        return plots.save(figure, folder / "figures" / "scaling")


def _draw_sent(ax: Any, rows: list[dict[str, Any]]) -> None:
    devices = [row["devices"] for row in rows]
    for k, (name, words) in enumerate((("step", "a curve step"), ("point", "a point"))):
        kilobytes = [row[f"bytes_of_{name}"] / 1000 for row in rows]
        ax.loglog(devices, kilobytes, "o-", color=plots.color(k))
        at_end = devices[-1], kilobytes[-1]
        ax.annotate(words, at_end, (0, -14), ha="right", textcoords="offset points")
    ax.set(xlabel="devices", ylabel="sent, kB")
    _ticks(ax, devices)


def _ticks(ax: Any, sizes: Sequence[float] | np.ndarray) -> None:
    """Labels the sizes that were measured, and round numbers on the other axis."""
    from matplotlib import ticker  # after --help

    ax.set_xticks(sizes, [f"{int(size):,}" for size in sizes])
    ax.minorticks_off()
    ax.margins(y=0.2)
    low, high = ax.get_ylim()
    steps = (1,) if high / low > 1e3 else (1, 2, 5)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=steps))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


if __name__ == "__main__":
    main(ScalingConfig, run, __doc__)
