"""The names of checkpoints and of points on curves: ``RUN[@EPOCH][~T]``."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from ..cli import UsageError, local_text

NAMED = "write RUN[@EPOCH][~T]"


class Name(NamedTuple):
    """``RUN[@EPOCH][~T]``, taken apart."""

    run: Path
    epoch: int | None
    t: float | None


def parse_name(text: str) -> Name:
    """Takes a checkpoint's name apart: a final ``@digits`` and ``~T``, whatever stands before them.

    A run whose own folder is called so, like ``lr~0.1``, is meant where there is no other; with a
    slash at the end, ``lr~0.1/``, it is meant in any case.

    >>> parse_name("runs/digits/GA@20~0.25")
    Name(run=PosixPath('runs/digits/GA'), epoch=20, t=0.25)
    """
    text = _text(text)
    match = re.fullmatch(r"(.+?)(?:@(\d+))?(?:~(\d*\.?\d+(?:[eE]-?\d+)?))?", text)
    if match is None:
        raise UsageError(f"{text!r} is no checkpoint: {NAMED}")
    run, epoch, t = match.groups()
    if is_run(Path(text)) and not is_run(Path(run)):
        return Name(Path(text), None, None)
    if t is not None and float(t) > 1:
        raise UsageError(f"{text!r}: T is from 0 to 1")
    return Name(Path(run), None if epoch is None else int(epoch), None if t is None else float(t))


def label(text: str) -> str:
    """A short name for a figure: a run's or a mode's flagfile's, with epoch and ``t``.

    >>> label("experiments/flags/digits/G.cfg"), label("runs/digits/sgdr@70")
    ('G', 'sgdr@70')
    """
    return Path(text).name.removesuffix(".cfg")


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, whatever its state."""
    return os.path.isfile(folder / "run.json")


def local(text: Path | str) -> Path:
    """A path of this machine; raises UsageError for the address of a remote place."""
    return Path(_text(str(text)))


def _text(text: str) -> str:
    try:
        return local_text(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from None
