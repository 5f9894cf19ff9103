"""Trackers: what ``metrics.jsonl`` says, told to TensorBoard or Weights & Biases as well.

``metrics.jsonl`` stays the record. A tracker that starts is told first what is there already, so
one that is asked for half-way, or after a stop, has every epoch, and has it once. Nothing here is
imported unless --tracker asks for it.

Event files for TensorBoard are read back in the tests. For Weights & Biases the tests check the
calls made on a stand-in; the package itself (0.31) has been tried in offline mode only.
"""

import importlib
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mcjax import spelling
from mcjax.engine import parallel

from ..cli import UsageError
from ..runs import Run

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""What each tracker needs; `tensorboardX` writes event files without TensorFlow."""


class Tracker(NamedTuple):
    """Where metrics go.

    Attributes:
      add: takes a line of ``metrics.jsonl``.
      close: ends it.
    """

    add: Callable[[dict[str, Any]], None]
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
    """Starts a run's trackers and tells them what its metrics say already.

    Of several processes the first one has them.

    Raises:
      UsageError: Weights & Biases does not start.
    """
    makers = {"tensorboard": _tensorboard, "wandb": _wandb}
    if "wandb" in names and "wandb" not in run.info:
        run.update(wandb=uuid.uuid4().hex[:8])  # by all processes: the files' writing is agreed on
    if not parallel.is_first():
        return []
    trackers = [makers[name](run) for name in dict.fromkeys(names)]
    for line in run.metrics():
        for tracker in trackers:
            tracker.add(line)
    return trackers


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line, by the names that trackers give them.

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
    """Event files in ``RUN/tensorboard``, written anew from the first epoch on.

    Each line is written at once, by this thread: a disk that is full is said where it is noticed.
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
    """A run of the project ``mcjax`` (or ``$WANDB_PROJECT``), the same one after every stop."""
    import wandb

    try:
        session = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mcjax"),
            id=run.info["wandb"],
            name=run.path.name,
            dir=str(run.path),
            config=run.info["flags"],
            resume="allow",
            reinit="create_new",  # several curves are trained at once
            settings=wandb.Settings(console="off"),
        )
    except Exception as error:
        message = " ".join(str(error).split())
        raise UsageError(
            f"--tracker=wandb: {message}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    known = session.step  # steps below it have been told before the stop

    def add(line: dict[str, Any]) -> None:
        if line["step"] >= known:
            session.log(scalars(line), step=line["step"])

    return Tracker(add, session.finish)
