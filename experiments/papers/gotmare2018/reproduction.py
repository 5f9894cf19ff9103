"""Reproduces the paper: from flags to runs, claims, figures and the report."""

import dataclasses
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import jax

from mcjax import data, plots
from mcjax.engine import threads

from ...cli import ReproduceConfig, UsageError, processes, say
from ...jobs import Job, last_job, run_jobs
from ...landscapes import drawing
from ...runs import Run, Status, json_text, write_atomically
from .. import verdict_figure, verdicts
from ..judging import NOT_RUN, Claim
from . import claims, evidence, figures, kept, paper_report, scales, timings
from .findings import Findings
from .sources import Source

Plans = Sequence[scales.Plan]
Sources = Sequence[Source]


def check_flags(config: ReproduceConfig, folder: Run) -> list[scales.Plan]:
    """Checks the flags and reads the data set once, so that jobs do not fail later.

    With --status, the data set is not read.

    Returns:
      The planned runs, by repetition.

    Raises:
      UsageError: a flag is wrong, or the data set cannot be read.
    """
    if not config.workdir:
        raise UsageError("--workdir is missing: the folder for all runs and the report")
    if launch := processes.given(config):
        raise UsageError(
            f"{launch}: reproduce starts its own processes: pass --launcher=slurm to run them as "
            "jobs of Slurm; on another cluster, run the commands one by one, or fit_curves --shard"
        )
    scale, config = scales.SCALES[config.scale], _with_precision(config)
    numbers = _figure_numbers(config)
    if not 0 < config.epochs_factor <= 10 or config.seeds < 1 or config.jobs < 0:
        raise UsageError("--epochs_factor and --seeds must be positive, --jobs not negative")
    drawing.check_style(config.style)
    folder.check_same("reproduction", config)
    machine = ("data_dir", "precision", "compilation_cache", "cpu_devices", "checkpoint_seconds")
    shared = {name: getattr(config, name) for name in machine}
    places = [kept.place(folder.path, config.seeds, k) for k in range(config.seeds)]
    plans = [
        scales.make_plan(scale, place, numbers, config.epochs_factor, k, shared)
        for k, place in enumerate(places)
    ]
    first = plans[0].jobs[0].config
    if config.status:
        return plans
    try:
        data.load(first.dataset, data_dir=config.data_dir)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return plans


def jobs(folder: Run, config: ReproduceConfig, plans: Plans) -> list[Job]:
    """The jobs of all repetitions, and a last one that judges their runs.

    Raises:
      UsageError: a run folder holds a run with other flags.
    """
    found: list[Job] = []
    for k, plan in enumerate(plans):
        kept.missing(plan, kept.place(folder.path, config.seeds, k))
        prefix = "" if config.seeds == 1 else f"seed{k}/"
        for job in plan.jobs:
            needs = tuple(prefix + need for need in job.needs)
            found.append(job._replace(name=prefix + job.name, needs=needs))
    needs = tuple(job.name for job in found)
    return [*found, last_job("report", "reproduce", config, needs)]


def build(folder: Run, config: ReproduceConfig, plans: Plans) -> list[list[Claim]]:
    """Runs what is missing, judges the claims, and draws the figures.

    With --launcher=none, nothing is run.

    Raises:
      UsageError: a job refused its flags.
      Interrupted: a signal came.
    """
    config, numbers = _with_precision(config), _figure_numbers(config)
    began = time.monotonic()
    folder.open("reproduction", config)
    facts: dict[str, float] = {}
    if config.launcher == "local":
        _run(folder, config, plans)
        facts = {"seconds": time.monotonic() - began}
    sources = []
    for k, plan in enumerate(plans):
        place = kept.place(folder.path, config.seeds, k)
        sources.append(Source(place, plan.epochs, kept.missing(plan, place)))
    for source, plan in zip(sources, plans, strict=True):
        kept.add_from_weights(source.workdir, source.workdir, plan, config.data_dir)
    if not any(NOT_RUN in source.missing.values() for source in sources):
        folder.move_to(Status.DONE, **facts)
    return _judge(folder, config, plans, sources, numbers)


def _run(folder: Run, config: ReproduceConfig, plans: Plans) -> None:
    """Runs what is missing, on this machine."""
    costs = _estimate(config, plans)
    parallel_jobs = config.jobs or _default_jobs()
    for k, plan in enumerate(plans):
        logs = kept.place(folder.path, config.seeds, k) / "logs"
        run_jobs(list(plan.jobs), costs, parallel_jobs, logs)


def from_kept(config: ReproduceConfig) -> list[list[Claim]]:
    """Judges and draws kept results, after adding the finished runs of ``--workdir``.

    Raises:
      UsageError: a flag is wrong, nothing is kept, or the kept results have other flags.
    """
    drawing.check_style(config.style)
    folder = Run(config.kept)
    if config.workdir:
        kept.collect(Run(config.workdir), folder, config.data_dir)
    count = kept.seeds(folder)
    flags = kept.recorded_flags(folder)
    if flags["paper"] != config.paper:
        raise UsageError(f"{folder.path} holds results of --paper={flags['paper']}")
    plans = [kept.make_plan(flags, Path(f"seed{k}"), k) for k in range(count)]
    sources = []
    for k, plan in enumerate(plans):
        place = folder.path / f"seed{k}"
        sources.append(Source(place, plan.epochs, kept.missing(plan, place)))
    numbers = _figure_numbers(config)
    there = {n for n in numbers if _showing(sources, plans, n) is not None}
    settings = dataclasses.replace(config, seeds=count, **{n: flags[n] for n in kept.SAME})
    return _judge(folder, settings, plans, sources, there)


def _showing(sources: Sources, plans: Plans, number: int) -> int | None:
    """The first repetition with a run that the figure shows."""
    for k, (source, plan) in enumerate(zip(sources, plans, strict=True)):
        names = {job.name for job in plan.jobs} & scales.shown_in(number)
        if names - set(source.missing):
            return k
    return None


def _judge(
    folder: Run,
    config: ReproduceConfig,
    plans: Plans,
    sources: Sources,
    numbers: Collection[int],
) -> list[list[Claim]]:
    """Judges, draws and writes ``claims.json`` and the report."""
    scale = scales.SCALES[config.scale]
    same_steps = evidence.same_steps(plans, sources)
    repetitions = [
        claims.judge(evidence.load(source, plan, same_steps))
        for source, plan in zip(sources, plans, strict=True)
    ]
    pictures = folder.path / "figures"
    drawn: dict[int, tuple[Path, int]] = {}
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


def _figure_numbers(config: ReproduceConfig) -> set[int]:
    """The figures to draw; raises UsageError for a number that the paper does not have."""
    numbers = set(config.figures or scales.FIGURES)
    strange = sorted(numbers - set(scales.FIGURES))
    if strange:
        raise UsageError(f"--figures={strange[0]}: the paper has figures 1 to 10")
    return numbers


def _default_jobs() -> int:
    """One process per core on CPU; one on a GPU or TPU, whose memory a process takes whole."""
    return min(threads.cores(), 8) if jax.default_backend() == "cpu" else 1


def _with_precision(config: ReproduceConfig) -> ReproduceConfig:
    """The flags with the precision of the scale's flagfiles, unless another is given."""
    if config.precision != "scale":
        return config
    return dataclasses.replace(config, precision=scales.SCALES[config.scale].precision)


def _estimate(config: ReproduceConfig, plans: Plans) -> dict[str, float]:
    """Prints how long the runs take; returns the estimated seconds by run, if there are any."""
    jobs_of_all = [job for plan in plans for job in plan.jobs]
    device = jax.devices()[0].device_kind
    rates = timings.find(config.scale, config.precision, device)
    new = [job for job in jobs_of_all if Run(job.config.workdir).status != Status.DONE]
    costs = [timings.seconds(rates, job) if rates else 0.0 for job in new]
    say(timings.announcement(costs, len(jobs_of_all), rates, config.precision, device))
    return {job.name: timings.seconds(rates, job) for job in jobs_of_all} if rates else {}
