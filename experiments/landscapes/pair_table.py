"""Barriers of many curves and of their segments: rows, a table and a matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.engine import parallel
from mcjax.results import Profile

from ..cli import show
from ..runs import json_text, label, write_atomically
from ..training import Fit, pairs
from . import drawing

PATHS = ("curve", "segment")
FAILED = {"over_max": float("nan")}


def row(fit: Fit, found: Profile | None, why: str | None) -> dict[str, Any]:
    """Returns a curve's row of ``pairs.json``.

    Args:
      fit: the curve.
      found: its profile.
      why: why it failed; if given, the profile is ignored.
    """
    facts: dict[str, Any] = {
        "name": fit.folder.path.name,
        "start": label(fit.config.start),
        "end": label(fit.config.end),
        "seed": fit.config.seed,
    }
    if why is not None or found is None:
        return facts | {"why": why}
    return facts | {
        name: {"highest": float(np.max(path.metrics["train"]["loss"]))}
        | {how: float(x) for how, x in path.barriers["train"]["loss"]._asdict().items()}
        for name, path in found.paths.items()
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Formats the curves and their segments for the console: a line per pair, then the reasons."""
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"{'':{width}} {'highest training loss':>25}  {'over the higher end':>21}",
        f"{'':{width}} {'curve':>12} {'segment':>12}  {'curve':>10} {'segment':>10}",
    ]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "why" in row:
            word = "failed" if row["why"] != pairs.NOT_RUN else pairs.NOT_RUN
            lines.append(f"{row['name']:{width}} {word:>12}")
            if word == "failed":
                reasons.setdefault(row["why"], []).append(row["name"])
            continue
        numbers = [row[path][name] for name in ("highest", "over_max") for path in PATHS]
        lines.append(
            "{:{}} {:12.4g} {:12.4g}  {:10.4g} {:10.4g}".format(row["name"], width, *numbers)
        )
    lines += [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
    return "\n".join(lines)


def write(folder: Path, rows: Sequence[dict[str, Any]], style: Sequence[str]) -> None:
    """Writes ``pairs.json`` and draws the matrix of barriers."""
    write_atomically(folder / "pairs.json", json_text.dumps(rows, indent=1) + "\n")
    if not parallel.is_first():
        return
    heights = {
        path: [(row["start"], row["end"], row.get(path, FAILED)["over_max"]) for row in rows]
        for path in PATHS
    }

    def draw() -> Path:
        with plots.style(*style):
            figure = plots.barrier_matrix(heights["curve"], heights["segment"])
            return plots.save(figure, folder / "figures" / "barriers")

    figure = drawing.attempt(draw, folder / "pairs.json", "the same command")
    if figure:
        show(f"figure: {figure}")
