"""Run folders, and the names of checkpoints and of points on curves.

A run folder holds ``flags.cfg`` (runs it again), ``run.json`` (what it is, its status, versions
and device), ``metrics.jsonl`` (a line an epoch), ``checkpoints/`` and, for a curve, ``ends/``,
``curve.npz`` and ``figures/``. Of several processes the first one writes it; all must see it, on a
shared file system.
"""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

import mcjax
from experiments import config as flags
from mcjax import checkpoints, parallel

FORMAT = 1
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Name(NamedTuple):
    """``RUN[@EPOCH][~T]``, taken apart."""

    run: Path
    epoch: int | None
    t: float | None


def parse_name(text: str) -> Name:
    """Takes a checkpoint's name apart.

    >>> parse_name("runs/digits/GA@20~0.25")
    Name(run=PosixPath('runs/digits/GA'), epoch=20, t=0.25)
    """
    match = re.fullmatch(r"([^@~]+)(?:@(\d+))?(?:~(\d*\.?\d+(?:[eE]-?\d+)?))?", text)
    if match is None:
        raise flags.UsageError(f"{text!r} is no checkpoint: write RUN[@EPOCH][~T]")
    run, epoch, t = match.groups()
    if t is not None and float(t) > 1:
        raise flags.UsageError(f"{text!r}: T is from 0 to 1")
    return Name(Path(run), None if epoch is None else int(epoch), None if t is None else float(t))


class Run:
    """A run folder.

    Args:
      path: the folder; it need not be there yet.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @property
    def info(self) -> dict[str, Any]:
        """What ``run.json`` says, or ``{}`` where there is no run.

        Raises:
          UsageError: it cannot be read, or was written in a later format.
        """
        file = self.path / "run.json"
        try:
            info = json.loads(file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise flags.UsageError(f"{file} cannot be read: {error}") from None
        if info.get("format", 0) > FORMAT:
            raise flags.UsageError(f"{file} has format {info['format']}; this mcjax reads {FORMAT}")
        return info

    @property
    def status(self) -> str:
        """``new``, ``running`` (or interrupted), ``done`` or ``failed``."""
        return self.info.get("status", "new")

    def open(self, kind: str, config: Any, **facts: Any) -> None:
        """Starts the run, or goes on with it.

        Raises:
          UsageError: the folder cannot be written, holds something else, or another run's flags.
        """
        self.check_same(kind, config)
        self.check_writable()
        write_atomically(self.path / "flags.cfg", flags.to_flags(config))
        if not self.info:
            versions = {name: metadata.version(name) for name in PACKAGES}
            device = jax.devices()[0]
            self.update(
                format=FORMAT,
                kind=kind,
                status="running",
                flags=flags.identity(config),
                versions={"mcjax": mcjax.__version__, "python": platform.python_version()}
                | versions,
                device=f"{jax.device_count()} x {device.device_kind} ({device.platform})",
                **facts,
            )

    def check_writable(self) -> None:
        """Makes the folder; raises UsageError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / ".writable", "")
            (self.path / ".writable").unlink(missing_ok=True)
        except OSError as error:
            message = f"--workdir={self.path} cannot be written: {error.strerror}"
            raise flags.UsageError(message) from None

    def check_same(self, kind: str, config: Any) -> None:
        """Raises UsageError if the folder holds a run of another kind or with other flags."""
        info = self.info
        if not info:
            return
        if info["kind"] != kind:
            raise flags.UsageError(f"{self.path} holds a {info['kind']}, not a {kind}")
        mine = json.loads(json.dumps(flags.identity(config)))
        differing = [
            f"--{name}: {info['flags'].get(name)} there, {value} now"
            for name, value in mine.items()
            if info["flags"].get(name) != value
        ]
        if differing:
            raise flags.UsageError(
                f"{self.path} holds a run with other flags ({'; '.join(differing)}); "
                "use another --workdir, or delete it"
            )

    def update(self, **facts: Any) -> None:
        """Writes facts into ``run.json``."""
        text = json.dumps(self.info | facts, indent=1, default=float)
        write_atomically(self.path / "run.json", text + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a torn last line is left out."""
        lines = []
        try:
            text = (self.path / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return lines
        for line in text.split("\n")[:-1]:
            lines.append(json.loads(line))
        return lines

    def cut_metrics(self, step: int) -> None:
        """Drops what ``metrics.jsonl`` says of steps after ``step``: they will be run again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["step"] <= step]
        write_atomically(self.path / "metrics.jsonl", "".join(kept))

    def add_metrics(self, **line: Any) -> None:
        """Adds a line to ``metrics.jsonl``."""
        if parallel.is_first():
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def checkpoints(self, keep: tuple[int, ...] = (), read_only: bool = False):
        """The run's checkpoints, by steps done; a context manager."""
        return checkpoints.Checkpoints(self.path / "checkpoints", keep, read_only)

    def ends(self, read_only: bool = False):
        """The two ends of a curve, saved once as step 0; a context manager."""
        return checkpoints.Checkpoints(self.path / "ends", (0,), read_only)

    def step_of(self, epoch: int | None) -> int:
        """The checkpoint's step for an epoch, or for the last one.

        Raises:
          UsageError: there is no such run, it is not finished, or the epoch was not kept.
        """
        info = self.info
        if not info:
            raise flags.UsageError(f"there is no run at {self.path}")
        if info["kind"] not in ("mode", "curve"):
            raise flags.UsageError(f"{self.path} is a {info['kind']}: it has no checkpoints")
        if info["status"] == "running" and epoch is None:
            raise flags.UsageError(f"{self.path} is not finished: run its command again")
        with self.checkpoints(read_only=True) as saved:
            steps = saved.steps()
        per_epoch = info["steps_per_epoch"]
        epochs = [s // per_epoch for s in steps if s % per_epoch == 0]
        if epoch is None:
            if not epochs:
                raise flags.UsageError(f"{self.path} has no checkpoint: it is {info['status']}")
            return epochs[-1] * per_epoch
        if epoch not in epochs:
            have = ", ".join(map(str, epochs)) or "none"
            raise flags.UsageError(f"{self.path} has no checkpoint of epoch {epoch}; it has {have}")
        return epoch * per_epoch


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
