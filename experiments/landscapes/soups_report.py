"""Figures, ``soup.json`` and the printed table of averages of networks."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcjax import plots
from mcjax.analysis import soups
from mcjax.engine import parallel
from mcjax.results import Metrics, Soups, named

from ..cli import SoupConfig
from ..runs import Run, json_text, write_atomically
from . import drawing, interpolation_report, report
from .soups import FILE, REPORT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 14
"""Of a column of numbers."""


def finish(folder: Run, config: SoupConfig, found: Soups) -> str:
    """Writes the report and draws the figures; returns the text to print."""
    write_atomically(folder.path / REPORT, json_text.dumps(_facts(folder, config, found), indent=1))
    drawn = draw(folder, found, config.style) if parallel.is_first() else []
    text = summarize(folder, config, found)
    return text + "".join(f"\nfigure: {path}" for path in drawn)


def _facts(folder: Run, config: SoupConfig, found: Soups) -> dict[str, Any]:
    segments = found.segments
    return {
        "recipe": config.recipe,
        "networks": report.networks(segments),
        "paths": [
            row for path in segments.paths
            for row in interpolation_report.rows(segments, path, config.curve)
        ],
        "aligned": folder.info["soup"].get("aligned", {}),
        "averages": [
            {"name": str(name), "coefficients": found.coefficients[k].tolist()}
            | _at(found.averages.metrics, k)
            for k, name in enumerate(found.recipe)
        ],
        "greedy_chosen_by": soups.score(segments.networks.metrics)[0],
        "ensembles": [
            {"name": str(name)} | _at(found.ensembles, k) for k, name in enumerate(found.ensemble)
        ],
    }  # fmt: skip


def _at(metrics: Metrics, index: int) -> dict[str, float]:
    return {name: float(values[index]) for name, values in named(metrics).items()}


def draw(folder: Run, found: Soups, style: Sequence[str]) -> list[Path]:
    """Draws all figures; returns the PNGs, without figures that failed."""
    figures: dict[str, Callable[[], Figure]] = {"soup": partial(plots.soups_figure, found)}
    if found.segments.paths["segment"].barriers:
        figures["barriers"] = partial(plots.barriers_figure, found.segments)

    def one(stem: str) -> Path:
        with plots.style(*style):
            return plots.save(figures[stem](), folder.path / "figures" / stem)

    file, again = folder.path / FILE, drawing.command("soup", folder.path)
    drawn = [drawing.attempt(partial(one, stem), file, again) for stem in figures]
    return [path for path in drawn if path]


def summarize(folder: Run, config: SoupConfig, found: Soups) -> str:
    """The barriers between every two networks, then a table of networks, averages and ensembles."""
    lines = interpolation_report.barrier_lines(found.segments, config.curve)
    lines += _table(found)
    members = np.flatnonzero(found.coefficients[found.recipe.tolist().index("greedy")])
    names = ", ".join(str(found.segments.name[k]) for k in members)
    metric = plots.metric_words(soups.score(found.segments.networks.metrics)[0])
    lines.append(f"greedy averages {len(members)} of {len(found.segments.name)}: {names}")
    lines.append(f"it is chosen by the {metric.removesuffix(' (%)')}, which therefore flatters it")
    if folder.info["flags"]["use_test"]:
        lines.append("note: with --use_test that is the test split: no split is left to judge it")
    return "\n".join(lines)


def _table(found: Soups) -> Iterator[str]:
    """A row per network, average and ensemble, with all metrics of the averages."""
    columns = plots.metric_names(found.averages.metrics, of_classes=False)
    own = named(found.segments.networks.metrics)
    mean = {name: values.mean()[None] for name, values in own.items()}
    kinds: list[tuple[list[str], dict[str, np.ndarray]]] = [
        (found.segments.name.tolist(), own),
        (["mean of the networks"], mean),
        (found.recipe.tolist(), named(found.averages.metrics)),
        (found.ensemble.tolist(), named(found.ensembles)),
    ]
    wide = max(len(name) for names, _ in kinds for name in names)
    heads = [plots.metric_words(name).replace(" (%)", " %").partition(" ") for name in columns]
    each = max(WIDTH, *(len(name) + 2 for *_, name in heads))
    yield " " * wide + "".join(f"{split:>{each}}" for split, *_ in heads)
    yield " " * wide + "".join(f"{name:>{each}}" for *_, name in heads)
    for names, values in kinds:
        for k, row in enumerate(names):
            cells = (f"{plots.drawn(c, values[c])[k]:.4g}" if c in values else "" for c in columns)
            yield f"{row:{wide}}" + "".join(f"{cell:>{each}}" for cell in cells)
