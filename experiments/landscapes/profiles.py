"""Profiles of a fitted curve and of the segment: evaluated, drawn and summarized (Section 2)."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import curves, plots
from mcjax.analysis import profiles
from mcjax.engine import parallel

from ..cli import CurveConfig, Progress
from ..runs import (
    Run,
    SavedCurve,
    Status,
    begin_evaluation,
    label,
    load_arrays,
    load_curve,
    save_arrays,
)
from ..training import EVALUATION, Fit, Problem, evaluated_epochs, labels
from . import drawing, ensembling

Arrays = dict[str, np.ndarray]


def check_flags(fit: Fit) -> None:
    """Checks the flags of figures and ensembles; no data are read.

    Raises:
      UsageError: something is wrong with them.
    """
    drawing.check_style(fit.config.style)
    if list(fit.config.ensemble_with) != fit.folder.info.get("ensembles", {}).get("with"):
        ensembling.check(fit.config.ensemble_with, fit.start.mode)


def finish(fit: Fit, problem: Problem, measured: Problem) -> tuple[str, Arrays]:
    """Evaluates a fitted curve, with the ensembles of its points, and draws it.

    Args:
      fit: the curve.
      problem: its.
      measured: its problem, with an evaluator for --splits and --metrics.

    Returns:
      What `fit_curve` prints, and the arrays of ``curve.npz``.
    """
    made = evaluate(fit.folder, fit.config, measured)
    figure = draw(fit.folder, fit.config, made)
    arrays = _arrays(fit.folder, "curve", made)
    summary = summarize(arrays)
    facts = _ensembles(fit, problem)
    if facts:
        summary += f"\n{ensembling.table(facts['rows'])}"
    fit.folder.update(summary=summary, **({"ensembles": facts} if facts else {}))
    return summary + (f"\nfigure: {figure}" if figure else ""), arrays


def _ensembles(fit: Fit, problem: Problem) -> dict[str, Any] | None:
    """What ``run.json`` says of ensembles; nothing for what is no classifier.

    They are of the curve as it was fitted; a done run gets none that it lacks, unless it is asked
    for by --ensemble_with, for its checkpoints may be gone.
    """
    info, modes = fit.folder.info, list(fit.config.ensemble_with)
    facts = info.get("ensembles")
    asked = modes and modes != (facts or {}).get("with")
    due = asked or (info["status"] == Status.FITTED and not facts)
    if problem.objective.logits is None or not due:
        return facts
    return {"with": modes, "rows": ensembling.evaluate(fit.folder, problem, modes)}


def evaluate(folder: Run, config: CurveConfig, problem: Problem) -> dict[str, Arrays]:
    """Writes ``curve.npz`` for the last epoch and ``curve@E.npz`` for each of --eval_epochs.

    Args:
      folder: the curve's run.
      config: its flags.
      problem: its, with an evaluator for --splits and --metrics.

    Returns:
      The arrays that were not there yet, by the names of their files.
    """
    begin_evaluation(folder, config, EVALUATION, ("curve*.npz", "figures/curve*"))
    _record_epochs(folder, config)
    t, segment = np.linspace(0, 1, config.points), None
    made: dict[str, Arrays] = {}
    for name, epoch in labels(config).items():
        file = folder.path / f"{name}.npz"
        if file.exists():
            continue
        family, points, state = load_curve(folder, epoch)
        points, state = parallel.replicate((points, state), problem.mesh)
        if segment is None or config.free_ends:
            line = SavedCurve(curves.segment(), (points[0], points[-1]), state)
            segment = _profile(folder, "segment", problem, line, t)
        along = _profile(folder, name, problem, SavedCurve(family, points, state), t)
        along |= profiles.end_slopes(problem.evaluator, family, points, state)
        arrays = {"t": t} | {f"curve_{n}": x for n, x in along.items()}
        made[name] = arrays | {f"segment_{n}": x for n, x in segment.items()}
        save_arrays(file, made[name])
    return made


def _record_epochs(folder: Run, config: CurveConfig) -> None:
    """Records the evaluated epochs: those of earlier commands whose arrays are there, too."""
    epochs = [
        epoch
        for epoch in evaluated_epochs(folder, config)
        if epoch in config.eval_epochs or (folder.path / f"curve@{epoch}.npz").exists()
    ]
    if epochs != folder.info["flags"]["eval_epochs"]:
        folder.update(flags=folder.info["flags"] | {"eval_epochs": epochs})


def _profile(folder: Run, name: str, problem: Problem, curve: SavedCurve, t: np.ndarray) -> Arrays:
    bar = Progress(f"{folder.path.name}: {name}", len(t), "point")
    family, points, state = curve
    try:
        return profiles.profile(problem.evaluator, family, points, t, state, bar.update)
    finally:
        bar.close()


def _arrays(folder: Run, name: str, made: Mapping[str, Arrays]) -> Arrays:
    """The arrays that were just made, or those of the file."""
    return made[name] if name in made else load_arrays(folder.path / f"{name}.npz")


def draw(folder: Run, config: CurveConfig, made: Mapping[str, Arrays]) -> Path | None:
    """Draws what is not drawn yet in this style, from the arrays.

    Args:
      folder: the curve's run.
      config: its flags.
      made: arrays that were just made, by the names of their files.

    Returns:
      The figure of the last epoch; None where it could not be drawn.
    """
    figures = folder.path / "figures"
    if config.style or folder.info.get("style"):  # a style's file may have changed, too
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
            arrays = _arrays(folder, name, made)
            one = functools.partial(_draw_one, arrays, title, figures / name, config)
            again = drawing.command("fit_curve", folder.path)
            drawn[name] = drawing.attempt(one, folder.path / f"{name}.npz", again)
    return drawn["curve"]


def _draw_one(arrays: Arrays, title: str, stem: Path, config: CurveConfig) -> Path:
    with plots.style(*config.style):
        return plots.save(plots.curve_figure(arrays, title), stem)


def summarize(arrays: Arrays) -> str:
    """Three lines: the ends, the curve and the segment."""
    lines = [_ends_line(arrays)]
    for path in ("curve", "segment"):
        losses, t = arrays[f"{path}_train_loss"], arrays["t"]
        words = []
        if f"{path}_validation_accuracy" in arrays:
            accuracy = arrays[f"{path}_validation_accuracy"]
            low = int(np.nanargmin(accuracy))
            words.append(f"lowest validation accuracy {100 * accuracy[low]:.2f} % (t={t[low]:.2f})")
        worst = int(np.argmax(np.where(np.isnan(losses), np.inf, losses)))
        words.append(f"highest training loss {losses[worst]:.4g} (t={t[worst]:.2f})")
        height = float(arrays[f"{path}_train_loss_over_max"])
        words.append(f"barrier {'yes' if height > 0 else 'no'} ({height:.4g} over the higher end)")
        strange = int((~np.isfinite(losses)).sum())
        if strange:
            words.append(f"{strange} of {len(t)} points are not finite")
        lines.append(f"{path:<9}{', '.join(words)}")
    return "\n".join(lines)


def _ends_line(arrays: Arrays) -> str:
    words = []
    for where, index in (("start", 0), ("end", -1)):
        text = f"{where} training loss {arrays['curve_train_loss'][index]:.4g}"
        if "curve_validation_accuracy" in arrays:
            accuracy = 100 * arrays["curve_validation_accuracy"][index]
            text += f", validation accuracy {accuracy:.2f} %"
        words.append(text)
    return f"{'ends':<9}{'; '.join(words)}"
