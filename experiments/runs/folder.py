"""Run folders.

A run folder holds ``flags.cfg`` (the flagfile that reruns it), ``run.json`` (its kind, flags,
status, versions and device), ``metrics.jsonl`` (a line per epoch), ``checkpoints/`` and, for a
curve, ``ends/``, ``curve.npz`` and ``figures/``. Files without a checksum of their own get one. Of
several processes the first one writes; all must see the folder, on a shared file system.
"""

import contextlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import mcjax
from mcjax import data

from ..cli import UsageError, identity, recorded, to_flags
from . import files, json_text, locks, metrics, names, status
from .status import Status

FORMAT = 1
CONFIGS = ("flags", "mode")
"""Entries of ``run.json`` that hold flags: a string such as "NaN" is a string there."""
ENDS = ("start", "end")
"""Flags of the ends of a curve, references to runs."""
FIRST = ("format", "kind", "status")
"""The first entries of ``run.json``."""
MADE = {"soup": "an average", "aligned": "an aligned network", "imported": "an imported network"}
"""Entries of ``run.json`` of modes that were not trained in their folder, in words."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""Packages whose versions ``run.json`` records."""


class Run:
    """A run folder and the facts in its ``run.json``.

    Args:
      path: the folder; it need not exist yet.

    Raises:
      UsageError: the path is a URL that is not supported, or there is no such bucket.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = names.at(path)

    @property
    def info(self) -> dict[str, Any]:
        """The content of ``run.json``, or ``{}`` if there is no run.

        Raises:
          UsageError: the file cannot be read, is damaged, or has a newer format.
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
        """The run's status."""
        return Status(self.info.get("status", Status.NEW))

    def update(self, **facts: Any) -> None:
        """Adds facts to ``run.json``, or replaces them."""
        info = self.info | facts
        info = json_text.encoded({k: info[k] for k in FIRST if k in info} | info)
        text = json_text.dumps(info | {"crc32": files.checksum(info)}, indent=1)
        files.write_atomically(self.path / "run.json", text + "\n")

    def move_to(self, after: Status, **facts: Any) -> None:
        """Changes the run's status, and writes facts with it.

        Raises:
          ValueError: a run with the present status cannot get this one.
        """
        status.check(self.status, after)
        self.update(status=after, **facts)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Locks the folder against other processes; see `locks.locked`."""
        return locks.locked(self.path)

    @property
    def is_made(self) -> bool:
        """Whether it is a mode without a training: imported, aligned or an average."""
        info = self.info
        return info.get("kind") == "mode" and bool({*MADE} & info.keys())

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; see `metrics.read_metrics`."""
        return metrics.read_metrics(self.path)

    def open(self, kind: str, config: Any, **facts: Any) -> None:
        """Starts the run, or resumes it.

        Args:
          kind: of the run: mode, curve, surface, interpolation, instability, layers, sharpness or
            reproduction.
          config: its flags.
          **facts: written into ``run.json`` of a new run.

        Raises:
          UsageError: the folder cannot be written, is damaged, or holds a run of another kind or
            with other flags.
        """
        self.check_same(kind, config)
        locks.check_writable(self.path)
        info = self.info
        trained = kind in ("mode", "curve") and not self.is_made
        if trained and self.status in (Status.FITTED, Status.DONE):
            metrics.check_epochs(self.path, self.metrics(), config.epochs)
        files.write_atomically(self.path / "flags.cfg", to_flags(config))
        if not info:
            made_by = {"flags": recorded(config), "versions": _versions(), "device": _device()}
            self.move_to(Status.RUNNING, format=FORMAT, kind=kind, **made_by, **facts)

    def check_same(self, kind: str, config: Any) -> None:
        """Checks the folder, without reading data.

        Raises:
          UsageError: it holds a run of another kind or with other flags.
        """
        info = self.info
        if not info:
            return
        if info["kind"] != kind:
            there, here = names.a_kind(info["kind"]), names.a_kind(kind)
            raise UsageError(f"{self.path} holds {there}, not {here}; use another --workdir")
        mine = json_text.encoded(identity(config))
        # Older runs lack flags that were added later: they ran with the defaults.
        there = identity(type(config)()) | info["flags"]
        differing = [
            f"--{name}: {there[name]} there, {value} now"
            for name, value in mine.items()
            if not same_value(name, there[name], value)
            and not (kind == "curve" and _moved(name, there[name], value))
        ]
        if differing:
            raise UsageError(
                f"{self.path} holds a run with other flags ({'; '.join(differing)}); use another "
                "--workdir (with --fork to continue from this run's last checkpoint), or delete it"
            )


def same_value(flag: str, a: Any, b: Any) -> bool:
    """Whether two values of a flag are the same; data that were moved are."""
    return a == b or (flag == "dataset" and data.without_folder(a) == data.without_folder(b))


def _moved(flag: str, a: str, b: str) -> bool:
    """Whether two ends of a curve may be one that was moved; `training` compares the networks."""
    return flag in ENDS and names.label(a) == names.label(b)


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run's numbers depend on."""
    own = {"mcjax": mcjax.__version__, "python": platform.python_version()}
    return own | {name: metadata.version(name) for name in PACKAGES}


def _device() -> str:
    """The devices in words."""
    device = jax.devices()[0]
    return f"{jax.device_count()} x {device.device_kind} ({device.platform})"
