"""Evaluates, draws and summarizes the profiles of a fitted curve and its segment (Section 2)."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import curves, plots
from mcjax.analysis import profiles
from mcjax.engine import parallel
from mcjax.results import Metrics, PathMetrics, Profile, named

from ..cli import CurveConfig, Progress
from ..runs import (
    Run,
    SavedCurve,
    Status,
    begin_evaluation,
    changed_flags,
    label,
    load_curve,
    load_result,
    save_arrays,
)
from ..training import EVALUATION, Fit, Problem, evaluated_epochs, labels
from . import drawing, ensembling, notes, saved_logits
from .saved_logits import SavedLogits

WORST: dict[str, tuple[str, Callable[..., Any]]] = {
    "accuracy": ("lowest", np.nanargmin), "loss": ("highest", np.nanargmax),
}  # fmt: skip
"""By metric, the word for its worst value along a path and what finds it."""


def check_flags(fit: Fit) -> None:
    """Checks the flags for figures and ensembles, without reading data.

    Raises:
      UsageError: a flag is wrong.
    """
    drawing.check_style(fit.config.style)
    saved_logits.check_flags(fit.config)
    if list(fit.config.ensemble_with) != fit.folder.info.get("ensembles", {}).get("with"):
        ensembling.check(fit.config.ensemble_with, fit.start.mode)


def finish(fit: Fit, problem: Problem, measured: Problem) -> tuple[str, Profile]:
    """Evaluates a fitted curve and the ensembles of its points, and draws it.

    Args:
      fit: the curve.
      problem: the curve's problem.
      measured: the same problem, with an evaluator for --splits and --metrics.

    Returns:
      The text that `fit_curve` prints, and the profile of the last epoch.
    """
    made = evaluate(fit.folder, fit.config, measured)
    figure = draw(fit.folder, fit.config, made)
    found = _profile(fit.folder, "curve", made)
    summary = summarize(found)
    facts = _ensembles(fit, problem)
    if facts:
        summary += f"\n{ensembling.table(facts['rows'])}"
    fit.folder.update(summary=summary, **({"ensembles": facts} if facts else {}))
    return summary + (f"\nfigure: {figure}" if figure else ""), found


def _ensembles(fit: Fit, problem: Problem) -> dict[str, Any] | None:
    """Returns the entry of ``run.json`` on ensembles; None if the network is not a classifier.

    A finished run without ensembles gets them only for --ensemble_with: its checkpoints may have
    been removed.
    """
    info, modes = fit.folder.info, list(fit.config.ensemble_with)
    facts = info.get("ensembles")
    requested = modes and modes != (facts or {}).get("with")
    due = requested or (info["status"] == Status.FITTED and not facts)
    if problem.objective.logits is None or not due:
        return facts
    return {"with": modes, "rows": ensembling.evaluate(fit.folder, problem, modes)}


def evaluate(folder: Run, config: CurveConfig, problem: Problem) -> dict[str, Profile]:
    """Writes ``curve.npz`` for the last epoch and ``curve@E.npz`` for each of --eval_epochs.

    Args:
      folder: the curve's run.
      config: its flags.
      problem: its problem, with an evaluator for --splits and --metrics.

    Returns:
      The profiles that did not exist yet, by file name without suffix.
    """
    begin_evaluation(folder, config, EVALUATION, ("curve*.npz", "logits", "figures/curve*"))
    _record_epochs(folder, config)
    t, segment = np.linspace(0, 1, config.points), None
    logits = SavedLogits(folder, config, problem)
    made: dict[str, Profile] = {}
    for name, epoch in labels(config).items():
        file = folder.path / f"{name}.npz"
        if file.exists():
            continue
        family, points, state = load_curve(folder, epoch)
        points, state = parallel.replicate((points, state), problem.mesh)
        curve, known = SavedCurve(family, points, state), None if config.free_ends else segment
        _save_logits(logits, name, curve, t, config.free_ends)
        made[name] = _measure(folder, name, problem, curve, t, known)
        segment = made[name].segment
        save_arrays(file, made[name].to_arrays())
    return made


def _save_logits(
    logits: SavedLogits, name: str, curve: SavedCurve, t: np.ndarray, own_segment: bool
) -> None:
    """Saves the logits on a curve, and on its segment unless that is another curve's, too."""
    line = name.replace("curve", "segment") if own_segment else "segment"
    if curve.family.num_bends:
        rows = profiles.coefficients(curve.family, t)
        logits.save(name, curve.points, rows, curve.state)
    ends = (curve.points[0], curve.points[-1])
    logits.save(line, ends, profiles.coefficients(curves.segment(), t), curve.state)


def check_data(fit: Fit, problem: Problem) -> None:
    """Says how large the logits of --save_logits will be, before any long work.

    Args:
      fit: the curve.
      problem: its problem, with an evaluator for --splits and --metrics.

    Raises:
      UsageError: the objective has none, or the disk has no room for them.
    """
    due = changed_flags(fit.folder, fit.config, EVALUATION) or not fit.folder.info
    logits = SavedLogits(fit.folder, fit.config, problem)
    if due or not all((fit.folder.path / f"{name}.npz").exists() for name in labels(fit.config)):
        logits.announce((1 + len(labels(fit.config))) * fit.config.points)


def _record_epochs(folder: Run, config: CurveConfig) -> None:
    """Records the evaluated epochs, including those of earlier commands whose arrays exist."""
    epochs = [
        epoch
        for epoch in evaluated_epochs(folder, config)
        if epoch in config.eval_epochs or (folder.path / f"curve@{epoch}.npz").exists()
    ]
    if epochs != folder.info["flags"]["eval_epochs"]:
        folder.update(flags=folder.info["flags"] | {"eval_epochs": epochs})


def _measure(
    folder: Run,
    label: str,
    problem: Problem,
    curve: SavedCurve,
    t: np.ndarray,
    segment: PathMetrics | None,
) -> Profile:
    """Evaluates the curve and, unless given, the segment, each with a progress bar."""
    names = {"curve": label, "segment": "segment"}
    bars: dict[str, Progress] = {}

    def progress(path: str, done: int) -> None:
        if path not in bars:
            bars[path] = Progress(f"{folder.path.name}: {names[path]}", len(t), "point")
        bars[path].update(done)
        if done == len(t):
            bars[path].close()

    try:
        found = profiles.profile(
            problem.evaluator, curve.family, curve.points, t, curve.state, slopes=True,
            segment=segment, progress=progress,
        )  # fmt: skip
    finally:
        for bar in bars.values():
            bar.close()
    if curve.family.num_bends:
        return found
    slopes = profiles.end_slopes(problem.evaluator, curve.family, curve.points, curve.state)
    line = found.segment  # free ends without bends
    return found._replace(paths={"curve": line._replace(slopes=slopes), "segment": line})


def _profile(folder: Run, name: str, made: Mapping[str, Profile]) -> Profile:
    """The profile that was just evaluated, or else that of the file."""
    return made[name] if name in made else load_result(Profile, folder.path / f"{name}.npz")


def draw(folder: Run, config: CurveConfig, made: Mapping[str, Profile]) -> Path | None:
    """Draws the figures that do not exist yet in this style.

    Args:
      folder: the curve's run.
      config: its flags.
      made: profiles that were just evaluated, by file name without suffix.

    Returns:
      The figure of the last epoch; None if drawing failed.
    """
    figures = folder.path / "figures"
    if config.style or folder.info.get("style"):  # the style's file may have changed
        if parallel.is_first():
            for name in labels(config):
                (figures / f"{name}.png").unlink(missing_ok=True)
        folder.update(style=config.style)
    drawn: dict[str, Path | None] = {}
    for name, epoch in labels(config).items():
        drawn[name] = figures / f"{name}.png"
        if parallel.is_first() and not plots.is_whole(figures / name):
            title = f"{label(config.start)} to {label(config.end)}"
            title += f", curve epoch {epoch or config.epochs}"
            found = _profile(folder, name, made)
            one = functools.partial(_draw_one, found, title, figures / name, config)
            again = drawing.command("fit_curve", folder.path)
            drawn[name] = drawing.attempt(one, folder.path / f"{name}.npz", again)
    return drawn["curve"]


def _draw_one(found: Profile, title: str, stem: Path, config: CurveConfig) -> Path:
    with plots.style(*config.style):
        return plots.save(plots.curve_figure(found, title), stem)


def summarize(found: Profile) -> str:
    """Summarizes the ends, and the curve and the segment with a line for any further data."""
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
            words.append(f"{strange} of {len(t)} points are not finite{notes.see('nan')}")
        lines.append(f"{name:<9}{', '.join(words)}")
        lines += [f"{name:<9}{words}" for words in _further(path.metrics, t)]
    return "\n".join([*lines, *_other_lines(found), *notes.of_profile(found)])


def _other_lines(found: Profile) -> Iterator[str]:
    """A line for each metric but loss and accuracy, without those of single classes."""
    by_path = {path: named(one.metrics) for path, one in found.paths.items()}
    for split, own in found.curve.metrics.items():
        for name in (n for n in own if n not in ("loss", "accuracy")):
            metric = f"{split}_{name}"
            if plots.of_class(name) is not None:
                continue
            values = {path: plots.drawn(metric, x[metric]) for path, x in by_path.items()}
            first, *_, last = values["curve"]
            words = [f"{path} {x.min():.4g} to {x.max():.4g}" for path, x in values.items()]
            ends = f"{plots.metric_words(metric)}: start {first:.4g}, end {last:.4g}"
            yield f"{'metric':<9}{ends}, {', '.join(words)}"


def _further(metrics: Metrics, t: np.ndarray) -> Iterator[str]:
    """The lowest accuracy and the highest loss on each split other than the usual two."""
    for split in (split for split in metrics if split not in ("train", "validation")):
        words: list[str] = []
        for metric, (word, worst) in WORST.items():
            values = metrics[split].get(metric, np.full(1, np.nan))
            if np.isfinite(values).any():
                k, name = int(worst(values)), f"{split}_{metric}"
                number = plots.drawn(name, values)[k]
                words.append(f"{word} {plots.metric_words(name)} {number:.4g} (t={t[k]:.2f})")
        if words:
            yield ", ".join(words)


def _ends_line(found: Profile) -> str:
    words: list[str] = []
    metrics = named(found.curve.metrics)
    for where, index in (("start", 0), ("end", -1)):
        text = f"{where} training loss {metrics['train_loss'][index]:.4g}"
        if "validation_accuracy" in metrics:
            accuracy = 100 * metrics["validation_accuracy"][index]
            text += f", validation accuracy {accuracy:.2f} %"
        words.append(text)
    return f"{'ends':<9}{'; '.join(words)}"
