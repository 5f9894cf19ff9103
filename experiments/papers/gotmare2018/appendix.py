"""Tables of all numbers of a reproduction, for the end of its report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.results import PathMetrics, Profile, Surface, named

from ...runs import load_result
from .. import report, verdicts
from ..judging import Claim, Reading
from .findings import Findings


def blocks(found: Findings) -> list[report.Block]:
    """Returns all numbers, in sections that open on click."""
    parts: list[report.Block] = [report.Heading("All numbers")]
    for claims in zip(*found.repetitions, strict=True):
        title = f"Claim {claims[0].number}: {claims[0].short}"
        parts.append(report.Folded(title, _claim_blocks(claims)))
    for title, tables in (
        ("Barriers in the training loss of every pair", [_barriers(found)]),
        ("Your own metrics along every pair", [_own_metrics(found)]),
        ("Ensembles along the curves", _ensembles(found)),
        ("Iterates on the planes", [_iterates(found)]),
        ("Modes", [_modes(found)]),
    ):
        if any(table.rows for table in tables if isinstance(table, report.Table)):
            parts.append(report.Folded(title, tables))
    return parts


def _claim_blocks(claims: Sequence[Claim]) -> list[report.Leaf]:
    blocks: list[report.Leaf] = [report.Text(f"“{claims[0].words}”", "The paper:")]
    for seeds in verdicts.readings(claims):
        first = seeds[0]
        label = f"{first.label}: " if first.label else ""
        beside = "" if first.decides else " (reported; does not decide)"
        blocks.append(report.Text(f"{label}{first.rule}{beside}.", "Rule:"))
        reasons = list(dict.fromkeys(s.why for s in seeds if s.why))
        blocks.append(report.Text(". ".join(reasons), f"{verdicts.verdict(seeds)}."))
        if any(s.measurements for s in seeds):
            blocks.append(_measurements(seeds))
    names = dict.fromkeys(name for c in claims for name in c.numbers)
    rows = [(n, *_cells([c.numbers.get(n) for c in claims])) for n in names]
    if rows:
        blocks.append(report.Table(("also measured", *_seed_columns(claims)), rows))
    return blocks


def _seed_columns(seeds: Sequence[Any]) -> tuple[str, ...]:
    if len(seeds) == 1:
        return ("value",)
    return (*(f"seed {k}" for k in range(len(seeds))), "mean [lowest, highest]")


def _cells(values: Sequence[float | None]) -> list[str]:
    """A cell per seed and, for several seeds, one that sums them up."""
    there = [x for x in values if x is not None]
    cells = ["" if x is None else f"{x:.4g}" for x in values]
    return cells if len(cells) == 1 else [*cells, verdicts.interval(there) if there else ""]


def _measurements(seeds: Sequence[Reading]) -> report.Table:
    rows = []
    for quantity in verdicts.quantities(seeds):
        found = [{m.pair: m for m in s.measurements if m.quantity == quantity} for s in seeds]
        for pair in dict.fromkeys(pair for one in found for pair in one):
            values = [one[pair].value if pair in one else None for one in found]
            words = f"{quantity.words} ({quantity.unit})"
            rows.append((words, pair, *_cells(values), verdicts.needed(quantity)))
    return report.Table(("quantity", "pair", *_seed_columns(seeds), "needed"), rows)


BARRIER_HEADER = (
    "pair", "path", "loss at the ends", "over the higher end", "over the mean", "over the chord",
    "mean over t", "mean over length", "length", "barrier",
)  # fmt: skip


def _barriers(found: Findings) -> report.Table:
    """Barriers in the training loss of every pair, on the segment and on the curve."""
    rows = []
    for label, _, run in found.runs("curve"):
        file = run.path / "curve.npz"
        if not file.exists():
            continue
        for name, path in _in_order(load_result(Profile, file)):
            if "train" not in path.metrics:  # evaluated on other --splits
                continue
            losses, heights = path.metrics["train"]["loss"], path.barriers["train"]["loss"]
            length = np.nan if path.arc_length is None else path.arc_length[-1]
            values = (*heights, *path.means["train"]["loss"], length)
            ends = f"{losses[0]:.4g}, {losses[-1]:.4g}"
            barrier = "yes" if heights.over_max > 0 else "no"
            rows.append((label, name, ends, *(f"{v:.4g}" for v in values), barrier))
    return report.Table(BARRIER_HEADER, rows)


def _in_order(found: Profile) -> list[tuple[str, PathMetrics]]:
    """The segment first, then the curve."""
    return list(found.paths.items())[::-1]


def _own_metrics(found: Findings) -> report.Table:
    """The user's own metrics along every segment and curve."""
    rows: list[tuple[str, ...]] = []
    for label, _, run in found.runs("curve"):
        file = run.path / "curve.npz"
        if file.exists():
            rows += own_metrics_rows(label, load_result(Profile, file))
    header = ("pair", "path", "metric", "at the start", "at the end", "lowest", "highest", "mean")
    return report.Table(header, rows)


def own_metrics_rows(label: str, found: Profile) -> list[tuple[str, ...]]:
    """One row per path and metric that is not one of the library's."""
    rows: list[tuple[str, ...]] = []
    for name, path in _in_order(found):
        metrics, means = named(path.metrics), named(path.means)
        for metric in (m for m in plots.metric_names(path.metrics) if m not in plots.METRIC_LABELS):
            values, mean = metrics[metric], means[metric].over_t
            numbers = (values[0], values[-1], np.nanmin(values), np.nanmax(values), mean)
            cells = (f"{float(x):.4g}" for x in numbers)
            rows.append((label, name, plots.metric_words(metric), *cells))
    return rows


def _ensembles(found: Findings) -> list[report.Leaf]:
    """Ensembles of each curve's points and ends: one row per curve and metric."""
    facts = {label: run.info.get("ensembles") for label, _, run in found.runs("curve")}
    curves = {label: one["rows"] for label, one in facts.items() if one}
    names = list(dict.fromkeys(row["members"] for rows in curves.values() for row in rows))
    lines = []
    for label, rows in curves.items():
        values = {row["members"]: row for row in rows}
        for metric in ("accuracy", "nll", "ece"):
            cells = (f"{values[n][metric]:.4g}" if n in values else "" for n in names)
            lines.append((label, metric, *cells))
    words = (
        "Probabilities on the validation split, averaged over equally spaced points of a curve and "
        "over its ends. nll: negative log-likelihood; ece: expected calibration error."
    )
    return [report.Text(words), report.Table(("curve", "metric", *names), lines)]


def _iterates(found: Findings) -> report.Table:
    """Every plane's iterates: losses, distances and projections."""
    rows = []
    for label, _, run in found.runs("surface"):
        file = run.path / "surface.npz"
        iterates: Any = load_result(Surface, file).iterates if file.exists() else None
        for i, epoch in enumerate(() if iterates is None else iterates.epoch):
            vectors = (iterates.affine[i], iterates.span[i])
            affine, span = (", ".join(f"{x:.3g}" for x in v) for v in vectors)
            distances = (iterates.distance[i], iterates.span_distance[i])
            loss, distance, far = (
                f"{x:.4g}" for x in (iterates.metrics["train"]["loss"][i], *distances)
            )
            rows.append((label, f"w{epoch}", loss, distance, affine, far, span))
    header = (
        "plane", "iterate", "its training loss", "distance from the plane", "affine coefficients",
        "distance from the span (A.2)", "span coefficients (A.2)",
    )  # fmt: skip
    return report.Table(header, rows)


def _modes(found: Findings) -> report.Table:
    """Every mode's status and final metrics."""
    rows = []
    for label, _, run in found.runs("mode"):
        info = run.info
        final = info.get("final", {})
        cells = [
            f"{final[split][metric]:.4g}" if metric in final.get(split, {}) else ""
            for split in ("train", "validation")
            for metric in ("loss", "accuracy")
        ]
        rows.append((label, info["status"], *cells, info.get("reason", "")))
    header = ("mode", "status", "training loss", "training accuracy", "validation loss",
              "validation accuracy", "why it failed")  # fmt: skip
    return report.Table(header, rows)
