r"""Fits curves between many pairs of modes at once, and compares their barriers (Section 2).

    python -m experiments.fit_curves --flagfile=experiments/flags/digits/pairs.cfg \
        --modes=runs/G,runs/A,runs/B --workdir=runs/pairs

--modes connects every two modes, --pairs=START:END,... the given pairs. Each curve has its own run
folder in WORKDIR, as `fit_curve` makes it, so either command resumes it. The curves are distributed
over the devices and trained together; --shard=3/8 trains every eighth curve from the third on, for
an array of independent jobs. After they have ended, the command without --shard collects their
results in WORKDIR/pairs.json and WORKDIR/figures/barriers.png. --launcher=slurm submits such jobs,
and a last one for the results; then --status, with the same flags, tells what became of them.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from mcjax.results import Profile

from .cli import CurvesConfig, RunFailed, main, say, show
from .jobs import launching
from .landscapes import notes, pair_table, profiles
from .runs import Run, Status, at
from .training import Fit, Problem, fits, fitting, make_problem, measuring, pairs, pin_further


def run(config: CurvesConfig) -> list[dict[str, Any]]:
    """Fits the missing curves, then evaluates and compares all.

    Returns:
      One row per curve of this shard, as in ``pairs.json``; none with --status and
      --launcher=slurm.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: some of the modes or curves did not train; the others are done.
      Interrupted: a signal came.
    """
    config = pin_further(config)
    curves = [fits.check_flags(curve) for curve in pairs.plan(config)]
    for fit in curves:
        profiles.check_flags(fit)
    pairs.check_alike(curves, bool(config.shard))
    options = launching.check_flags(config)
    folder = Run(config.workdir)
    if config.status:
        launching.show_table(pairs.jobs(config, curves), folder.path / "logs")
        return []
    problem = make_problem(curves[0].start.mode, config.precision)
    measured = measuring(problem, config.splits, config.metrics, config.also_evaluate)
    for fit in curves:
        fits.check_data(fit, problem)
        profiles.check_data(fit, measured)
    if config.launcher == "slurm":
        with folder.locked():
            launching.submit(pairs.jobs(config, curves), folder.path / "logs", options)
        return []
    with contextlib.ExitStack() as locks:
        for fit in curves:
            locks.enter_context(fit.folder.locked())
        failures = _train(curves, problem) if config.launcher == "local" else pairs.not_run(curves)
        rows, found = _evaluate(curves, problem, measured, failures)
    modes = dict.fromkeys(name for fit in curves for name in (fit.start.name, fit.end.name))
    show("\n".join([pair_table.table(rows), *notes.of_profiles(found), *notes.of_averages(modes)]))
    if not config.shard:
        pair_table.write(at(config.workdir), rows, config.style)
    if failures:
        count = f"{len(failures)} of {len(curves)} curves"
        raise RunFailed(f"{count} failed" if config.launcher == "local" else f"{count} are missing")
    return rows


def _train(curves: Sequence[Fit], problem: Problem) -> dict[str, str]:
    """Trains the missing modes, then the curves; returns why curves failed, by name."""
    failures: dict[str, str] = {}
    for fit in curves:
        try:
            fitting.begin(fit, problem)
        except RunFailed as error:
            failures[fit.folder.path.name] = str(error)
    fitting.train_together([f for f in curves if f.folder.path.name not in failures], problem)
    return failures


def _evaluate(
    curves: Sequence[Fit], problem: Problem, measured: Problem, failures: dict[str, str]
) -> tuple[list[dict[str, Any]], dict[str, Profile]]:
    """Returns the rows of all curves, and the profiles; adds further ``failures``."""
    trained = [fit for fit in curves if fit.folder.path.name not in failures]
    found: dict[str, Profile] = {}
    for number, fit in enumerate(trained, 1):
        name = fit.folder.path.name
        if fit.folder.status == Status.FITTED:
            say(f"evaluating {name}: curve {number} of {len(trained)}")
        if fit.folder.status in (Status.FITTED, Status.DONE):
            _, found[name] = profiles.finish(fit, problem, measured)
            with contextlib.suppress(RunFailed):
                fitting.judge(fit, problem, found[name])
        if fit.folder.status == Status.FAILED:
            failures[name] = fit.folder.info["reason"]
    names = [fit.folder.path.name for fit in curves]
    rows = [
        pair_table.row(fit, found.get(name), failures.get(name))
        for fit, name in zip(curves, names, strict=True)
    ]
    return rows, found


if __name__ == "__main__":
    main(CurvesConfig, run, __doc__)
