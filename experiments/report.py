"""The report: one self-contained HTML page, and the same in Markdown.

Both are written from the same blocks, so they say the same. Every string that is shown is escaped.
"""

import base64
import html
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.claims import NOT_TESTABLE, REPRODUCED, Claim
from experiments.runs import write_atomically
from mcjax import plots


class Heading(NamedTuple):
    """A heading of a section."""

    text: str


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Table(NamedTuple):
    """A table; all cells are plain text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Image(NamedTuple):
    """A figure with its caption."""

    path: Path
    caption: str


Block = Heading | Text | Table | Image

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 85%; margin: 1em 0; }
td, th { border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top; }
img { max-width: 100%; } figure { margin: 1.5em 0; } figcaption { font-size: 85%; color: #444; }
"""


def write(folder: Path, title: str, blocks: Sequence[Block]) -> None:
    """Writes ``report.html`` and ``report.md`` into a folder."""
    body = "\n".join(_html(block) for block in blocks)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n"
        "</body></html>\n"
    )
    write_atomically(folder / "report.html", page)
    text = "\n\n".join([f"# {_plain(title)}", *(_markdown(block, folder) for block in blocks)])
    write_atomically(folder / "report.md", text + "\n")


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Table(header, rows):
            line = lambda cells, tag: (  # noqa: E731
                "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"
            )
            return f"<table>{line(header, 'th')}{''.join(line(r, 'td') for r in rows)}</table>"
        case Image(path, caption):
            data = base64.b64encode(path.read_bytes()).decode()
            return (
                f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
    raise TypeError(block)


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text):
            return f"## {_plain(text)}"
        case Text(text):
            return _plain(text)
        case Table(header, rows):
            line = lambda cells: "| " + " | ".join(map(_cell, cells)) + " |"  # noqa: E731
            rule = "|" + "---|" * len(header)
            return "\n".join([line(header), rule, *map(line, rows)])
        case Image(path, caption):
            name = path.relative_to(folder).as_posix()
            return f"![{_plain(caption)}]({name})\n\n*{_plain(caption)}*"
    raise TypeError(block)


def _plain(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", " ")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def claims_table(repetitions: Sequence[Sequence[Claim]]) -> Table:
    """The claims with their verdicts and the numbers behind them, over all repetitions."""
    rows = []
    for claims in zip(*repetitions, strict=True):
        first = claims[0]
        rows.append(
            (
                str(first.number),
                first.words,
                verdict(claims),
                first.threshold,
                "; ".join(f"{name} {value}" for name, value in numbers(claims).items()),
                "; ".join(dict.fromkeys(c.why for c in claims if c.why)),
            )
        )
    header = ("#", "The paper", "Verdict", "Threshold", "Numbers", "If not, why")
    return Table(header, rows)


def verdict(claims: Sequence[Claim]) -> str:
    """One verdict from those of all repetitions: how many of them, where there are several."""
    tested = [c for c in claims if c.verdict != NOT_TESTABLE]
    if not tested:
        return NOT_TESTABLE
    held = sum(c.verdict == REPRODUCED for c in tested)
    if len(claims) == 1:
        return tested[0].verdict
    untested = len(claims) - len(tested)
    counts = f"held in {held} of {len(tested)} seeds" + (
        f", not testable in {untested}" if untested else ""
    )
    return f"{'not ' if held < len(tested) else ''}{REPRODUCED} ({counts})"


def numbers(claims: Sequence[Claim]) -> dict[str, str]:
    """Each number as it was measured, or its mean and range over the repetitions."""
    names = dict.fromkeys(name for c in claims for name in c.numbers)
    return {n: _interval([c.numbers[n] for c in claims if n in c.numbers]) for n in names}


def _interval(values: Sequence[Any]) -> str:
    if isinstance(values[0], bool):
        texts = ["yes" if v else "no" for v in values]
        return ", ".join(texts)
    if len(values) == 1:
        return f"{values[0]:.4g}"
    low, high = min(values), max(values)
    return f"{statistics.mean(values):.4g} [{low:.4g}, {high:.4g}]"


BARRIER_HEADER = (
    "pair", "path", "loss at the ends", "over the higher end", "over the mean", "over the chord",
    "mean over t", "mean over length", "length", "barrier",
)  # fmt: skip


def barrier_table(curves: dict[str, dict[str, Any]]) -> Table:
    """The barrier test on the training loss of every pair, on the segment and on the curve."""
    rows = []
    for name, arrays in curves.items():
        for path in ("segment", "curve"):
            key = f"{path}_train_loss"
            losses = arrays[key]
            values = [float(arrays[f"{key}_{h}"]) for h in ("over_max", "over_mean", "over_chord")]
            values += [float(arrays[f"{key}_{h}"]) for h in ("mean", "arc_mean")]
            values.append(float(arrays[f"{path}_arc_length"][-1]))
            rows.append(
                (
                    name,
                    path,
                    f"{losses[0]:.4g}, {losses[-1]:.4g}",
                    *(f"{v:.4g}" for v in values),
                    "yes" if values[0] > 0 else "no",
                )
            )
    return Table(BARRIER_HEADER, rows)


def metrics_table(curves: dict[str, dict[str, Any]]) -> Table:
    """Metrics of the user's own along every segment and curve; no rows where there are none."""
    rows = []
    for name, arrays in curves.items():
        for path in ("segment", "curve"):
            metrics = plots.metric_names(arrays, f"{path}_")
            for metric in (m for m in metrics if m not in plots.METRIC_LABELS):
                values = arrays[f"{path}_{metric}"]
                mean = arrays[f"{path}_{metric}_mean"]
                numbers = (values[0], values[-1], np.nanmin(values), np.nanmax(values), mean)
                cells = (f"{float(x):.4g}" for x in numbers)
                rows.append((name, path, plots.metric_label(metric), *cells))
    header = ("pair", "path", "metric", "at the start", "at the end", "lowest", "highest", "mean")
    return Table(header, rows)


def ensemble_table(ensembles: dict[str, Sequence[dict[str, Any]]]) -> Table:
    """Ensembles of each curve's points and ends: a row for each curve and metric."""
    names = list(dict.fromkeys(row["members"] for rows in ensembles.values() for row in rows))
    lines = []
    for curve, rows in ensembles.items():
        found = {row["members"]: row for row in rows}
        for metric in ("accuracy", "nll", "ece"):
            cells = (f"{found[n][metric]:.4g}" if n in found else "" for n in names)
            lines.append((curve, metric, *cells))
    return Table(("curve", "metric", *names), lines)
