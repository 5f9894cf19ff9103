"""Figures, ``layers.json`` and the printed table of layer-wise barriers."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mcjax import plots
from mcjax.results import Layers, named

from ..cli import LayersConfig
from ..runs import Run
from . import drawing, report
from .layers import FILE, REPORT

WIDTH = 12
"""Of a column of numbers."""


def finish(folder: Run, config: LayersConfig, found: Layers) -> str:
    """Writes the report, draws the figures and marks the run done; returns the text to print."""
    folder.open("layers", config)
    facts = {
        "networks": report.networks(found),
        "layers": list(_rows(found)),
        "aligned": folder.info.get("aligned", {}),
    }
    drawn = partial(draw, folder, found, config.style)
    return report.finish(folder, REPORT, facts, drawn, summarize(found))


def _rows(found: Layers) -> Iterator[dict[str, Any]]:
    """The barriers of each path of each layer."""
    for k, layer in enumerate(found.layer):
        for path, one in found.paths.items():
            yield {"layer": str(layer), "path": path, "barriers": report.barriers(one, k)}


def draw(folder: Run, found: Layers, style: Sequence[str]) -> list[Path]:
    """Draws a figure of each metric with barriers; returns the PNGs, without those that failed."""
    file, again = folder.path / FILE, drawing.command("layers", folder.path)

    def one(metric: str) -> Path:
        with plots.style(*style):
            figure = plots.layers_figure(found, metric)
            return plots.save(figure, folder.path / "figures" / f"barriers_{metric}")

    heights = found.paths["single"].barriers.values()
    names = dict.fromkeys(name for of_split in heights for name in of_split)
    metrics = [name for name in names if plots.of_class(name) is None]
    drawn = [drawing.attempt(partial(one, metric), file, again) for metric in metrics]
    return [path for path in drawn if path]


def summarize(found: Layers) -> str:
    """Summarizes the networks, and the barriers of the first metric on each split in a table."""
    order, lines = plots.metric_names(found.networks.metrics), report.network_lines(found)
    having = named(found.paths["single"].barriers)
    first = next((m.partition("_")[2] for m in order if m in having), None)
    for metric in (m for m in order if m in having and m.partition("_")[2] == first):
        lines += _table(found, metric)
    return "\n".join(lines)


def _table(found: Layers, metric: str) -> Iterator[str]:
    """The barriers of one metric over the chord, a row per layer."""
    width = max(map(len, found.layer))
    columns = [
        plots.drawn(metric, named(one.barriers)[metric].over_chord) for one in found.paths.values()
    ]
    yield f"barriers of the {plots.metric_words(metric)} {plots.CHORD_WORDS}, for layers that move"
    yield " " * width + "".join(f"{plots.LAYER_WORDS[path]:>{WIDTH}}" for path in found.paths)
    for layer, heights in zip(found.layer, np.transpose(columns), strict=True):
        yield f"{layer!s:{width}}" + "".join(f"{x:>{WIDTH}.4g}" for x in heights)
