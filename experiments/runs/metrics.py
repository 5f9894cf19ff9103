"""``metrics.jsonl``: a line per epoch, each with a checksum."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcjax import paths
from mcjax.engine import parallel

from ..cli import UsageError
from . import files, json_text

FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Reads a run folder's metrics, a dict per epoch; ignores an incomplete last line.

    Raises:
      UsageError: a line is damaged.
    """
    file = folder / FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for number, text in enumerate(content.split(b"\n")[:-1], 1):
        line: Any = None
        with contextlib.suppress(ValueError):
            line = json.loads(text)
        if not isinstance(line, dict) or line.pop("crc32", None) != files.checksum(line):
            raise UsageError(f"{file} is damaged at line {number}")
        lines.append(json_text.decoded(line))
    return lines


def cut_metrics(folder: Path, step: int, steps_per_epoch: int) -> None:
    """Drops the lines of steps after ``step``, which will be repeated.

    Raises:
      UsageError: a line of an earlier epoch is missing.
    """
    kept = [line for line in read_metrics(folder) if line["step"] <= step]
    check_epochs(folder, kept, step // steps_per_epoch)
    files.write_atomically(folder / FILE, "".join(map(files.line, kept)))


def check_epochs(folder: Path, lines: Sequence[dict[str, Any]], epochs: int) -> None:
    """Raises UsageError unless there is a line for each epoch from 1 to ``epochs``."""
    there = [line["epoch"] for line in lines]
    if there != list(range(1, epochs + 1)):
        raise UsageError(
            f"{folder / FILE} is damaged: it has {len(there)} lines for epochs 1 to {epochs}; "
            "restore it, or retrain in another --workdir"
        )


def add_metrics(folder: Path, **line: Any) -> None:
    """Appends a line."""
    if parallel.is_first():
        paths.append(folder / FILE, files.line(line).encode())
