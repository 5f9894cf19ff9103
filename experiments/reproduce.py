"""Rebuilds the paper: every figure and every claim, at one of four scales.

    python -m experiments.reproduce --scale=digits --workdir=runs/reproduce

Only what is missing is built: it can be stopped at any time, and the same command goes on. The end
is WORKDIR/report.html (and report.md), WORKDIR/figures and WORKDIR/claims.json.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax

from experiments import claims, command, drawing, ends, figures, jobs, report, scales
from experiments import problem as problems
from experiments.arrays import load_arrays
from experiments.config import ReproduceConfig, UsageError, identity
from experiments.progress import say
from experiments.runs import Run, parse_name, write_atomically
from mcjax import data, parallel


def run(config: ReproduceConfig) -> list[list[claims.Claim]]:
    """Builds what is missing, draws the figures, judges the claims and writes the report.

    Returns:
      The claims of each repetition.

    Raises:
      UsageError: wrong flags, found before any long work.
      Interrupted: a signal came.
    """
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
    outcomes = [
        jobs.run_jobs(list(plan.jobs), costs, parallel_jobs, _place(folder, config, k) / "logs")
        for k, plan in enumerate(plans)
    ]
    repetitions, sources = [], []
    for k, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
        missing = {name: why for name, why in outcome.items() if why}
        source = figures.Source(_place(folder, config, k), plan.epochs, missing)
        sources.append(source)
        repetitions.append(claims.judge(_results(source, plan, config)))
    drawn = figures.draw(sources[0], numbers, config.style)
    folder.update(status="done", seconds=time.monotonic() - began)
    _write(folder, config, scale, repetitions, sources, drawn, todo)
    for one in zip(*repetitions, strict=True):
        print(f"claim {one[0].number}: {report.verdict(one)}")
    print(f"report: {folder.path / 'report.html'}")
    return repetitions


def _check(config, folder):
    if not config.workdir:
        raise UsageError("--workdir is missing: the folder for all runs and the report")
    if config.distributed or config.coordinator:
        raise UsageError(
            "--distributed: reproduce starts processes of its own on one machine; on a cluster "
            "run the commands one by one, or fit_curves --shard"
        )
    scale = scales.SCALES[config.scale]
    numbers = set(config.figures or scales.FIGURES)
    strange = sorted(numbers - set(scales.FIGURES))
    if strange:
        raise UsageError(f"--figures={strange[0]}: the paper has figures 1 to 10")
    if not 0 < config.epochs_factor <= 10 or config.seeds < 1 or config.jobs < 0:
        raise UsageError("--epochs_factor, --seeds and --jobs are above zero")
    drawing.check_style(config.style)
    folder.check_same("reproduction", config)
    machine = ("data_dir", "precision", "compilation_cache", "cpu_devices", "checkpoint_seconds")
    shared = {name: getattr(config, name) for name in machine}
    plans = [
        scales.make_plan(scale, _place(folder, config, k), numbers, config.epochs_factor, k, shared)
        for k in range(config.seeds)
    ]
    first = plans[0].jobs[0].config
    try:
        data.load(first.dataset, data_dir=config.data_dir)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return scale, numbers, plans


def _place(folder: Run, config: ReproduceConfig, seed: int) -> Path:
    return folder.path if config.seeds == 1 else folder.path / f"seed{seed}"


def _default_jobs() -> int:
    """One process a core on CPU; one on a GPU or TPU, which a process takes whole."""
    return min(command.cores(), 8) if jax.default_backend() == "cpu" else 1


def _announce(scale, todo, costs):
    new = [job for job in todo if Run(job.config.workdir).status != "done"]
    if any(costs[job.name] is None for job in new):
        say(f"{len(new)} of {len(todo)} runs to do; nobody has timed this scale yet")
        return
    minutes = sum(costs[job.name] for job in new) / 60
    say(f"{len(new)} of {len(todo)} runs to do: about {minutes:.0f} minutes on {scale.machine}")


def _results(source: figures.Source, plan: scales.Plan, config) -> claims.Results:
    """Loads what the claims are judged by."""
    curves, surfaces = {}, {}
    for job in plan.jobs:
        if job.module == "fit_curve":
            # A curve that failed but was evaluated is evidence too: it does not connect.
            early = f"@{source.epochs[job.name].get(20)}"
            for name, label in ((job.name, ""), (f"{job.name}@20", early)):
                file = source.workdir / job.name / f"curve{label}.npz"
                if file.exists():
                    curves[name] = load_arrays(file)
        elif job.module == "loss_surface" and job.name not in source.missing:
            surfaces[job.name] = source.surface(job.name)
    norms = _gradient_norms(source, plan, config) if "surface_70_150" in surfaces else {}
    return claims.Results(curves, surfaces, source.missing, norms)


def _gradient_norms(source, plan, config):
    """Norm of the training loss's gradient at w70 and w150, kept in ``gradients.json``."""
    file = source.workdir / "gradients.json"
    if file.exists():
        return json.loads(file.read_text())
    run = Run(source.workdir / "sgdr")
    mode = problems.mode_config(run.info, data_dir=config.data_dir)
    problem = problems.make_problem(mode, config.precision)
    norms = {}
    for epoch in (70, 150):
        name = parse_name(f"{run.path}@{plan.epochs['sgdr'][epoch]}")
        point = parallel.replicate(ends.load(name), problem.mesh)
        norms[f"w{epoch}"] = problem.evaluator.gradient_norm(point.params, point.state)
    write_atomically(file, json.dumps(norms))
    return norms


def _write(folder, config, scale, repetitions, sources, drawn, todo):
    """Writes ``claims.json`` and the report."""
    table = [
        {
            "number": one[0].number,
            "verdict": report.verdict(one),
            "words": one[0].words,
            "threshold": one[0].threshold,
            "numbers": [c.numbers for c in one],
            "why": [c.why for c in one],
        }
        for one in zip(*repetitions, strict=True)
    ]
    write_atomically(folder.path / "claims.json", json.dumps(table, indent=1, default=float) + "\n")
    title = f"Using mode connectivity for loss landscape analysis: {scale.title}"
    report.write(
        folder.path, title, _blocks(folder, config, scale, repetitions, sources, drawn, todo)
    )


def _blocks(folder, config, scale, repetitions, sources, drawn, todo):
    info = folder.info
    blocks: list[report.Block] = [
        report.Text(
            f"Gotmare et al. (2018), rebuilt by python -m experiments.reproduce "
            f"--scale={config.scale} --epochs_factor={config.epochs_factor:g} "
            f"--seeds={config.seeds}. Losses are cross-entropy alone, on clean data. "
            "Verdicts are computed from the numbers beside them."
        ),
        report.Heading("Claims"),
        report.claims_table(repetitions),
        report.Heading("Figures"),
        *(report.Image(path, f"Figure {n}. {figures.CAPTIONS[n]}") for n, path in drawn.items()),
        report.Heading("Barriers in the training loss"),
    ]
    for k, source in enumerate(sources):
        found = {
            job.name: load_arrays(source.workdir / job.name / "curve.npz")
            for job in _fitted(source, todo)
        }
        if len(sources) > 1:
            blocks.append(report.Text(f"Seed {k}:"))
        blocks.append(report.barrier_table(found))
        own = report.metrics_table(found)
        blocks += [own] if own.rows else []
    blocks += _ensemble_blocks(sources, todo)
    blocks += [report.Heading("Iterates on the planes"), _iterates_table(sources[0])]
    blocks += [report.Heading("Modes"), _modes_table(sources, todo)]
    blocks += [report.Heading("Epochs"), _epochs_table(sources[0])]
    trained = (j for j in todo if j.module != "loss_surface")
    seconds = sum(line["seconds"] for j in trained for line in Run(j.config.workdir).metrics())
    versions = ", ".join(f"{name} {v}" for name, v in info["versions"].items())
    blocks += [
        report.Heading("Settings and cost"),
        report.Text(
            f"{versions}. Device: {info['device']}, networks in {config.precision}. "
            f"An epoch has {_steps(todo)} steps here and 500 in the paper. Training alone took "
            f"{seconds / 60:.1f} process minutes; the command's last run, which builds only what "
            f"was missing, took {info['seconds'] / 60:.1f} minutes in all."
        ),
        report.Table(("run", "flags that differ from the command's defaults"), _flags(todo)),
    ]
    return blocks


def _fitted(source, todo):
    """The jobs of a repetition's curves that are there."""
    return [
        job
        for job in todo
        if job.module == "fit_curve"
        and Path(job.config.workdir).parent == source.workdir
        and job.name not in source.missing
    ]


def _ensemble_blocks(sources, todo):
    """A table for each repetition that has ensembles: runs of older versions have none."""
    blocks: list[Any] = []
    for k, source in enumerate(sources):
        found = {
            job.name: Run(job.config.workdir).info.get("ensembles") for job in _fitted(source, todo)
        }
        rows = {name: facts["rows"] for name, facts in found.items() if facts}
        if not rows:
            continue
        if len(sources) > 1:
            blocks.append(report.Text(f"Seed {k}:"))
        blocks.append(report.ensemble_table(rows))
    if not blocks:
        return []
    words = (
        "Probabilities averaged over points of a curve, t equally spaced, and over its ends; on "
        "the validation split. nll: negative log-likelihood; ece: expected calibration error."
    )
    return [report.Heading("Ensembles"), report.Text(words), *blocks]


def _steps(todo):
    """Steps an epoch of most runs."""
    counts = [Run(j.config.workdir).info.get("steps_per_epoch") for j in todo]
    return statistics.mode(count for count in counts if count)


def _flags(todo):
    rows = []
    for job in todo:
        default = identity(type(job.config)())
        mine = identity(job.config)
        text = " ".join(f"--{n}={v}" for n, v in mine.items() if v != default[n] and v is not None)
        rows.append((job.name, text))
    return rows


def _iterates_table(source):
    rows = []
    for name in ("surface_70_150", "surface_30_70"):
        there = (source.workdir / name / "surface.npz").exists()
        arrays = source.surface(name) if there else None
        if arrays is None or "iterate_epoch" not in arrays:
            continue
        for i, epoch in enumerate(arrays["iterate_epoch"]):
            vectors = (arrays["iterate_affine"][i], arrays["iterate_span"][i])
            affine, span = (", ".join(f"{x:.3g}" for x in v) for v in vectors)
            rows.append(
                (
                    name,
                    f"w{epoch}",
                    f"{arrays['iterate_train_loss'][i]:.4g}",
                    f"{arrays['iterate_distance'][i]:.4g}",
                    affine,
                    f"{arrays['iterate_span_distance'][i]:.4g}",
                    span,
                )
            )
    header = (
        "plane", "iterate", "its training loss", "distance from the plane", "affine coefficients",
        "distance from the span (A.2)", "span coefficients (A.2)",
    )  # fmt: skip
    return report.Table(header, rows)


def _modes_table(sources, todo):
    rows = []
    for job in todo:
        if job.module != "train_mode":
            continue
        info = Run(job.config.workdir).info
        final = info.get("final", {})
        cells = [
            f"{final[split][metric]:.4g}" if metric in final.get(split, {}) else ""
            for split in ("train", "validation")
            for metric in ("loss", "accuracy")
        ]
        rows.append((str(job.config.workdir), info["status"], *cells, info.get("reason", "")))
    header = ("mode", "status", "training loss", "training accuracy", "validation loss",
              "validation accuracy", "why it failed")  # fmt: skip
    return report.Table(header, rows)


def _epochs_table(source):
    rows = [
        (run, ", ".join(f"{there}: {here}" for there, here in table.items()))
        for run, table in source.epochs.items()
    ]
    return report.Table(("run", "epoch in the flagfile: epoch here"), rows)


if __name__ == "__main__":
    command.main(ReproduceConfig, run, __doc__)
