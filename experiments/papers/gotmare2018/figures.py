"""The paper's figures, from the run folders of one repetition."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Profile, Surface

from ...landscapes import drawing
from ...runs import Run, load_arrays, load_result
from . import paper_plots
from .kept import PERPLEXITY
from .scales import CURVE_EPOCHS, MODES, PAIRS


class Source(NamedTuple):
    """Where a repetition's runs are.

    Attributes:
      workdir: holds the run folders.
      epochs: for each run, the epoch here for an epoch of the paper.
      missing: why a run is not there.
    """

    workdir: Path
    epochs: dict[str, dict[int, int]]
    missing: dict[str, str]

    def curve(self, name: str, epoch: int | None = None) -> Profile | None:
        """A curve's profile, at an epoch of the paper; None where the run is missing."""
        if name in self.missing:
            return None
        label = "" if epoch is None else f"@{self.epochs[name][epoch]}"
        return load_result(Profile, self.workdir / name / f"curve{label}.npz")

    def surface(self, name: str) -> Surface | None:
        """A surface; None where the run is missing."""
        if name in self.missing:
            return None
        return load_result(Surface, self.workdir / name / "surface.npz")


def draw(
    source: Source, figures: set[int], folder: Path, style: Sequence[str] = ()
) -> dict[int, Path]:
    """Draws figures, in mcjax's style and those on top of it.

    Returns:
      PNGs by number, without those that could not be drawn.
    """

    def one(number):
        with plots.style(*style):
            return plots.save(FIGURES[number](source), folder / f"figure{number:02d}")

    attempts = {
        number: drawing.attempt(
            functools.partial(one, number), source.workdir, "the same command, with "
            f"--figures={number}"
        )
        for number in sorted(figures)
    }  # fmt: skip
    return {number: path for number, path in attempts.items() if path}


def _resilience(metric: str) -> Callable[[Source], Figure]:
    def figure(source):
        panels = {}
        for mode in MODES[1:]:
            name = f"G{mode}"
            if name in source.missing:
                panels[name] = source.missing[name]
                continue
            panels[name] = {epoch: source.curve(name, epoch) for epoch in CURVE_EPOCHS}
        here = {e: source.epochs["GA"][e] for e in CURVE_EPOCHS}
        return paper_plots.resilience_figure(panels, metric, here)

    return figure


def figure_2(source: Source) -> Figure:
    """Validation accuracy, learning rates, and training loss between iterates."""
    histories = {}
    for run, label in (("sgdr", "SGDR"), ("step", "SGD, step decay")):
        if run not in source.missing:
            lines = Run(source.workdir / run).metrics()
            histories[label] = {
                "epoch": np.array([x["epoch"] for x in lines]),
                "lr": np.array([x["lr"] for x in lines]),
                "validation_accuracy": np.array([x["validation"]["accuracy"] for x in lines]),
            }
    return paper_plots.trajectories_figure(histories, _pairs(source))


def figure_7(source: Source) -> Figure:
    """The remaining metrics between iterates."""
    metrics = ("train_accuracy", "validation_accuracy", "validation_loss")
    return paper_plots.pairs_figure(_pairs(source), metrics)


def _pairs(source):
    return {
        run: {
            f"w{a}, w{b}": source.curve(f"{run}_{a}_{b}") or source.missing[f"{run}_{a}_{b}"]
            for a, b in pairs
        }
        for run, pairs in PAIRS.items()
    }


def figure_4(source: Source) -> Figure:
    """t-SNE of the modes and the bends between them."""
    file = source.workdir / "embedding.npz"
    if not file.exists():
        return paper_plots.message_figure(
            f"No t-SNE: perplexity {PERPLEXITY:g} needs more networks than trained"
        )
    arrays = load_arrays(file)
    points = {
        f"θ {name}" if len(name) == 2 else str(name): xy
        for name, xy in zip(arrays["name"], arrays["xy"], strict=True)
    }
    chains = [("G", f"θ G{m}", m) for m in MODES[1:] if f"θ G{m}" in points]
    return paper_plots.embedding_figure(points, chains, PERPLEXITY)


def caption(source: Source, number: int) -> str:
    """A figure's caption; of a plane also how far from it is what is drawn on it."""
    surface = source.surface(PLANES[number]) if number in PLANES else None
    words = [] if surface is None else drawing.off_plane_words(surface)
    sentences = (f" {' '.join(line.split()).capitalize()}." for line in words)
    return CAPTIONS[number] + "".join(sentences)


PLANES = {3: "surface_70_150", 5: "surface_30_70", 6: "surface_30_70"}


def _surface(number: int, metrics: tuple[str, ...]) -> Callable[[Source], Figure]:
    name = PLANES[number]

    def figure(source):
        surface = source.surface(name)
        if surface is None:
            return paper_plots.message_figure(f"{name}: {source.missing[name]}")
        _, first, second = name.split("_")
        labels = (f"w{first}", f"w{second}", f"θ {first}-{second}")
        return plots.surface_figure(surface, metrics, labels)

    return figure


FIGURES: dict[int, Callable[[Source], Figure]] = {
    1: _resilience("validation_accuracy"),
    2: figure_2,
    3: _surface(3, ("train_loss", "validation_loss")),
    4: figure_4,
    5: _surface(5, ("train_loss",)),
    6: _surface(6, ("validation_loss",)),
    7: figure_7,
    8: _resilience("validation_loss"),
    9: _resilience("train_accuracy"),
    10: _resilience("train_loss"),
}
"""The function that draws each figure of the paper."""

CAPTIONS = {
    1: "Validation accuracy along the six curves GA to GF during curve training. t = 0 is G.",
    2: "(a) Validation accuracy over the epochs, by running batch-norm averages; (b) "
    "learning rates; training loss on curve and segment between iterates (c) of SGDR and (d) of "
    "SGD with step decay.",
    3: "Training and validation loss on the plane through w70, w150 and θ, with SGDR's iterates "
    "projected (affinely). The colour under an iterate is not its loss: in parentheses stands its "
    "distance from the plane.",
    4: f"t-SNE of the seven modes and six bends (perplexity {PERPLEXITY:g}); lines are the chains. "
    "It keeps neighbourhoods, not distances.",
    5: "Training loss on the plane through w30, w70 and θ.",
    6: "Validation loss on the plane through w30, w70 and θ.",
    7: "Training accuracy, validation accuracy and validation loss between iterates.",
    8: "Validation loss along the six curves.",
    9: "Training accuracy along the six curves.",
    10: "Training loss along the six curves.",
}
