"""Files of a run folder: atomic writes and checksums."""

import json
import zlib
from pathlib import Path
from typing import Any

from mcjax import paths
from mcjax.engine import parallel

from . import json_text


def checksum(values: dict[str, Any]) -> int:
    """The checksum of JSON values, independent of their layout in the file."""
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def line(values: dict[str, Any]) -> str:
    """A line of ``metrics.jsonl``, with its checksum."""
    values = json_text.encoded(values)
    return json_text.dumps(values | {"crc32": checksum(values)}) + "\n"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file atomically: it has either its old or its new content.

    Of several processes the first one writes. It waits for all of them first, so that decisions
    based on the old content agree; all return after the file is written.
    """
    parallel.wait_for_all(f"to write {path}")
    if parallel.is_first():
        paths.write_atomically(path, content.encode() if isinstance(content, str) else content)
    parallel.wait_for_all(f"written {path}")
