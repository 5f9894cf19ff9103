"""Trackers: log the lines of ``metrics.jsonl`` to TensorBoard or Weights & Biases, too.

``metrics.jsonl`` remains the record. A tracker first logs the lines that exist when it starts, so
one that is added later, or restarted after an interruption, has every epoch exactly once. The
packages are imported only if --tracker names them.

The tests read TensorBoard's event files back. For Weights & Biases they check the calls made on a
fake; the package itself (0.31) has been tried in offline mode only.
"""

import importlib
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from mcjax import spelling
from mcjax.engine import parallel

from ..cli import UsageError
from ..runs import Run

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""The package of each tracker; `tensorboardX` writes event files without TensorFlow."""


class Add(Protocol):
    """Logs an epoch."""

    def __call__(self, line: dict[str, Any], /) -> None:
        """Logs a line of ``metrics.jsonl``."""
        ...


class Tracker(NamedTuple):
    """A destination for metrics.

    Attributes:
      add: logs a line of ``metrics.jsonl``.
      close: flushes and closes the tracker.
    """

    add: Add
    close: Callable[[], None]


def check(names: Sequence[str]) -> None:
    """Checks the trackers that --tracker names, before any long work.

    Raises:
      UsageError: there is no such tracker, or its package is not installed.
    """
    for name in names:
        if name not in PACKAGES:
            raise UsageError(f"--tracker={name}: {spelling.hint(name, PACKAGES)}")
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError as error:
            raise UsageError(f"--tracker={name}: {error}; pip install {PACKAGES[name]}") from None


def start(names: Sequence[str], run: Run) -> list[Tracker]:
    """Starts a run's trackers and logs its existing metrics to them.

    Of several processes only the first one logs; the others get no trackers.

    Raises:
      UsageError: Weights & Biases does not start.
    """
    makers = {"tensorboard": _tensorboard, "wandb": _wandb}
    if "wandb" in names and "wandb" not in run.info:
        run.update(wandb=uuid.uuid4().hex[:8])  # a collective write: all processes take part
    if not parallel.is_first():
        return []
    trackers = [makers[name](run) for name in dict.fromkeys(names)]
    for line in run.metrics():
        for tracker in trackers:
            tracker.add(line)
    return trackers


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of ``metrics.jsonl``, by their names in trackers.

    >>> scalars({"epoch": 2, "step": 10, "lr": 0.1, "train": {"loss": 0.5}})
    {'epoch': 2, 'lr': 0.1, 'train/loss': 0.5}
    """
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= {f"{name}/{metric}": number for metric, number in value.items()}
        elif name != "step":
            found[name] = value
    return found


def _tensorboard(run: Run) -> Tracker:
    """Event files in ``RUN/tensorboard``, rewritten from the first epoch.

    This thread writes and flushes each line, so that a full disk raises here.
    """
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    folder = run.path / "tensorboard"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = EventsWriter(str(folder / "events"))

    def add(line: dict[str, Any]) -> None:
        values = [Summary.Value(tag=n, simple_value=x) for n, x in scalars(line).items()]
        event = Event(wall_time=time.time(), step=line["step"], summary=Summary(value=values))
        writer.write_event(event)
        writer.flush()

    return Tracker(add, writer.close)


def _wandb(run: Run) -> Tracker:
    """A run of the project ``mcjax`` (or ``$WANDB_PROJECT``), resumed after an interruption."""
    import wandb

    try:
        session = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mcjax"),
            id=run.info["wandb"],
            name=run.path.name,
            dir=str(run.path),
            config=run.info["flags"],
            resume="allow",
            reinit="create_new",  # several curves may be trained at once
            settings=wandb.Settings(console="off"),
        )
    except Exception as error:
        message = " ".join(str(error).split())
        raise UsageError(
            f"--tracker=wandb: {message}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    known = session.step  # earlier steps were logged before the interruption

    def add(line: dict[str, Any]) -> None:
        if line["step"] >= known:
            session.log(scalars(line), step=line["step"])

    return Tracker(add, session.finish)
