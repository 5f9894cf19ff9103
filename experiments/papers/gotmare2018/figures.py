"""Draws the paper's figures from the run folders of one repetition."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Profile, named

from ...landscapes import drawing
from ...runs import Run, load_arrays
from . import paper_plots
from .kept import PERPLEXITY
from .scales import CURVE_EPOCHS, CURVES, PAIRS, PLANES, pair_name, surface_name
from .sources import Source


def draw(
    source: Source, figures: set[int], folder: Path, style: Sequence[str] = ()
) -> dict[int, Path]:
    """Draws figures of the paper.

    Args:
      source: the runs of one repetition.
      figures: numbers of the paper's figures.
      folder: where to save them.
      style: matplotlib styles on top of mcjax's.

    Returns:
      The PNGs by number, without figures that failed.
    """

    def one(number: int) -> Path:
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
    def figure(source: Source) -> Figure:
        panels: dict[str, dict[int, Profile] | str] = {}
        for name in CURVES:
            if name in source.missing:
                panels[name] = source.missing[name]
                continue
            panels[name] = _evaluated(source, name, metric) or "not evaluated"
        here = {e: source.epochs["GA"][e] for e in CURVE_EPOCHS}
        return paper_plots.resilience_figure(panels, metric, here)

    return figure


def _evaluated(source: Source, name: str, metric: str) -> dict[int, Profile]:
    """A curve's profiles at the figure's epochs; a run may have other --eval_epochs or --splits."""
    found = {e: source.curve(name, e) for e in CURVE_EPOCHS if source.file(name, e).exists()}
    return {e: profile for e, profile in found.items() if metric in named(profile.curve.metrics)}


def figure_2(source: Source) -> Figure:
    """Draws validation accuracy, learning rates, and training loss between iterates."""
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
    """Draws the remaining metrics between iterates."""
    metrics = ("train_accuracy", "validation_accuracy", "validation_loss")
    return paper_plots.pairs_figure(_pairs(source), metrics)


def _pairs(source: Source) -> dict[str, dict[str, Profile | str]]:
    """By run and pair of iterates, the profile, or the reason why it is missing."""
    found: dict[str, dict[str, Profile | str]] = {}
    for run, pairs in PAIRS.items():
        names = {f"w{a}, w{b}": pair_name(run, a, b) for a, b in pairs}
        found[run] = {
            label: source.missing[name] if name in source.missing else source.curve(name)
            for label, name in names.items()
        }
    return found


def figure_4(source: Source) -> Figure:
    """Draws a t-SNE of the modes and the bends between them."""
    file = source.workdir / "embedding.npz"
    if not file.exists():
        return paper_plots.message_figure(
            f"No t-SNE: it needs more than {PERPLEXITY:g} trained networks"
        )
    arrays = load_arrays(file)
    points = {
        f"θ {name}" if len(name) == 2 else str(name): xy
        for name, xy in zip(arrays["name"], arrays["xy"], strict=True)
    }
    chains = [("G", f"θ {name}", name[1]) for name in CURVES if f"θ {name}" in points]
    return paper_plots.embedding_figure(points, chains, PERPLEXITY)


def caption(source: Source, number: int) -> str:
    """A figure's caption; for a plane, also how far off it the drawn curve and iterates lie."""
    words: list[str] = []
    if number in PLANES and (name := surface_name(number)) not in source.missing:
        words = drawing.off_plane_words(source.surface(name))
    sentences = (f" {' '.join(line.split()).capitalize()}." for line in words)
    return CAPTIONS[number] + "".join(sentences)


def _surface(number: int, metrics: tuple[str, ...]) -> Callable[[Source], Figure]:
    name, (first, second) = surface_name(number), PLANES[number]

    def figure(source: Source) -> Figure:
        if name in source.missing:
            return paper_plots.message_figure(f"{name}: {source.missing[name]}")
        labels = (f"w{first}", f"w{second}", f"θ {first}-{second}")
        return plots.surface_figure(source.surface(name), metrics, labels)

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

PLANE = (
    "The colour under an iterate is not its loss; its distance from the plane is in parentheses. "
    "Contours between the grid's points are a monotone interpolation of the log of the loss."
)
"""The caption of every plane."""
CAPTIONS = {
    1: "Validation accuracy along the six curves GA to GF during curve training. t = 0 is G.",
    2: "(a) Validation accuracy over epochs, with batch norm's running averages; (b) "
    "learning rates; training loss on curve and segment between iterates (c) of SGDR and (d) of "
    "SGD with step decay.",
    3: "(a) Training and (b) validation loss on the plane through w70, w150 and θ, with SGDR's "
    f"iterates projected (affinely). {PLANE}",
    4: f"t-SNE of the seven modes and six bends (perplexity {PERPLEXITY:g}); lines are the chains. "
    "It preserves neighbourhoods, not distances.",
    5: f"Training loss on the plane through w30, w70 and θ, as figure 3. {PLANE}",
    6: f"Validation loss on the plane through w30, w70 and θ, as figure 3. {PLANE}",
    7: "Training accuracy, validation accuracy and validation loss between iterates.",
    8: "Validation loss along the six curves.",
    9: "Training accuracy along the six curves.",
    10: "Training loss along the six curves.",
}
