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
from mcjax.engine import parallel

from ..cli import UsageError, identity, recorded, to_flags
from . import files, json_text, locks, metrics, names, status
from .status import Status

FORMAT = 1
CONFIGS = ("flags", "mode")
"""Flags in ``run.json``, whose texts are texts and whose numbers are finite."""
FIRST = ("format", "kind", "status")
"""The facts with which ``run.json`` begins."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Run:
    """A run folder and the facts in its ``run.json``.

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
    def status(self) -> Status:
        """The run's state."""
        return Status(self.info.get("status", Status.NEW))

    def update(self, **facts: Any) -> None:
        """Writes facts into ``run.json``."""
        info = self.info | facts
        info = json_text.encoded({k: info[k] for k in FIRST if k in info} | info)
        text = json_text.dumps(info | {"crc32": files.checksum(info)}, indent=1)
        files.write_atomically(self.path / "run.json", text + "\n")

    def move_to(self, after: Status, **facts: Any) -> None:
        """Changes the run's state, and writes facts with it.

        Raises:
          ValueError: the state cannot follow the present one.
        """
        status.check(self.status, after)
        self.update(status=after, **facts)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keeps other processes out of the folder; see `locks.locked`."""
        return locks.locked(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; see `metrics.read_metrics`."""
        return metrics.read_metrics(self.path)

    def open(self, kind: str, config: Any, **facts: Any) -> None:
        """Starts the run, or resumes it.

        Raises:
          UsageError: the folder cannot be written, holds something else, or another run's flags.
        """
        self.check_same(kind, config)
        locks.check_writable(self.path)
        info = self.info
        made = kind == "mode" and {"imported", "aligned"} & info.keys()
        trained = kind in ("mode", "curve") and not made
        if trained and self.status in (Status.FITTED, Status.DONE):
            metrics.check_epochs(self.path, self.metrics(), config.epochs)
        if not info and getattr(config, "fork", None):
            facts["forked_from"] = config.fork
            self._copy_from(Run(config.fork), kind, facts)
        files.write_atomically(self.path / "flags.cfg", to_flags(config))
        if not info:
            made_by = {"flags": recorded(config), "versions": _versions(), "device": _device()}
            self.move_to(Status.RUNNING, format=FORMAT, kind=kind, **made_by, **facts)

    def _copy_from(self, other: "Run", kind: str, facts: dict[str, Any]) -> None:
        """Copies another run's checkpoints and metrics, to resume from."""
        info = other.info
        for name, there, here in (
            ("kind", info.get("kind", "missing"), kind),
            ("steps_per_epoch", info.get("steps_per_epoch"), facts.get("steps_per_epoch")),
        ):
            if there != here:
                raise UsageError(f"--fork={other.path}: its {name} is {there}, not {here}")
        if kind == "curve" and "aligned" in info:
            facts["aligned"] = info["aligned"]
        if not parallel.is_first():
            return
        for name in (metrics.FILE, "ends", "checkpoints"):
            source, target = other.path / name, self.path / name
            shutil.rmtree(target, ignore_errors=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists():
                shutil.copyfile(source, target)

    def check_same(self, kind: str, config: Any) -> None:
        """Raises UsageError if the folder holds a run of another kind or with other flags."""
        info = self.info
        if not info:
            return
        if info["kind"] != kind:
            raise UsageError(f"{self.path} holds a {info['kind']}, not a {kind}")
        mine = json_text.encoded(identity(config))
        # A flag that a later version added had its default in all runs before.
        there = identity(type(config)()) | info["flags"]
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


def _versions() -> dict[str, str]:
    """Of Python and the packages that a run's numbers depend on."""
    own = {"mcjax": mcjax.__version__, "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in PACKAGES}


def _device() -> str:
    """The devices in words."""
    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind} ({device.platform})"
