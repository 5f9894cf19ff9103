"""How commands draw: the styles of --style, checked before any long work."""

import contextlib
import io
import logging
from collections.abc import Sequence

from matplotlib.figure import Figure

from experiments.config import UsageError
from mcjax import plots


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


@contextlib.contextmanager
def _complaints():
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
