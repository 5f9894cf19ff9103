"""What the reports of evaluated paths share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mcjax import plots
from mcjax.engine import parallel
from mcjax.results import Interpolation, LayerPaths, Layers, PairPaths, named

from ..runs import Run, Status, json_text, write_atomically


def finish(
    folder: Run,
    file: str,
    facts: dict[str, Any],
    draw: Callable[[], Sequence[Path]],
    summary: str,
) -> str:
    """Writes ``facts`` as JSON, draws, and marks the run done; returns the text to print."""
    write_atomically(folder.path / file, json_text.dumps(facts, indent=1) + "\n")
    drawn = draw() if parallel.is_first() else []
    folder.move_to(Status.DONE, summary=summary)
    return summary + "".join(f"\nfigure: {path}" for path in drawn)


def networks(found: Interpolation | Layers) -> list[dict[str, Any]]:
    """Names and metrics of the networks."""
    own = named(found.networks.metrics)
    return [
        {"name": str(name)} | {metric: values[k] for metric, values in own.items()}
        for k, name in enumerate(found.name)
    ]


def network_lines(found: Interpolation | Layers) -> list[str]:
    """A line for each network with its metrics, for the printed summary."""
    metrics = found.networks.metrics
    own, order = named(metrics), plots.metric_names(metrics, of_classes=False)
    return [
        f"network  {name}: "
        + ", ".join(f"{plots.metric_words(m)} {plots.drawn(m, own[m])[k]:.4g}" for m in order)
        for k, name in enumerate(found.name)
    ]


def barriers(paths: PairPaths | LayerPaths, number: int) -> dict[str, dict[str, float]]:
    """The barriers of one path in all measures, by metric."""
    heights = named(paths.barriers).items()
    return {m: {how: x[number] for how, x in h._asdict().items()} for m, h in heights}
