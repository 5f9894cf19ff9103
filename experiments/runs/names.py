"""References to checkpoints and to points on curves: ``RUN[@EPOCH][~T]``, ``RUN@sSTEP``."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from mcjax import paths

from ..cli import UsageError, path_text

SYNTAX = "write RUN[@EPOCH][~T] or RUN@sSTEP"


class Name(NamedTuple):
    """A parsed reference; parts that are not given are None."""

    run: Path
    epoch: int | None
    t: float | None
    step: int | None = None


def parse_name(text: str) -> Name:
    """Parses a reference: splits off a final ``@EPOCH`` or ``@sSTEP``, and ``~T``.

    A run whose folder itself has such a name, like ``lr~0.1``, is found if there is no run ``lr``;
    with a trailing slash, ``lr~0.1/``, it is found in any case.

    Raises:
      UsageError: the text is not a reference.

    >>> parse_name("runs/digits/GA@20~0.25")
    Name(run=PosixPath('runs/digits/GA'), epoch=20, t=0.25, step=None)
    >>> parse_name("runs/digits/G@s17").step
    17
    """
    text = _text(text)
    match = re.fullmatch(r"(.+?)(?:@(s?)(\d+))?(?:~(\d*\.?\d+(?:[eE]-?\d+)?))?", text)
    if match is None:
        raise UsageError(f"{text!r} is not a checkpoint: {SYNTAX}")
    run, is_step, number, t = match.groups()
    if is_run(at(text)) and not is_run(at(run)):
        return Name(at(text), None, None)
    if t is not None and float(t) > 1:
        raise UsageError(f"{text!r}: T must be from 0 to 1")
    count = None if number is None else int(number)
    epoch, step = (None, count) if is_step else (count, None)
    return Name(at(run), epoch, None if t is None else float(t), step)


def label(text: str) -> str:
    """A short label for figures: the name of a run or flagfile, with epoch and ``t``.

    >>> label("experiments/flags/digits/G.cfg"), label("runs/digits/sgdr@70")
    ('G', 'sgdr@70')
    """
    return Path(text).name.removesuffix(".cfg")


def a_kind(kind: str) -> str:
    """A run's kind with its article.

    >>> a_kind("mode"), a_kind("interpolation")
    ('a mode', 'an interpolation')
    >>> a_kind("layers")
    'a layers run'
    """
    noun = f"{kind} run" if kind in ("layers", "instability", "sharpness") else kind
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {noun}"


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, of any status."""
    file = folder / "run.json"
    return file.is_file() if paths.is_url(file) else os.path.isfile(file)


def at(text: Path | str) -> Path:
    """A path on this machine, with ``~`` expanded, or at a bucket.

    Raises:
      UsageError: it is another URL, or there is no such bucket.
    """
    try:
        return paths.at(path_text(str(text)))
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from None


def _text(text: str) -> str:
    try:
        return path_text(text)
    except ValueError as error:
        raise UsageError(f"{text}: {error}") from None
