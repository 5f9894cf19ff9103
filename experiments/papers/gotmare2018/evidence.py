"""Loads what the claims are judged by from the run folders of a reproduction."""

import math
from collections.abc import Sequence

from mcjax.results import Profile, Surface

from ...runs import Run, json_text, load_result
from ..judging import Results
from . import scales
from .sources import Source


def load(source: Source, plan: scales.Plan, same: tuple[dict[str, int], str]) -> Results:
    """Loads the results of one repetition.

    Args:
      source: where its runs are.
      plan: its runs.
      same: as returned by `same_steps`.
    """
    curves: dict[str, Profile] = {}
    surfaces: dict[str, Surface] = {}
    epochs, words = same
    for job in plan.jobs:
        if job.kind == "curve":
            # A curve that failed but was evaluated counts too: it does not connect.
            early, steps = source.epochs[job.name].get(20), epochs.get(job.name)
            labels = {"": "", "@20": f"@{early}"}
            labels["@steps"] = "" if steps == job.config.epochs else f"@{steps}"
            for suffix, label in labels.items():
                file = source.workdir / job.name / f"curve{label}.npz"
                if file.exists() and (suffix != "@steps" or steps):
                    curves[job.name + suffix] = load_result(Profile, file)
        elif job.kind == "surface" and job.name not in source.missing:
            surfaces[job.name] = source.surface(job.name)
    file = source.workdir / "gradients.json"
    norms = json_text.loads(file.read_bytes()) if file.exists() else {}
    return Results(curves, surfaces, source.missing, norms, words)


def same_steps(
    plans: Sequence[scales.Plan], sources: Sequence[Source]
) -> tuple[dict[str, int], str]:
    """Finds the evaluated epoch closest in steps to 20 epochs of the paper.

    Returns:
      The epoch by curve with G, and a label for it; both empty if it is epoch 20.
    """
    wanted = 20 * scales.PAPER_STEPS
    curves = [
        (job, Run(source.workdir / job.name).info["steps_per_epoch"])
        for plan, source in zip(plans, sources, strict=True)
        for job in plan.jobs
        if job.name in scales.CURVES and (source.workdir / job.name / "curve.npz").exists()
    ]
    found = {}
    for job, steps in curves:
        evaluated = (*job.config.eval_epochs, job.config.epochs)
        found[job.name] = min(evaluated, key=lambda e, n=steps: abs(math.log(e * n / wanted)))
    if not curves or found[curves[0][0].name] == plans[0].epochs[curves[0][0].name][20]:
        return {}, ""
    epoch, steps = found[curves[0][0].name], curves[0][1]
    words = f"after {epoch * steps:,} steps (epoch {epoch}; the paper's 20 epochs have {wanted:,})"
    return found, words
