"""Metrics told to TensorBoard, read back from its files, and to a stand-in for Weights & Biases."""

import dataclasses
import os
import signal
import struct
import subprocess
import sys
import types

import pytest
from tensorboardX.proto.event_pb2 import Event

from experiments import fit_curve, train_mode
from experiments.cli import errors
from experiments.cli.configs import CurveConfig, ModeConfig
from experiments.cli.errors import UsageError
from experiments.cli.flags import to_flags
from experiments.runs import add_metrics
from experiments.runs.folder import Run
from experiments.training import trackers
from mcjax.engine import training

MODE = ModeConfig(
    dataset="digits", train_size=200, validation_size=60, model="mlp", width=0.25,
    batch_size=40, epochs=3, lr=0.1, schedule="constant", tracker=("tensorboard",),
)  # fmt: skip


def change(config, **changes):
    return dataclasses.replace(config, **changes)


def events_of(run):
    """``(step, name, value)`` of all event files, in their order."""
    found = []
    for file in sorted((run.path / "tensorboard").iterdir()):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
            content = content[16 + length :]
    return found


def expected(run):
    return [
        (line["step"], name, pytest.approx(value, rel=1e-6))
        for line in run.metrics()
        for name, value in trackers.scalars(line).items()
    ]


def stopped_at(monkeypatch, step):
    """Sends this process a signal while a step is in flight, the first time it is reached."""
    chunks, sent = training.chunks, []

    def stepwise(*args, **options):
        for chunk in chunks(*args, **options, seconds=1e-9):
            if chunk.step == step and not sent:
                sent.append(1)
                os.kill(os.getpid(), signal.SIGTERM)
            yield chunk

    monkeypatch.setattr(training, "chunks", stepwise)


def a_run(folder, steps=()):
    """A run folder with lines of metrics, as training leaves it."""
    run = Run(folder)
    folder.mkdir()
    run.update(format=1, status="running", flags={"lr": 0.1})
    for step in steps:
        add_metrics(run.path, **a_line(step))
    return run


def a_line(step):
    return {"epoch": step // 5, "step": step, "lr": 0.1, "train": {"loss": 1 / step}}


def test_trackers_start_with_what_the_metrics_say(tmp_path, monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    run = a_run(tmp_path / "run", (5, 10))
    for steps in ((), (15, 20)):  # a start, and one after a stop
        told = trackers.start(("tensorboard", "wandb"), run)
        for step in steps:
            add_metrics(run.path, **a_line(step))
            for tracker in told:
                tracker.add(a_line(step))
        for tracker in told:
            tracker.close()
    assert events_of(run) == expected(run)
    assert len({step for step, *_ in events_of(run)}) == 4
    assert stand_in.logged == {
        run.info["wandb"]: {line["step"]: trackers.scalars(line) for line in run.metrics()}
    }


@pytest.mark.long
def test_event_files_say_what_the_metrics_say_after_a_stop_too(tmp_path, monkeypatch):
    config = change(MODE, workdir=str(tmp_path / "run"))
    stopped_at(monkeypatch, 7)
    with pytest.raises(errors.Interrupted):
        train_mode.run(config)
    run = Run(tmp_path / "run")
    assert [step for step, name, _ in events_of(run) if name == "train/loss"] == [5]
    (tmp_path / "run" / "tensorboard" / "mine.txt").touch()  # what is not ours stays
    train_mode.run(config)
    (tmp_path / "run" / "tensorboard" / "mine.txt").unlink()
    seen = events_of(run)
    assert [step for step, name, _ in seen if name == "train/loss"] == [5, 10, 15]
    assert {name for _, name, _ in seen} == {
        "epoch", "lr", "seconds", "train/loss", "train/accuracy", "train/l2", "validation/loss",
        "validation/accuracy",
    }  # fmt: skip
    assert seen == expected(run)


@pytest.mark.long
def test_a_tracker_asked_for_half_way_has_all_epochs(tmp_path, monkeypatch):
    config = change(MODE, workdir=str(tmp_path), tracker=())
    stopped_at(monkeypatch, 12)
    with pytest.raises(errors.Interrupted):
        train_mode.run(config)
    assert not (tmp_path / "tensorboard").exists()
    train_mode.run(change(config, tracker=("tensorboard",)))
    assert [s for s, name, _ in events_of(Run(tmp_path)) if name == "epoch"] == [5, 10, 15]


@pytest.mark.long
def test_a_curve_tracks_the_modes_that_it_trains(tmp_path):
    for name, seed in (("G", 1), ("B", 2)):
        config = change(MODE, seed=seed, epochs=1, tracker=())
        (tmp_path / f"{name}.cfg").write_text(to_flags(config))
    fit_curve.run(
        CurveConfig(
            start=f"{tmp_path}/G.cfg", end=f"{tmp_path}/B.cfg", workdir=str(tmp_path / "GB"),
            modes_dir=str(tmp_path), batch_size=40, epochs=2, points=3, lr=0.1,
            tracker=("tensorboard",),
        )
    )  # fmt: skip
    for name in ("G", "B", "GB"):
        run = Run(tmp_path / name)
        assert events_of(run) == expected(run) != []


class StandIn(types.ModuleType):
    """What is called of wandb: each run's steps are kept by its id, as its server does."""

    def __init__(self):
        super().__init__("wandb")
        self.began, self.logged, self.finished = [], {}, []
        self.Settings = lambda **settings: settings

    def init(self, **options):
        self.began.append(options)
        steps = self.logged.setdefault(options["id"], {})
        begun = max(steps) + 1 if steps else 0

        def log(values, step):
            assert step not in steps
            steps[step] = values

        return types.SimpleNamespace(
            step=begun, log=log, finish=lambda: self.finished.append(options["id"])
        )


@pytest.mark.long
def test_wandb_is_one_run_with_every_step_once(tmp_path, monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    config = change(MODE, workdir=str(tmp_path / "run"), tracker=("wandb", "tensorboard"))
    stopped_at(monkeypatch, 12)
    with pytest.raises(errors.Interrupted):
        train_mode.run(config)
    train_mode.run(config)
    run = Run(tmp_path / "run")
    (name,) = {options["id"] for options in stand_in.began}
    assert name == run.info["wandb"]
    assert stand_in.finished == [name, name]
    assert [options["resume"] for options in stand_in.began] == ["allow", "allow"]
    assert stand_in.began[0]["config"]["lr"] == 0.1
    assert stand_in.logged[name] == {line["step"]: trackers.scalars(line) for line in run.metrics()}
    assert len(stand_in.logged[name]) == 3


def test_wandb_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    stand_in = StandIn()
    stand_in.init = lambda **options: (_ for _ in ()).throw(RuntimeError("no key\nat all"))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    with pytest.raises(UsageError, match=r"--tracker=wandb: no key at all; .*WANDB_MODE=offline"):
        trackers.start(("wandb",), a_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("tensorbord", "did you mean tensorboard\\? There are tensorboard, wandb"),
        ("wandb", "--tracker=wandb: .*pip install wandb"),
        ("tensorboard", "--tracker=tensorboard: .*pip install tensorboardX"),
    ],
)
def test_what_is_missing_is_said_before_any_work(tmp_path, monkeypatch, tracker, message):
    for package in trackers.PACKAGES.values():
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(UsageError, match=message):
        train_mode.run(change(MODE, workdir=str(tmp_path / "run"), tracker=(tracker,)))
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_nothing_is_imported_unless_asked_for():
    code = (
        "import sys; from experiments import fit_curves; "
        "from experiments.training import trackers; trackers.check([]); "
        "assert not {'tensorboardX', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
