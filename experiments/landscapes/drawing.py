"""How commands draw: styles are checked before any long work, and a failed figure is a warning."""

import contextlib
import io
import logging
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mcjax import plots
from mcjax.results import Surface

from ..cli import UsageError, launch, say


def check_style(names: Sequence[str]) -> None:
    """Draws a word in each style, so that none fails after hours of work.

    Raises:
      UsageError: there is no such style, it has settings that matplotlib does not know, or it
        cannot draw (LaTeX that is not installed).
    """
    for name in names:
        try:
            with _complaints() as found, plots.style(name):
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
    """Draws a figure; a failure becomes a warning, since hours of work may lie in the arrays.

    Args:
      draw: draws and saves it, and gives its path.
      arrays: where they are.
      again: the command that draws it again.

    Returns:
      The figure's path, or None where it failed.

    Raises:
      OSError: the disk is full, or the like.
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
    """The command that opens a run again, and draws it."""
    return f"{launch.usage(name)} --flagfile={shlex.quote(str(folder / 'flags.cfg'))}"


def off_plane_words(surface: Surface) -> list[str]:
    """What a reader of a surface has to know: how far from the plane is what is drawn on it."""
    lines, curve, iterates = [], surface.curve, surface.iterates
    if curve is not None:
        lines.append(f"curve    at most {curve.distance.max():.4g} from the plane")
        if plots.off_plane(curve).any():
            lines[0] += "; where it is dotted the surface under it is not its own"
    if iterates is not None and iterates.variance_share is not None:
        share = plots.percent(iterates.variance_share)
        lines.append(f"iterates have {share} of their variance in the plane")
    return lines


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collects what matplotlib logs of a style file."""
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
