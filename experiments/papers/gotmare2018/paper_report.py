"""The report of a reproduction: verdicts first, then figures, all numbers, and settings."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...cli import recorded
from .. import report, verdicts
from ..judging import NOT_RUN, NOT_TESTABLE, Claim
from . import appendix, differences, figures
from .findings import Findings

PAPER_CAPTIONS = {
    1: "Validation accuracy corresponding to models on 6 different curves, GA to GF, at epochs 20, "
    "40, 60 and 80 of curve training; t = 0 is mode G.",
    2: "(a) Validation accuracy of a VGG16 trained on CIFAR-10 by SGDR with warm restarts. (b) "
    "SGDR and SGD learning rates. (c) Cross-entropy training loss on the curve and on the line "
    "segment joining w30 and w70, w70 and w150, w30 and w150 of SGDR; (d) w55 and w65, w145 and "
    "w165, w55 and w165 of SGD with step decay.",
    3: "(a) Training loss surface (log scale) and (b) validation loss surface (log scale) on the "
    "plane defined by w70, w150 and w70-150, with projections of the SGDR iterates.",
    4: "The modes and their connecting points by t-SNE.",
    5: "Training loss surface (log scale) on the plane of w30, w70 and w30-70.",
    6: "Validation loss surface (log scale) on the plane of w30, w70 and w30-70.",
    7: "Left: connecting iterates of SGD with step decay; right: of SGDR. Training accuracy, "
    "validation accuracy, validation loss.",
    8: "Validation loss of models on the 6 curves.",
    9: "Training accuracy of models on the 6 curves.",
    10: "Training loss of models on the 6 curves.",
}
"""The paper's captions, shortened."""


def write(folder: Path, found: Findings) -> None:
    """Writes ``report.html`` and ``report.md``."""
    title = f"Using mode connectivity for loss landscape analysis: {found.scale.title}"
    blocks = [*_summary(found), *_verdicts(found), *_figures(found)]
    report.write(folder, title, [*blocks, *appendix.blocks(found), *_settings(found)])


def _summary(found: Findings) -> list[report.Block]:
    count = len(found.sources)
    about = (
        f"a reproduction of Gotmare, Keskar, Xiong and Socher (2018) with {count} "
        f"seed{'s' if count > 1 else ''}; computed numbers decide every claim."
    )
    blocks: list[report.Block] = [report.Text(about, "What this is:")]
    if differing := _differences(found):
        blocks.append(report.Text(f"{differing}.", "Not as in the paper:"))
    for sentence in verdicts.summary(found.repetitions):
        meaning, _, claims = sentence.partition(": ")
        blocks.append(report.Text(claims, f"{meaning}:"))
    return blocks + [report.Text(text, "Not run yet:") for text in _unfinished(found)]


def _differences(found: Findings) -> str:
    """How the reproduction differs from the paper as a whole; empty if it does not."""
    factor = found.config.epochs_factor
    scale = differences.of_scale(found.scale, _steps(found))
    shorter = f"all epoch counts are multiplied by {factor:g}, so the verdicts mean little"
    return "; ".join(words for words in (scale, shorter if factor != 1 else "") if words)


def _unfinished(found: Findings) -> list[str]:
    """Counts the planned runs that are not done yet."""
    waiting = [sum(why == NOT_RUN for why in source.missing.values()) for source in found.sources]
    if not any(waiting):
        return []
    if len(waiting) == 1:
        return [f"{_runs(waiting[0])}; the verdicts use the runs that are done."]
    words = ", ".join(f"{_runs(n)} of seed {k}" for k, n in enumerate(waiting) if n)
    return [f"{words}; the verdicts use the runs that are done."]


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _verdicts(found: Findings) -> list[report.Block]:
    rows: list[tuple[str | report.Cell, ...]] = []
    seen: dict[str, int] = {}
    for claims in zip(*found.repetitions, strict=True):
        differing = differences.of_claim(claims[0].number, found.jobs[0])
        first = seen.setdefault(differing, claims[0].number)
        if len(differing) > 40 and first != claims[0].number:
            differing = f"as for claim {first}"
        rows += _rows(claims, found.drawn, differing)
    header = ("#", "Claim", "Verdict", "Measured", "Needed", "Figure", "Here (in the paper)")
    note = (
        "Measured is the deciding number: each seed's worst pair and, over several seeds, the mean "
        "with the lowest and the highest in brackets. Losses are cross-entropy without the L2 "
        "penalty, on clean data. The last column lists the settings of the claim's own runs that "
        "differ from the paper's."
    )
    blocks: list[report.Block] = [
        report.Heading("Verdicts"), report.Table(header, rows, cards=True), report.Text(note)
    ]  # fmt: skip
    if found.picture:
        caption = (
            "The deciding numbers of every claim, pair and seed. Dashed: the threshold; shaded: "
            "the range that the claim needs; hollow: the claim does not hold or cannot be tested."
        )
        blocks.append(report.Image(found.picture, caption, wide=True))
    return blocks


def _rows(
    claims: Sequence[Claim], drawn: Mapping[int, tuple[Path, int]], differing: str
) -> list[tuple[str | report.Cell, ...]]:
    """One row per deciding reading; each also names the readings that do not decide."""
    first, every = claims[0], verdicts.readings(claims)
    beside = [f"{s[0].label}: {verdicts.verdict(s)}" for s in every if not s[0].decides]
    rows: list[tuple[str | report.Cell, ...]] = []
    for seeds in (s for s in every if s[0].decides):
        decided = verdicts.deciding(seeds)
        reasons = [s.why for s in seeds if s.verdict == NOT_TESTABLE]
        judged = verdicts.mark(seeds) != verdicts.OPEN
        more = [*(beside if judged else ()), *reasons[:1]]
        rows.append(
            (
                str(first.number),
                report.Cell(first.short, more=[seeds[0].label] if seeds[0].label else ()),
                report.Cell(verdicts.verdict(seeds), verdicts.mark(seeds), more),
                _measured(decided),
                _unbroken(verdicts.needed(decided.quantity)) if decided else "",
                _link(first.figure, drawn),
                differing,
            )
        )
    return rows


def _measured(decided: verdicts.Deciding | None) -> str | report.Cell:
    if decided is None:
        return ""
    words = decided.quantity.words
    if decided.pairs > 1:
        words += f"; worst of {decided.pairs}"
    text = f"{verdicts.interval(decided.values)} {decided.quantity.unit}"
    return report.Cell(_unbroken(text), more=[words])


def _unbroken(text: str) -> str:
    """Keeps a percent sign beside its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _link(number: int, drawn: Mapping[int, tuple[Path, int]]) -> str | report.Cell:
    if number not in drawn:
        return ""
    return report.Cell(str(number), link=report.Heading(f"Figure {number}").anchor)


def _figures(found: Findings) -> list[report.Block]:
    blocks: list[report.Block] = [report.Heading("Figures")] if found.drawn else []
    for number, (path, seed) in found.drawn.items():
        of_seed = f" Seed {seed}." if len(found.sources) > 1 else ""
        ours = figures.caption(found.sources[seed], number)
        caption = (
            f"The paper's: {PAPER_CAPTIONS[number]} Here: {ours} {found.scale.title}.{of_seed}"
        )
        blocks += [report.Heading(f"Figure {number}", 3), report.Image(path, caption)]
    return blocks


def _settings(found: Findings) -> list[report.Block]:
    config, info = found.config, found.info
    seconds = sum(
        line["seconds"]
        for kind in ("mode", "curve")
        for _, _, run in found.runs(kind)
        for line in run.metrics()
    )
    versions = ", ".join(f"{name} {v}" for name, v in info["versions"].items())
    text = (
        f"python -m experiments.reproduce --paper={config.paper} --scale={config.scale} "
        f"--epochs_factor={config.epochs_factor:g} --seeds={config.seeds}. {versions}. Device: "
        f"{info['device']}, networks in {config.precision}. Training alone took "
        f"{seconds / 60:.1f} process minutes."
    )
    if "seconds" in info:
        text += (
            f" The last call of the command, which only runs what is missing, took "
            f"{info['seconds'] / 60:.1f} minutes in all."
        )
    epochs = [
        (run, ", ".join(f"{there}: {here}" for there, here in table.items()))
        for run, table in found.sources[0].epochs.items()
    ]
    return [
        report.Heading("Settings and cost"),
        report.Text(text),
        report.Folded(
            "Epochs", [report.Table(("run", "epoch in the flagfile: epoch here"), epochs)]
        ),
        report.Folded("Flags", [_flags(found)]),
    ]


def _steps(found: Findings) -> int | None:
    """Steps per epoch of most runs; None if no run exists."""
    runs = [run for kind in ("mode", "curve") for _, _, run in found.runs(kind)]
    counts = [run.info.get("steps_per_epoch") for run in runs]
    return statistics.mode(c for c in counts if c) if any(counts) else None


def _flags(found: Findings) -> report.Table:
    rows: list[tuple[str, str]] = []
    for jobs in found.jobs[:1]:
        for job in jobs:
            default = recorded(type(job.config)())
            mine = recorded(job.config).items()
            text = " ".join(f"--{n}={v}" for n, v in mine if v != default[n] and v is not None)
            rows.append((job.name, text))
    return report.Table(
        ("run of the first seed", "flags that differ from the command's defaults"), rows
    )
