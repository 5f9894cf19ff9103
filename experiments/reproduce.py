"""Rebuilds the paper: every figure and every claim, at one of four scales.

    python -m experiments.reproduce --scale=digits --workdir=runs/reproduce

Only what is missing is built: it can be stopped at any time, and the same command resumes. The end
is WORKDIR/report.html (and report.md), WORKDIR/figures and WORKDIR/claims.json.

    python -m experiments.reproduce --workdir=runs/reproduce --kept=results

copies what is small of the finished runs to a folder (arrays and metrics, no checkpoints), whether
the others are finished or not, and judges and draws there what it holds. Later the folder alone is
enough: --kept=results judges and draws again.
"""

import dataclasses
import math
import time
from pathlib import Path

import jax

from mcjax import data, plots

from .cli import ReproduceConfig, UsageError, cores, main, processes, say
from .landscapes import drawing
from .papers import jobs, verdict_figure, verdicts
from .papers.gotmare2018 import claims, figures, kept, paper_report, scales
from .papers.gotmare2018.findings import Findings
from .papers.judging import Claim, Results
from .runs import Run, Status, json_text, load_arrays, write_atomically


def run(config: ReproduceConfig) -> list[list[Claim]]:
    """Builds what is missing, draws the figures, judges the claims and writes the report.

    Returns:
      The claims of each repetition.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came.
    """
    if config.kept:
        return _from_kept(config)
    folder = Run(config.workdir)
    checked = _check(config, folder)
    with folder.locked():
        return _build(folder, config, *checked)


def _build(folder, config, scale, numbers, plans):
    began = time.monotonic()
    folder.open("reproduction", config)
    todo = [job for plan in plans for job in plan.jobs]
    costs = {job.name: scales.seconds(scale, job) for plan in plans for job in plan.jobs}
    parallel_jobs = config.jobs or _default_jobs()
    _announce(scale, todo, costs)
    sources = []
    for k, plan in enumerate(plans):
        place = kept.place(folder.path, config.seeds, k)
        outcome = jobs.run_jobs(list(plan.jobs), costs, parallel_jobs, place / "logs")
        missing = {name: why for name, why in outcome.items() if why}
        sources.append(figures.Source(place, plan.epochs, missing))
    for source, plan in zip(sources, plans, strict=True):
        kept.add_from_weights(source.workdir, source.workdir, plan, config.data_dir)
    folder.move_to(Status.DONE, seconds=time.monotonic() - began)
    return _judge(folder, config, plans, sources, numbers)


def _from_kept(config):
    """Judges and draws what is kept, after adding the finished runs of ``--workdir``."""
    drawing.check_style(config.style)
    folder = Run(config.kept)
    if config.workdir:
        kept.collect(Run(config.workdir), folder, config.data_dir)
    count = kept.seeds(folder)
    flags = folder.info["flags"]
    plans = [kept.make_plan(flags, Path(f"seed{k}"), k) for k in range(count)]
    sources = []
    for k, plan in enumerate(plans):
        place = folder.path / f"seed{k}"
        sources.append(figures.Source(place, plan.epochs, kept.missing(plan, place)))
    numbers = _check_figures(config)
    there = {n for n in numbers if _showing(sources, plans, n) is not None}
    names = ("scale", "epochs_factor", "precision")
    settings = dataclasses.replace(config, seeds=count, **{name: flags[name] for name in names})
    return _judge(folder, settings, plans, sources, there)


def _showing(sources, plans, number) -> int | None:
    """The first repetition that has a run which the figure shows."""
    for k, (source, plan) in enumerate(zip(sources, plans, strict=True)):
        names = {job.name for job in plan.jobs} & scales.shown_in(number)
        if names - set(source.missing):
            return k
    return None


def _judge(folder, config, plans, sources, numbers):
    """Judges, draws and writes ``claims.json`` and the report."""
    scale = scales.SCALES[config.scale]
    same_steps = _same_steps(plans, sources)
    repetitions = [
        claims.judge(_results(source, plan, same_steps))
        for source, plan in zip(sources, plans, strict=True)
    ]
    pictures = folder.path / "figures"
    drawn = {}
    for number in sorted(numbers):
        seed = _showing(sources, plans, number) or 0
        made = figures.draw(sources[seed], {number}, pictures, config.style)
        drawn |= {number: (path, seed) for number, path in made.items()}
    with plots.style(*config.style):
        picture = verdict_figure.draw(repetitions)
        file = plots.save(picture, pictures / "verdicts") if picture else None
    text = json_text.dumps(verdicts.as_json(repetitions), indent=1)
    write_atomically(folder.path / "claims.json", text + "\n")
    planned = [plan.jobs for plan in plans]
    found = Findings(config, scale, folder.info, planned, sources, repetitions, drawn, file)
    paper_report.write(folder.path, found)
    for one in zip(*repetitions, strict=True):
        print(f"claim {one[0].number}: {verdicts.of_claim(one)}")
    print(f"report: {folder.path / 'report.html'}")
    return repetitions


def _check(config, folder):
    if not config.workdir:
        raise UsageError("--workdir is missing: the folder for all runs and the report")
    if launch := processes.given(config):
        raise UsageError(
            f"{launch}: reproduce starts processes of its own on one machine; on a cluster "
            "run the commands one by one, or fit_curves --shard"
        )
    scale = scales.SCALES[config.scale]
    numbers = _check_figures(config)
    if not 0 < config.epochs_factor <= 10 or config.seeds < 1 or config.jobs < 0:
        raise UsageError("--epochs_factor, --seeds and --jobs are above zero")
    drawing.check_style(config.style)
    folder.check_same("reproduction", config)
    machine = ("data_dir", "precision", "compilation_cache", "cpu_devices", "checkpoint_seconds")
    shared = {name: getattr(config, name) for name in machine}
    plans = [
        scales.make_plan(
            scale,
            kept.place(folder.path, config.seeds, k),
            numbers,
            config.epochs_factor,
            k,
            shared,
        )
        for k in range(config.seeds)
    ]
    first = plans[0].jobs[0].config
    try:
        data.load(first.dataset, data_dir=config.data_dir)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return scale, numbers, plans


def _check_figures(config):
    numbers = set(config.figures or scales.FIGURES)
    strange = sorted(numbers - set(scales.FIGURES))
    if strange:
        raise UsageError(f"--figures={strange[0]}: the paper has figures 1 to 10")
    return numbers


def _default_jobs() -> int:
    """One process a core on CPU; one on a GPU or TPU, which a process takes whole."""
    return min(cores(), 8) if jax.default_backend() == "cpu" else 1


def _announce(scale, todo, costs):
    new = [job for job in todo if Run(job.config.workdir).status != Status.DONE]
    if any(costs[job.name] is None for job in new):
        say(f"{len(new)} of {len(todo)} runs to do; nobody has timed this scale yet")
        return
    minutes = sum(costs[job.name] for job in new) / 60
    say(f"{len(new)} of {len(todo)} runs to do: about {minutes:.0f} minutes on {scale.machine}")


def _same_steps(plans, sources) -> tuple[dict[str, int], str]:
    """By curve with G, the evaluated epoch that is closest in steps to 20 of the paper's.

    Returns:
      It, and what it is in words; nothing where it is epoch 20.
    """
    wanted = 20 * scales.PAPER_STEPS
    curves = [
        (job, Run(source.workdir / job.name).info["steps_per_epoch"])
        for plan, source in zip(plans, sources, strict=True)
        for job in plan.jobs
        if job.name in claims.PAIRS_WITH_G and (source.workdir / job.name / "curve.npz").exists()
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


def _results(source: figures.Source, plan: scales.Plan, same_steps) -> Results:
    """Loads what the claims are judged by."""
    curves, surfaces = {}, {}
    epochs, words = same_steps
    for job in plan.jobs:
        if job.kind == "curve":
            # A curve that failed but was evaluated is evidence too: it does not connect.
            early, steps = source.epochs[job.name].get(20), epochs.get(job.name)
            labels = {"": "", "@20": f"@{early}"}
            labels["@steps"] = "" if steps == job.config.epochs else f"@{steps}"
            for suffix, label in labels.items():
                file = source.workdir / job.name / f"curve{label}.npz"
                if file.exists() and (suffix != "@steps" or steps):
                    curves[job.name + suffix] = load_arrays(file)
        elif job.kind == "surface" and job.name not in source.missing:
            surfaces[job.name] = source.surface(job.name)
    file = source.workdir / "gradients.json"
    norms = json_text.loads(file.read_bytes()) if file.exists() else {}
    return Results(curves, surfaces, source.missing, norms, words)


if __name__ == "__main__":
    main(ReproduceConfig, run, __doc__)
