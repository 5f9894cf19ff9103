"""Trains pairs of networks at several widths and measures what alignment changes between them.

    python -m experiments.align_benchmark --widths=0.5,2 --workdir=runs/align_digits

Every pair is aligned by weights and by activations, with profiles of the segment before, after and
with REPAIR, as `align` makes them. Then a one-bend chain is fitted to the end as it is and to the
one aligned by weights. All runs are folders in WORKDIR: a stopped benchmark resumes. It prints
tables in Markdown; a range is that of the pairs, the lowest to the highest.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from mcjax.results import Profile

from .cli import AlignConfig, CurveConfig, ModeConfig, UsageError, flag, main, show
from .landscapes import alignment, alignment_table, profiles
from .landscapes.alignment_table import Chain, Pair
from .runs import Status, load_result, write_atomically
from .training import Problem, fits, fitting, make_problem, measuring, modes

METHODS = ("weights", "activations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignBenchmarkConfig(ModeConfig):
    """Pairs of modes, with the flags of `train_mode`; mode 0 has the seed --seed, 1 the next."""

    topic: ClassVar[str] = "benchmark"
    unused: ClassVar[tuple[str, ...]] = ("width", "keep", "fork", "profile", "tracker")
    local: ClassVar[tuple[str, ...]] = ("workdir",)
    model: str = flag("mlp", "Name of the model, or package.module:factory for your own.")
    epochs: int = flag(60, "Number of passes over the training split, of every mode.")
    schedule: str = dataclasses.field(
        default="linear", metadata=ModeConfig.__dataclass_fields__["schedule"].metadata
    )
    widths: tuple[str, ...] = flag(("0.5", "2"), "Values of --width, as train_mode takes it.")
    pairs: int = flag(3, "Pairs of modes for each width: 0 and 1, 2 and 3, and so on.")
    curve_epochs: int = flag(30, "Epochs of each chain; 0 fits none.")
    points: int = flag(25, "Points of each profile, an odd number for one in the middle.")


def run(config: AlignBenchmarkConfig) -> dict[str, list[Pair]]:
    """Trains, aligns and fits what is missing, and prints the tables.

    Returns:
      The pairs by width.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: a mode or a chain did not train.
      Interrupted: a signal came.
    """
    check_flags(config)
    found = {width: _pairs(config, width) for width in config.widths}
    text = alignment_table.tables(found)
    write_atomically(Path(config.workdir) / "tables.md", text + "\n")
    show(text)
    return found


def check_flags(config: AlignBenchmarkConfig) -> None:
    """Raises UsageError if a flag is wrong, without reading data."""
    if not config.workdir:
        raise UsageError("--workdir is missing")
    for name, least in (("pairs", 1), ("points", 3), ("curve_epochs", 0)):
        if getattr(config, name) < least:
            raise UsageError(f"--{name}={getattr(config, name)}: use {least} or more")
    if not config.points % 2:
        raise UsageError(f"--points={config.points}: use an odd number, so that one is the middle")
    if not config.widths:
        raise UsageError("--widths is missing: a comma-separated list of numbers")
    for width in config.widths:
        for mode in _modes(config, width):
            modes.check_flags(mode)


def _modes(config: AlignBenchmarkConfig, width: str) -> list[ModeConfig]:
    """The flags of a width's modes."""
    try:
        factor = float(width)
    except ValueError:
        raise UsageError(f"--widths={width}: not a number") from None
    shared = {f.name: getattr(config, f.name) for f in dataclasses.fields(ModeConfig)}
    return [
        ModeConfig(
            **shared
            | {"width": factor, "seed": config.seed + i, "workdir": f"{config.workdir}/{width}/{i}"}
        )
        for i in range(2 * config.pairs)
    ]


def _pairs(config: AlignBenchmarkConfig, width: str) -> list[Pair]:
    """Makes all runs of a width."""
    all_modes = [modes.check_flags(mode) for mode in _modes(config, width)]
    problem = make_problem(all_modes[0], config.precision)
    for mode in all_modes:
        modes.train(mode, problem)
    return [
        Pair(
            {method: _align(config, problem, one, two, method) for method in METHODS},
            [_chain(config, problem, one, two, how) for how in (None, "weights")]
            if config.curve_epochs
            else [],
        )
        for one, two in zip(all_modes[::2], all_modes[1::2], strict=True)
    ]


def _folder(one: ModeConfig, two: ModeConfig, name: str) -> str:
    first, second = Path(one.workdir), Path(two.workdir)
    return str(first.parent / f"{first.name}_{second.name}_{name}")


def _align(
    config: AlignBenchmarkConfig, problem: Problem, one: ModeConfig, two: ModeConfig, method: str
) -> Profile:
    """Aligns a pair as `align` does."""
    flags = AlignConfig(
        start=one.workdir, end=two.workdir, method=method, points=config.points,
        workdir=_folder(one, two, method), data_dir=config.data_dir, precision=config.precision,
    )  # fmt: skip
    folder = alignment.check_flags(flags)
    if folder.status != Status.DONE:
        with folder.locked():
            alignment.make(folder, flags, alignment.resolve(flags), problem)
    return load_result(Profile, folder.path / alignment.FILE)


def _chain(
    config: AlignBenchmarkConfig,
    problem: Problem,
    one: ModeConfig,
    two: ModeConfig,
    how: str | None,
) -> Chain:
    """Fits a one-bend chain as `fit_curve` does; ``how`` is its ``--align``."""
    flags = CurveConfig(
        start=one.workdir, end=two.workdir, align=how, epochs=config.curve_epochs,
        batch_size=config.batch_size, weight_decay=config.weight_decay, seed=config.seed,
        points=config.points, workdir=_folder(one, two, "chain_aligned" if how else "chain"),
        data_dir=config.data_dir, precision=config.precision,
    )  # fmt: skip
    fit = fits.check_flags(flags)
    with fit.folder.locked():
        fitting.begin(fit, problem)
        fitting.train(fit, problem)
        profiles.evaluate(fit.folder, flags, measuring(problem, flags.splits, None))
        found = load_result(Profile, fit.folder.path / "curve.npz")
        fitting.judge(fit, problem, found)
    return alignment_table.chain(found, fit.folder.metrics())


if __name__ == "__main__":
    main(AlignBenchmarkConfig, run, __doc__)
