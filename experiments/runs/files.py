"""Files of a run folder: written whole or not at all, and with checksums."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from mcjax.engine import parallel

from . import json_text


def checksum(values: dict[str, Any]) -> int:
    """The checksum of JSON values, whatever their layout in the file."""
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def line(values: dict[str, Any]) -> str:
    """A line of ``metrics.jsonl``."""
    values = json_text.encoded(values)
    return json_text.dumps(values | {"crc32": checksum(values)}) + "\n"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Of several processes the first one writes: when all have come here, so that whatever they
    decided by the old content they decided alike; all return when it is written.
    """
    parallel.wait_for_all(f"to write {path}")
    if parallel.is_first():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        if isinstance(content, str):
            content = content.encode()
        temporary.write_bytes(content)
        temporary.replace(path)
    parallel.wait_for_all(f"written {path}")
