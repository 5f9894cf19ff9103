"""The figure, ``instability.json`` and the printed table of an instability analysis."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mcjax import plots
from mcjax.results import Instability, named

from ..cli import InstabilityConfig
from ..runs import Run
from . import drawing, notes, report
from .instability import FILE, REPORT

WIDTH = 20
"""Of a column of the table."""


def finish(folder: Run, config: InstabilityConfig, found: Instability) -> str:
    """Writes the report, draws the figure and marks the run done; returns the text to print."""
    folder.open("instability", config)
    facts = {
        "forks": list(_rows(found)),
        "stable_from": {metric: _stable(found, metric) for metric in _judged(found)},
    }
    return report.finish(folder, REPORT, facts, partial(_draw, folder, config, found), table(found))


def _draw(folder: Run, config: InstabilityConfig, found: Instability) -> list[Path]:
    """Draws the figure; returns its PNG, or nothing if that failed."""

    def one() -> Path:
        with plots.style(*config.style):
            figure = plots.instability_figure(found)
            return plots.save(figure, folder.path / "figures" / "instability")

    again = drawing.command("instability", folder.path)
    figure = drawing.attempt(one, folder.path / FILE, again)
    return [figure] if figure else []


def _rows(found: Instability) -> Iterator[dict[str, Any]]:
    """The barriers of each fork."""
    heights = named(found.barriers)
    for k, name in enumerate(found.name):
        barriers = {
            metric: {how: x[k] for how, x in found.spread(metric)._asdict().items()}
            | {"pairs": values[k].tolist()}
            for metric, values in heights.items()
        }
        step, epoch = int(found.step[k]), float(found.epoch[k])
        yield {"fork": str(name), "step": step, "epoch": epoch, "barriers": barriers}


def _judged(found: Instability) -> list[str]:
    """The metrics that have a threshold of stability."""
    return [
        metric
        for metric in _metrics(found)
        if metric.endswith(("accuracy", "error")) and plots.of_class(metric) is None
    ]


def _metrics(found: Instability, of_classes: bool = True) -> list[str]:
    """The metrics that have barriers, in the order of figures."""
    names = plots.metric_names(found.metrics, of_classes=of_classes)
    return [metric for metric in names if metric in named(found.barriers)]


def _stable(found: Instability, metric: str) -> str | None:
    first = found.stable_from(metric)
    return None if first is None else str(found.name[first])


def table(found: Instability) -> str:
    """A row per fork: mean and standard deviation of the barriers over its pairs."""
    metrics = sorted(_metrics(found, of_classes=False), key=plots.is_loss)
    pairs = found.pairs.shape[0]
    lines = [f"barriers over the mean of the ends, mean ± deviation over {pairs} pairs of children"]
    heads = [f"{metric.replace('accuracy', 'error').replace('_', ' ')}" for metric in metrics]
    lines.append(f"{'fork':>8}{'epoch':>8}" + "".join(f"{head:>{WIDTH}}" for head in heads))
    for k, name in enumerate(found.name):
        cells = (_cell(found, metric, k) for metric in metrics)
        row = "".join(f"{cell:>{WIDTH}}" for cell in cells)
        lines.append(f"{name!s:>8}{found.epoch[k]:>8.3g}{row}")
    for metric in _judged(found):
        first = _stable(found, metric)
        words = metric.replace("accuracy", "error").replace("_", " ")
        verdict = "no fork is stable up to the last" if first is None else f"stable from {first} on"
        lines.append(f"{words}: {verdict} (mean barrier below 2 points)")
    return "\n".join([*lines, *notes.of_instability(found)])


def _cell(found: Instability, metric: str, k: int) -> str:
    mean, std = (plots.drawn(metric, x)[k] for x in found.spread(metric)[:2])
    unit = " %" if metric.endswith("accuracy") else ""
    return f"{mean:.3g} ± {std:.2g}{unit}"
