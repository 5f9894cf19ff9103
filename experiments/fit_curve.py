"""Fits a curve between two modes, evaluates it and the segment, and draws them (Section 2).

    python -m experiments.fit_curve --flagfile=experiments/flags/quickstart.cfg --workdir=runs/quick

--start and --end are checkpoints (RUN[@EPOCH], or RUN[@EPOCH]~T for a point of a curve) or
flagfiles of modes; a mode that is not trained yet is trained first. The same command again resumes
where it was stopped. A done run needs its modes no longer: with another --style it is drawn again,
with other --eval_epochs more of its kept epochs are evaluated, and with other --points, --splits
or --metrics all is evaluated again, while the earlier arrays and figures are kept in
WORKDIR/earlier.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mcjax import curves, plots
from mcjax.analysis import profiles
from mcjax.engine import objectives, parallel
from mcjax.results import PathMetrics, Profile, named

from .cli import command
from .cli.configs import CurveConfig
from .cli.errors import RunFailed, UsageError
from .cli.flags import identity
from .cli.progress import Progress, say, show
from .landscapes import drawing, ensembling
from .runs import evaluations
from .runs.arrays import load_result, save_arrays
from .runs.folder import Run
from .runs.names import Name
from .training import ends, loop
from .training import problem as problems

EVALUATION = ("points", "splits", "metrics")


class Fit(NamedTuple):
    """A curve to fit, its flags checked."""

    folder: Run
    config: CurveConfig
    start: ends.End
    end: ends.End
    problem: problems.Problem

    @property
    def keep(self) -> tuple[int, ...]:
        """Epochs whose checkpoints stay: those asked for, and those to evaluate."""
        return (*self.config.keep, *_evaluated(self.folder, self.config))


def run(config: CurveConfig) -> Run:
    """Fits, evaluates and draws.

    Raises:
      UsageError: wrong flags, found before any long work.
      RunFailed: a mode or the curve did not train.
      Interrupted: a signal came.
    """
    fit = check(config)
    with fit.folder.locked():
        begin(fit)
        if fit.folder.status == "running":
            function, start = prepare(fit)
            loop.train(
                fit.folder,
                config,
                fit.problem,
                function,
                start,
                strata=config.t_strata,
                keep=fit.keep,
            )
            fit.folder.update(status="fitted")
        show(finish(fit))
        judge(fit)
    return fit.folder


def begin(fit: Fit) -> None:
    """Opens the run's folder and trains the modes that are not trained yet.

    Raises:
      RunFailed: a mode did not train, or the curve has failed before.
    """
    fit.folder.open(
        "curve",
        fit.config,
        steps_per_epoch=problems.steps_per_epoch(fit.problem, fit.config),
        mode=identity(fit.start.mode),
    )
    if fit.folder.status == "failed" and not fit.config.allow_failed:
        raise RunFailed(f"{fit.folder.path} failed before: {fit.folder.info['reason']}")
    for one in (fit.start, fit.end):
        ends.train_if_needed(one, fit.config.allow_failed)


def finish(fit: Fit) -> str:
    """Evaluates a fitted curve, with the ensembles of its points, and draws it.

    Returns:
      What `fit_curve` prints.
    """
    evaluate(fit.folder, fit.config, fit.problem)
    figure = draw(fit.folder, fit.config)
    summary = summarize(load_result(Profile, fit.folder.path / "curve.npz"))
    facts = _ensembles(fit)
    if facts:
        summary += f"\n{ensembling.table(facts['rows'])}"
    fit.folder.update(summary=summary, **({"ensembles": facts} if facts else {}))
    return summary + (f"\nfigure: {figure}" if figure else "")


def _ensembles(fit):
    """What ``run.json`` says of ensembles; nothing for what is no classifier.

    They are of the curve as it was fitted; a done run gets none that it lacks, unless it is asked
    for by --ensemble_with, for its checkpoints may be gone.
    """
    info, modes = fit.folder.info, list(fit.config.ensemble_with)
    facts = info.get("ensembles")
    asked = modes and modes != (facts or {}).get("with")
    due = asked or (info["status"] == "fitted" and not facts)
    if fit.problem.objective.logits is None or not due:
        return facts
    problem = problems.make_problem(fit.start.mode, fit.config.precision)  # whatever --splits are
    return {"with": modes, "rows": ensembling.evaluate(fit.folder, problem, modes)}


def judge(fit: Fit) -> None:
    """Marks a curve that has just been evaluated done, or failed where its middle is at chance.

    Raises:
      RunFailed: it is at chance, and ``allow_failed`` is not set.
    """
    if fit.folder.status != "fitted":
        return
    curve = load_result(Profile, fit.folder.path / "curve.npz").curve
    accuracy = curve.metrics["train"].get("accuracy")
    reason = None
    if accuracy is not None:
        middle = float(accuracy[len(accuracy) // 2])
        reason = problems.chance_failure(fit.problem, middle, "the middle of the curve")
    if reason is None:
        fit.folder.update(status="done")
        return
    failure = loop.mark_failed(fit.folder, reason)
    if not fit.config.allow_failed:
        raise RunFailed(failure)


def check(config: CurveConfig) -> Fit:
    """Checks a curve's flags, its ends and the batch, before any long work.

    Raises:
      UsageError: something is wrong with them.
    """
    for name in ("workdir", "start", "end"):
        if not getattr(config, name):
            raise UsageError(f"--{name} is missing")
    if config.points < 2:
        raise UsageError(f"--points={config.points}: the two ends alone are 2")
    if config.bends < 0 or (config.bends == 0 and not config.free_ends):
        raise UsageError(f"--bends={config.bends}: there is nothing to fit; use 1 or more")
    if config.t_strata < 1 or config.batch_size % config.t_strata:
        raise UsageError(
            f"--t_strata={config.t_strata} does not divide --batch_size={config.batch_size}"
        )
    problems.check_training(config)
    drawing.check_style(config.style)
    late = [e for e in (*config.eval_epochs, *config.keep) if not 0 < e <= config.epochs]
    if late:
        words = ", ".join(map(str, late))
        raise UsageError(f"there is no curve epoch {words}: --epochs={config.epochs}")
    folder = Run(config.workdir)
    folder.check_same("curve", config)
    _check_kept(folder, config)
    modes_dir = Path(config.modes_dir) if config.modes_dir else folder.path / "modes"
    start, end = (_end(text, modes_dir, folder, config) for text in (config.start, config.end))
    if start.name.run == end.name.run and identity(start.mode) != identity(end.mode):
        raise UsageError(
            f"--start={config.start} and --end={config.end} would both be trained in "
            f"{start.name.run}: give the flagfiles different names"
        )
    if list(config.ensemble_with) != folder.info.get("ensembles", {}).get("with"):
        ensembling.check(config.ensemble_with, start.mode)
    problem = problems.make_problem(start.mode, config.precision, config.splits, config.metrics)
    ends.check_shapes(problem, start, end)
    state = jax.eval_shape(lambda k: problems.init(problem, start.mode, k)[1], jax.random.key(0))
    problems.check_batch(problem, config.batch_size, state, config.t_strata)
    if not _is_fitted(folder):
        _note_seeds(start, end)
    return Fit(folder, config, start, end, problem)


def _note_seeds(start, end):
    seeded = not any("imported" in Run(one.name.run).info for one in (start, end))
    if seeded and start.mode.seed == end.mode.seed and start.name.run != end.name.run:
        say(
            f"note: both modes have seed {start.mode.seed}: they share their initialisation "
            "and data order"
        )


def _is_fitted(folder):
    """Whether there is a curve to evaluate or to show, and nothing left to train."""
    return folder.status not in ("new", "running")


def _end(text, modes_dir, folder, config):
    """One end; a fitted curve whose mode has gone or changed still has its own copy."""
    try:
        return ends.resolve(text, modes_dir, config.data_dir, config.precision, config.tracker)
    except UsageError:
        if not _is_fitted(folder):
            raise
        mode = problems.mode_config(folder.info, data_dir=config.data_dir)
        return ends.End(Name(Path(text), None, None), mode, False)


def _evaluated(folder, config):
    """Curve epochs to evaluate, now or when the command was given before, beside the last."""
    before = folder.info.get("flags", {}).get("eval_epochs", ())
    return sorted({*before, *config.eval_epochs})


def _check_kept(folder, config):
    """Raises UsageError where an epoch to evaluate is past and its checkpoint was not kept."""
    with folder.checkpoints(read_only=True) as saved:
        newest = max(saved.steps(), default=0)
    fitted, per_epoch = folder.status in ("fitted", "done"), folder.info.get("steps_per_epoch", 1)
    again = evaluations.changes(folder, config, EVALUATION)
    for epoch, label in _labels(config):
        past = epoch is not None and epoch * per_epoch <= newest
        due = again or not (folder.path / f"{label}.npz").exists()
        if (fitted or past) and due:
            folder.step_of(epoch)


def prepare(fit: Fit) -> tuple[Callable[..., Any], loop.Start]:
    """Loads the ends, saves them beside the curve, and lays the bends on the segment.

    Returns:
      The training function and what it starts from.

    Raises:
      UsageError: an end is another one than when this curve was begun.
    """
    folder, config, start, end, problem = fit
    points = [ends.load(one.name) for one in (start, end)]
    curve = curves.FAMILIES[config.curve](config.bends)
    first, last = (p.params for p in points)
    both = {"start": first, "end": last}
    with folder.ends() as saved:
        saved.save(0, parallel.replicate(both, problem.mesh))
    ends.check_unchanged(folder, both)
    bends = jax.jit(lambda a, b: curves.straight_line(curve, a, b))(first, last)
    objective = problems.with_weight_decay(config, problem.objective)
    if config.free_ends:
        function = objectives.on_curve_with_free_ends(curve, objective, config.t_strata)
        return function, loop.Start((first, *bends, last), (), points[0].state, config.seed)
    function = objectives.on_curve(curve, objective, config.t_strata)
    return function, loop.Start(bends, (first, last), points[0].state, config.seed)


def evaluate(folder: Run, config: CurveConfig, problem: problems.Problem) -> None:
    """Writes ``curve.npz`` for the last epoch and ``curve@E.npz`` for each of --eval_epochs."""
    evaluations.begin(folder, config, EVALUATION, ("curve*.npz", "figures/curve*"))
    epochs = [
        epoch
        for epoch in _evaluated(folder, config)
        if epoch in config.eval_epochs or (folder.path / f"curve@{epoch}.npz").exists()
    ]
    if epochs != folder.info["flags"]["eval_epochs"]:
        folder.update(flags=folder.info["flags"] | {"eval_epochs": epochs})
    t = np.linspace(0, 1, config.points)
    segment = None
    for epoch, label in _labels(config):
        file = folder.path / f"{label}.npz"
        if file.exists():
            continue
        curve, points, state = ends.load_curve(folder, epoch)
        points, state = parallel.replicate((points, state), problem.mesh)
        known = None if config.free_ends else segment
        found = _profile(folder, label, problem, curve, points, t, state, known)
        segment = found.segment
        save_arrays(file, found.to_arrays())


def _labels(config):
    """The evaluated epochs and the names of their files."""
    return [(None, "curve"), *((epoch, f"curve@{epoch}") for epoch in config.eval_epochs)]


def draw(folder: Run, config: CurveConfig) -> Path | None:
    """Draws what is not drawn yet in this style, from the arrays.

    Returns:
      The figure of the last epoch; None where it could not be drawn.
    """
    figures = folder.path / "figures"
    if config.style or folder.info.get("style"):  # a style's file may have changed, too
        if parallel.is_first():
            for _, label in _labels(config):
                (figures / f"{label}.png").unlink(missing_ok=True)
        folder.update(style=config.style)
    drawn: dict[str, Path | None] = {}
    for epoch, label in _labels(config):
        drawn[label] = figures / f"{label}.png"
        if parallel.is_first() and not plots.is_whole(figures / label):
            file = folder.path / f"{label}.npz"
            title = f"{ends.label(config.start)} to {ends.label(config.end)}"
            title += f", curve epoch {epoch or config.epochs}"
            found = load_result(Profile, file)
            one = functools.partial(_draw_one, found, title, figures / label, config)
            again = drawing.command("fit_curve", folder.path)
            drawn[label] = drawing.attempt(one, file, again)
    return drawn["curve"]


def _draw_one(found: Profile, title: str, stem: Path, config: CurveConfig) -> Path:
    with plots.style(*config.style):
        return plots.save(plots.curve_figure(found, title), stem)


def _profile(
    folder: Run,
    label: str,
    problem: problems.Problem,
    curve: curves.Curve,
    points: Sequence[Any],
    t: np.ndarray,
    state: Any,
    segment: PathMetrics | None,
) -> Profile:
    """The curve and the segment; a bar for each that is evaluated."""
    names, bars = {"curve": label, "segment": "segment"}, {}

    def progress(path: str, done: int) -> None:
        if path not in bars:
            bars[path] = Progress(f"{folder.path.name}: {names[path]}", len(t), "point")
        bars[path].update(done)
        if done == len(t):
            bars[path].close()

    try:
        return profiles.profile(
            problem.evaluator, curve, points, t, state, slopes=True, segment=segment,
            progress=progress,
        )  # fmt: skip
    finally:
        for bar in bars.values():
            bar.close()


def summarize(found: Profile) -> str:
    """Three lines: the ends, the curve and the segment."""
    lines, t = [_ends_line(found)], found.t
    for name, path in found.paths.items():
        losses = path.metrics["train"]["loss"]
        words = []
        accuracy = path.metrics.get("validation", {}).get("accuracy")
        if accuracy is not None:
            low = int(np.nanargmin(accuracy))
            words.append(f"lowest validation accuracy {100 * accuracy[low]:.2f} % (t={t[low]:.2f})")
        worst = int(np.argmax(np.where(np.isnan(losses), np.inf, losses)))
        words.append(f"highest training loss {losses[worst]:.4g} (t={t[worst]:.2f})")
        height = float(path.barriers["train"]["loss"].over_max)
        words.append(f"barrier {'yes' if height > 0 else 'no'} ({height:.4g} over the higher end)")
        strange = int((~np.isfinite(losses)).sum())
        if strange:
            words.append(f"{strange} of {len(t)} points are not finite")
        lines.append(f"{name:<9}{', '.join(words)}")
    return "\n".join(lines)


def _ends_line(found: Profile) -> str:
    words, metrics = [], named(found.curve.metrics)
    for where, index in (("start", 0), ("end", -1)):
        text = f"{where} training loss {metrics['train_loss'][index]:.4g}"
        if "validation_accuracy" in metrics:
            accuracy = 100 * metrics["validation_accuracy"][index]
            text += f", validation accuracy {accuracy:.2f} %"
        words.append(text)
    return f"{'ends':<9}{'; '.join(words)}"


if __name__ == "__main__":
    command.main(CurveConfig, run, __doc__)
