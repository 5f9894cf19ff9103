"""Slurm's programs, made up: what they are asked is recorded, and they answer as they are told."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAMS = {
    "sbatch": """
        [ -f $here/refusal ] && { cat $here/refusal >&2; exit 1; }
        number=$(($(find $here -name '*.sh' | wc -l) + 1))
        cp "$1" $here/$number.sh
        echo Submitted batch job $number
    """,
    "squeue": "[ -f $here/down ] && { cat $here/down >&2; exit 1; }; cat $here/queue",
    "scancel": 'echo "$@" >> $here/cancelled',
    "scontrol": 'echo "$@" >> $here/control',
    "srun": 'until [ -x "$1" ]; do shift; done; "$@"',  # without its options
}


class Slurm(NamedTuple):
    """Slurm's programs on ``PATH``, and their folder."""

    folder: Path

    def script(self, number):
        return (self.folder / f"{number}.sh").read_text()

    def queue(self, *lines):
        """What is in the queue: ``ID|STATE|TIME|REASON``."""
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def said(self, name):
        file = self.folder / name
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name, text in PROGRAMS.items():
        file = folder / "bin" / name
        file.write_text(f"#!/bin/bash\nhere={folder}\n{text}\n")
        file.chmod(0o755)
    (folder / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return Slurm(folder)
