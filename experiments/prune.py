"""Removes checkpoints that finished runs no longer need, and prints the space that it frees.

    python -m experiments.prune --runs=runs/G,runs/GB
    python -m experiments.prune --runs=runs/sgdr --drop=10,20,40

It keeps the last checkpoint and those of the run's own --keep, --keep_steps and --eval_epochs, and
removes what interruptions left (runs of this version remove it themselves at the end). --drop
also removes kept epochs.
"""

from .cli import PruneConfig, UsageError, main, show
from .runs import Run, open_checkpoints, step_of


def run(config: PruneConfig) -> int:
    """Removes checkpoints, after checking all runs.

    Returns:
      The number of bytes freed.

    Raises:
      UsageError: a folder is not a finished mode or curve, or lacks an epoch of --drop.
    """
    if not config.runs:
        raise UsageError("--runs is missing: folders of finished modes or curves")
    kept = {path: _kept(Run(path), config.drop) for path in config.runs}
    return sum(_prune(Run(path), steps) for path, steps in kept.items())


def _kept(run: Run, drop: tuple[int, ...]) -> set[int]:
    """The steps of the checkpoints to keep."""
    last = step_of(run, None)
    info = run.info
    epochs = {*info["flags"]["keep"], *info["flags"].get("eval_epochs", ())}
    for epoch in drop:
        if step_of(run, epoch) == last:
            raise UsageError(f"--drop={epoch}: the last checkpoint of {run.path} stays")
    steps = info["flags"].get("keep_steps", ())
    return {last, *steps, *(epoch * info["steps_per_epoch"] for epoch in epochs - set(drop))}


def _prune(run: Run, kept: set[int]) -> int:
    """Removes the other checkpoints; returns the number of bytes freed."""
    with run.locked():
        before = _size(run)
        with open_checkpoints(run, kept) as there:
            count = len(there.steps())
            there.keep_only(kept)
            left = len(there.steps())
        freed = before - _size(run)
    show(
        f"{run.path}: removed {count - left} of {count} checkpoints, {freed / 2**20:.1f} MiB "
        f"of {before / 2**20:.1f}"
    )
    return freed


def _size(run: Run) -> int:
    """The size of a run folder in bytes."""
    return sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())


if __name__ == "__main__":
    main(PruneConfig, run, __doc__)
