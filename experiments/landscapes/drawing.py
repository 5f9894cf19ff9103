"""Drawing in commands: styles are checked before long work, and a failed figure is a warning."""

import contextlib
import io
import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mcjax import plots
from mcjax.results import Refinement, Sampling, Surface, named

from ..cli import UsageError, launch, say


def check_style(names: Sequence[str]) -> None:
    """Draws a letter in each style, so that no style fails after hours of work.

    Raises:
      UsageError: a style does not exist, has settings that matplotlib does not know, or cannot
        draw (for example because LaTeX is not installed).
    """
    if not names:
        return
    from matplotlib.figure import Figure  # slow to import

    for name in names:
        try:
            with _logged() as found, plots.style(name):
                pass
            if found:
                raise ValueError(found[0])
            with plots.style(name):
                figure = Figure(figsize=(1, 1))
                figure.text(0.5, 0.5, "t")
                figure.savefig(io.BytesIO(), format="png")
        except OSError:
            raise UsageError(
                f"--style={name}: no such style; give a matplotlib style's name or an .mplstyle "
                "file"
            ) from None
        except Exception as error:
            raise UsageError(f"--style={name}: {' '.join(str(error).split())}") from None


def attempt(draw: Callable[[], Path], arrays: Path, again: str) -> Path | None:
    """Draws a figure; a failure is only a warning, because the arrays hold the result.

    Args:
      draw: draws and saves the figure, and returns its path.
      arrays: the file or folder of the arrays.
      again: the command that draws the figure again.

    Returns:
      The figure's path; None if it failed.

    Raises:
      OSError: the figure cannot be written.
      UsageError: the arrays cannot be read.
    """
    try:
        return draw()
    except (OSError, UsageError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        say(
            f"warning: no figure ({reason[:300]}); the arrays are safe in {arrays}; to draw them "
            f"again: {again}"
        )
        return None


def command(name: str, folder: Path) -> str:
    """The command that draws a finished run again."""
    return f"{launch.usage(name)} --flagfile={shlex.quote(str(folder / 'flags.cfg'))}"


def off_plane_words(surface: Surface, link: str = "") -> list[str]:
    """Says how far off the plane a surface's curve and iterates lie.

    Args:
      surface: with the curve and the iterates.
      link: appended where the surface does not show their losses.
    """
    lines: list[str] = []
    curve, iterates = surface.curve, surface.iterates
    if curve is not None:
        lines.append(f"curve    at most {curve.distance.max():.4g} from the plane")
        if plots.off_plane(curve).any():
            lines[0] += f"; where it is dotted, the surface below it does not show its loss{link}"
    if iterates is not None and iterates.variance_share is not None:
        share = plots.percent(iterates.variance_share)
        lines.append(f"iterates have {share} of their variance in the plane")
        if link and plots.off_plane(iterates).any():
            lines[-1] += f"; some lie far off it, and the surface does not show their losses{link}"
    return lines


def measured_words(surface: Surface, losses: Iterable[str]) -> list[str]:
    """Says what of a surface was interpolated, or measured on a sample; nothing if nothing was.

    Args:
      surface: the surface.
      losses: names of the losses, such as ``train_loss``.
    """
    lines = []
    if surface.refinement is not None:
        lines.append(_refinement_words(surface.refinement))
    if surface.sampling is not None:
        values = named(surface.metrics)
        lines += _sampling_words(surface.sampling, {name: values[name] for name in losses})
    return lines


def _sampling_words(sampling: Sampling, losses: Mapping[str, np.ndarray]) -> Iterator[str]:
    """How many examples were measured, and the standard errors, as shares of the values."""
    counts = (f"{n:,} of {whole:,} {name}" for name, (n, whole) in sampling.examples.items())
    yield f"sampled  examples of each split: {', '.join(counts)}"
    errors = named(sampling.errors)
    if sampling.stop_above is not None:
        exact = np.all([x == 0 for x in errors.values()], axis=0)
        yield f"sampled  {exact.sum():,} of {exact.size:,} points were measured on all examples"
    for name, values in losses.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = errors[name] / np.abs(values)
        shares = shares[np.isfinite(shares) & (shares > 0)]
        if shares.size:
            middle, most = 100 * np.median(shares), 100 * shares.max()
            text = f"standard error {middle:.2g} % (median), {most:.2g} % (largest)"
            others = " of the others" if sampling.stop_above is not None else ""
            yield f"sampled  {name.replace('_', ' ')}{others}: {text}"


def _refinement_words(refinement: Refinement) -> str:
    """How much was interpolated, and by how much random points missed."""
    evaluated, misses = refinement.evaluated, named(refinement.misses)
    if evaluated.all():
        return f"refined  all {evaluated.size:,} points evaluated"
    text = f"refined  {evaluated.sum():,} of {evaluated.size:,} points evaluated"
    if not misses:
        return text
    names = sorted(misses, key=lambda name: not plots.is_loss(name))
    each = ", ".join(f"{n.replace('_', ' ')} {100 * misses[n].max():.2g} %" for n in names)
    count = len(next(iter(misses.values())))
    return f"{text}; interpolation missed {count} random ones by at most (of the range): {each}"


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Collects matplotlib's warnings about a style file."""
    found: list[str] = []
    logger, handler = logging.getLogger("matplotlib"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
