"""Drawing in commands: styles are checked before long work, and a failed figure is a warning."""

import contextlib
import io
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mcjax import plots
from mcjax.results import Surface

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
