"""Run folders.

A run folder holds ``flags.cfg`` (runs it again), ``run.json`` (what it is, its status, versions
and device), ``metrics.jsonl`` (a line an epoch), ``checkpoints/`` and, for a curve, ``ends/``,
``curve.npz`` and ``figures/``. What has no checksum of its own gets one. Of several processes the
first one writes; all must see the folder, on a shared file system.
"""

import contextlib
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import mcjax
from mcjax.engine import checkpoints, parallel

from ..cli import flags
from ..cli.errors import UsageError
from . import files, json_text, names

FORMAT = 1
CONFIGS = ("flags", "mode")
"""Flags in ``run.json``, whose texts are texts and whose numbers are finite."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Run:
    """A run folder.

    Args:
      path: the folder; it need not be there yet.

    Raises:
      UsageError: it is the address of a remote place.
    """

    def __init__(self, path: Path | str):
        self.path = names.local(path)

    @property
    def info(self) -> dict[str, Any]:
        """What ``run.json`` says, or ``{}`` where there is no run.

        Raises:
          UsageError: it cannot be read, or was written in a later format.
        """
        file = self.path / "run.json"
        try:
            info = json.loads(file.read_bytes())
            version = int(info["format"])
            intact = info.pop("crc32") == files.checksum(info)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"{file} cannot be read: {error!r}") from None
        if version > FORMAT:
            raise UsageError(f"{file} has format {version}; this mcjax reads {FORMAT}")
        if not intact:
            raise UsageError(f"{file} is damaged: its checksum differs")
        return {k: v if k in CONFIGS else json_text.decoded(v) for k, v in info.items()}

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
        self._check_writable()
        new = not self.info
        trained = kind in ("mode", "curve") and "imported" not in self.info
        if trained and self.status in ("fitted", "done"):
            self._check_epochs(self.metrics(), config.epochs)
        if new and getattr(config, "fork", None):
            facts["forked_from"] = config.fork
            self._copy_from(Run(config.fork), kind, facts)
        files.write_atomically(self.path / "flags.cfg", flags.to_flags(config))
        if new:
            versions = {name: metadata.version(name) for name in PACKAGES}
            device = jax.devices()[0]
            self.update(
                format=FORMAT,
                kind=kind,
                status="running",
                flags=flags.recorded(config),
                versions={"mcjax": mcjax.__version__, "python": platform.python_version()}
                | versions,
                device=f"{jax.device_count()} x {device.device_kind} ({device.platform})",
                **facts,
            )

    def _copy_from(self, other, kind, facts):
        """Takes over another run's checkpoints and metrics, to go on from."""
        info = other.info
        for name, there, here in (
            ("kind", info.get("kind", "missing"), kind),
            ("steps_per_epoch", info.get("steps_per_epoch"), facts.get("steps_per_epoch")),
        ):
            if there != here:
                raise UsageError(f"--fork={other.path}: its {name} is {there}, not {here}")
        if not parallel.is_first():
            return
        for name in ("metrics.jsonl", "ends", "checkpoints"):
            source, target = other.path / name, self.path / name
            shutil.rmtree(target, ignore_errors=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copyfile(source, target)

    @contextlib.contextmanager
    def locked(self):
        """Keeps other processes out of the folder; within a process it may be entered again.

        Raises:
          UsageError: another process works in it, or the folder cannot be written.
        """
        place = self.path.resolve()
        if not parallel.is_first() or place in _LOCKED:
            yield
            return
        self._check_writable()
        with (self.path / ".lock").open("a") as file:
            if not _lock(file):
                raise UsageError(f"{self.path} is in use by another process")
            _LOCKED.add(place)
            try:
                yield
            finally:
                _LOCKED.discard(place)

    @property
    def in_use(self) -> bool:
        """Whether another process works in the folder."""
        if self.path.resolve() in _LOCKED:
            return False
        try:
            with (self.path / ".lock").open("a") as file:
                return not _lock(file)
        except OSError:
            return False

    def _check_writable(self) -> None:
        """Makes the folder; raises UsageError where it cannot be written."""
        if not parallel.is_first():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".writable").write_bytes(b"")
            (self.path / ".writable").unlink(missing_ok=True)
        except OSError as error:
            message = f"--workdir={self.path} cannot be written: {error.strerror}"
            raise UsageError(message) from None

    def check_same(self, kind: str, config: Any) -> None:
        """Raises UsageError if the folder holds a run of another kind or with other flags."""
        info = self.info
        if not info:
            return
        if info["kind"] != kind:
            raise UsageError(f"{self.path} holds a {info['kind']}, not a {kind}")
        mine = json_text.encoded(flags.identity(config))
        # A flag that a later version added had its default in all runs before.
        there = flags.identity(type(config)()) | info["flags"]
        differing = [
            f"--{name}: {there[name]} there, {value} now"
            for name, value in mine.items()
            if there[name] != value
        ]
        if differing:
            raise UsageError(
                f"{self.path} holds a run with other flags ({'; '.join(differing)}); use another "
                "--workdir (with --fork to go on from this run's last checkpoint), or delete it"
            )

    def update(self, **facts: Any) -> None:
        """Writes facts into ``run.json``."""
        info = json_text.encoded(self.info | facts)
        text = json_text.dumps(info | {"crc32": files.checksum(info)}, indent=1)
        files.write_atomically(self.path / "run.json", text + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a torn last line is left out.

        Raises:
          UsageError: a line is damaged.
        """
        file = self.path / "metrics.jsonl"
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
                raise UsageError(f"{file} is damaged in line {number}")
            lines.append(json_text.decoded(line))
        return lines

    def cut_metrics(self, step: int) -> None:
        """Drops what ``metrics.jsonl`` says of steps after ``step``: they will be run again.

        Raises:
          UsageError: a line of an earlier epoch is missing.
        """
        kept = [line for line in self.metrics() if line["step"] <= step]
        self._check_epochs(kept, step // self.info["steps_per_epoch"])
        files.write_atomically(self.path / "metrics.jsonl", "".join(map(files.line, kept)))

    def _check_epochs(self, lines, epochs):
        there = [line["epoch"] for line in lines]
        if there != list(range(1, epochs + 1)):
            raise UsageError(
                f"{self.path / 'metrics.jsonl'} is damaged: of epochs 1 to {epochs} it has "
                f"{len(there)} lines; put it back, or train anew in another --workdir"
            )

    def add_metrics(self, **line: Any) -> None:
        """Adds a line to ``metrics.jsonl``."""
        if parallel.is_first():
            with (self.path / "metrics.jsonl").open("a") as file:
                file.write(files.line(line))

    def checkpoints(self, keep: tuple[int, ...] = (), read_only: bool = False):
        """The run's checkpoints, by steps done; a context manager."""
        return checkpoints.Checkpoints(self.path / "checkpoints", keep, read_only)

    def ends(self, read_only: bool = False):
        """The two ends of a curve, saved once as step 0; a context manager."""
        return checkpoints.Checkpoints(self.path / "ends", (0,), read_only)

    def restore(self, epoch: int | None = None) -> Any:
        """The checkpoint of an epoch, or of the last one, on the host's first device.

        Raises:
          UsageError: there is none, or it is damaged.
        """
        step = self.step_of(epoch)
        with self.checkpoints(read_only=True) as saved:
            return _intact(saved, step)

    def restore_ends(self) -> Any:
        """A curve's ends, ``{"start": params, "end": params}``.

        Raises:
          UsageError: they are damaged.
        """
        with self.ends(read_only=True) as saved:
            return _intact(saved, 0)

    def step_of(self, epoch: int | None) -> int:
        """The checkpoint's step for an epoch, or for the last one.

        Raises:
          UsageError: there is no such run, it is not finished, or the epoch was not kept.
        """
        info = self.info
        if not info:
            raise UsageError(f"there is no run at {self.path}; {names.NAMED}")
        if info["kind"] not in ("mode", "curve"):
            raise UsageError(f"{self.path} is a {info['kind']}: it has no checkpoints")
        if info["status"] == "running" and epoch is None:
            raise UsageError(f"{self.path} is not finished: run its command again")
        with self.checkpoints(read_only=True) as saved:
            steps = saved.steps()
        per_epoch = info["steps_per_epoch"]
        epochs = [s // per_epoch for s in steps if s % per_epoch == 0]
        if epoch is None:
            if not epochs:
                raise UsageError(f"{self.path} has no checkpoint: it is {info['status']}")
            return epochs[-1] * per_epoch
        if epoch not in epochs:
            have = ", ".join(map(str, epochs)) or "none"
            raise UsageError(f"{self.path} has no checkpoint of epoch {epoch}; it has {have}")
        return epoch * per_epoch


def _intact(saved, step):
    try:
        return saved.restore(step)
    except checkpoints.Damaged as error:
        raise UsageError(str(error)) from None


_LOCKED: set[Path] = set()
"""Folders that this process has locked."""


def _lock(file) -> bool:
    """Locks an open file until it is closed; False where another process has."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass  # a system, or a file system, without locks
    return True
